"""The view ``exposures`` against what programs and loops were really given, visit by visit."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from pyroaring import BitMap

from lineage.data.version import open_version
from lineage.provenance import exposure
from lineage.provenance.sql import visits
from lineage.training.ensemble import Recipe
from lineage.training.events import Updated
from lineage.training.execute import execute
from lineage.training.observed import Watch
from lineage.training.watching import observe
from storage.catalogue import tables
from unlearn.request.lifecycle import accept

EVERY = "SELECT run, segment, step, position, applied FROM exposures"


def numbers(lived: Any, run: str) -> list[int]:
    """The number of the row at each position of what a run trained on."""
    query = f"SELECT version_id FROM run_inputs WHERE run_id = '{run}' AND trains"
    versions = [version for (version,) in lived.sql(query)]  # none, where it took no step
    return [
        int(number)
        for version in versions
        for number in open_version(lived.store, version).column("id")
    ]


def walked(lived: Any, truth: Any) -> Iterator[tuple[str, str, int, int, bool]]:
    """Every visit in the diary of a program, in segments that a checkpoint ended."""
    for run, segment, _, first, last in truth.laps:
        batches = truth.batches(run)
        for step in range(first, last):
            for row in batches.get(step, ()):
                yield run, segment, step, row, True


def agree(ask: Any, histories: ModuleType, oracle: ModuleType, history: Any) -> None:
    with histories.lived(history) as lived:
        names = {run: numbers(lived, run) for run in lived.diary}
        shown = [
            (run, segment, step, names[run][position], applied)
            for run, segment, step, position, applied in ask(lived.store, EVERY)
        ]
        assert Counter(shown) == Counter(walked(lived, oracle.truth(lived)))


def test_the_visits_of_stable_runs_are_those_of_a_walk_through_their_diaries(
    ask: Any, histories: ModuleType, oracle: ModuleType
) -> None:
    @settings(max_examples=8)
    @given(histories.histories())
    def holds(history: Any) -> None:
        agree(ask, histories, oracle, history)

    holds()


@pytest.mark.soak
def test_the_visits_of_many_histories(ask: Any, histories: ModuleType, oracle: ModuleType) -> None:
    def holds(history: Any) -> None:
        agree(ask, histories, oracle, history)

    histories.soak(12, holds, histories.histories())


def test_steps_that_were_passed_over_or_came_to_nothing_are_not_there(
    ask: Any, histories: ModuleType, oracle: ModuleType
) -> None:
    thin = histories.small(Recipe(epochs=3, batch_size=3, min_batch=3))
    given_up = histories.small(
        Recipe(epochs=4, batch_size=4, checkpoint_every=2), interrupt=7, resumed=False
    )
    for history in (thin, given_up, replace(given_up, trainings=(given_up.trainings[0],) * 2)):
        agree(ask, histories, oracle, history)


def noted(tally: Any, run: str) -> Counter[tuple[str, int, int, bool]]:
    """What the program wrote down: a record's number is its position."""
    return Counter(
        (run, step, int(record.removeprefix("record-")), True)
        for step, ids in tally.consumed()
        for record in ids
    )


def shown(ask: Any, store: Any, run: str) -> Counter[tuple[str, int, int, bool]]:
    columns = "run, step, position, applied"
    return Counter(ask(store, f"SELECT {columns} FROM exposures WHERE run = '{run}'"))


def test_the_visits_of_a_recorded_run_are_those_that_its_program_noted(
    store: Any, tally: Any, workshop: Any, ask: Any
) -> None:
    tally.register(store)
    training = tally.prepare(store, **workshop.RECORDED)
    (run,) = workshop.rows_of(store, tables.Run, training_id=training)
    tally.spring(20, "interrupt")
    with pytest.raises(KeyboardInterrupt):
        execute(store, run.id)
    kept = Counter({visit: n for visit, n in noted(tally, run.id).items() if visit[1] < 18})
    assert shown(ask, store, run.id) == kept
    assert len({step for _, step, *_ in kept}) == 18
    tally.forget_the_log()
    execute(store, run.id)
    assert shown(ask, store, run.id) == kept + noted(tally, run.id)


def test_a_replay_that_follows_a_recording_shows_what_it_was_given(
    store: Any, tally: Any, workshop: Any, ask: Any, apply: Any
) -> None:
    tally.register(store)
    tally.train(store, **workshop.RECORDED)
    request = accept(store, "subject", ["person-03"])
    tally.forget_the_log()
    apply(store, request.id)
    (replay,) = (run.id for run in workshop.rows_of(store, tables.Run) if run.replay_of)
    assert shown(ask, store, replay) == noted(tally, replay)


class Count:
    """The smallest thing that has a state."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None: ...


def watched(store: Any, drawn: list[tuple[list[int], bool]]) -> str:
    """A run of a watched loop that draws these batches, and learns from some or record 0."""
    with observe(store, "people", "w", {"count": Count()}, Watch()) as run:
        window = run.window()
        for rows, learned in drawn:
            run.draw(run.identify(run.locator.rows(rows)))
            if not learned:
                run.discard()
                run.draw(run.identify(run.locator.rows([0])))
            run.update(Updated(window))
            if run.step == 2:
                run.checkpoint()
        return str(run.id)


def test_visits_without_an_update_are_told_apart_and_a_record_visited_twice_is_there_twice(
    store: Any, tally: Any, ask: Any
) -> None:
    tally.register(store)
    run = watched(store, [([5, 5, 7], True), ([6, 7], False), ([8], True)])
    assert sorted(shown(ask, store, run).elements()) == [
        (run, 0, 5, True),
        (run, 0, 5, True),
        (run, 0, 7, True),
        (run, 1, 0, True),
        (run, 1, 6, False),
        (run, 1, 7, False),
        (run, 2, 8, True),
    ]


def test_the_view_says_of_each_record_what_who_saw_says(
    trained: Any, tally: Any, workshop: Any, ask: Any
) -> None:
    tally.train(trained, model="drawn", **workshop.RECORDED)
    watched(trained, [([5, 5, 7], True), ([6, 7], False), ([8], True)])
    (dataset,) = workshop.rows_of(trained, tables.Dataset)
    rows = ask(trained, EVERY)
    for position in range(0, 96, 5):
        mine = [row for row in rows if row[3] == position]
        for each in exposure.exposures(trained, {dataset.id: BitMap([position])}):
            here = [row for row in mine if row[0] == each.run_id]
            assert len(here) == each.visits
            assert {segment for _, segment, *_ in here} == set(each.segments)
            steps = sorted({step for _, _, step, _, applied in here if applied})
            assert steps == each.steps.tolist()
            mine = [row for row in mine if row[0] != each.run_id]
        assert mine == []


def test_runs_that_a_statement_does_not_ask_about_are_not_drawn(
    trained: Any, ask: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[str] = []

    def noting(store: Any, run: Any, *about: Any) -> Any:
        drawn.append(run.id)
        return original(store, run, *about)

    original = visits._drawn
    monkeypatch.setattr(visits, "_drawn", noting)
    first, second = (run.id for run in workshop.rows_of(trained, tables.Run))
    assert ask(trained, "SELECT count(*) FROM runs") == [(2,)]
    assert drawn == []
    ask(trained, f"SELECT count(*) FROM exposures WHERE run = '{second}'")
    assert drawn == [second]
    ask(trained, "FROM exposures a JOIN exposures b USING (run, position)")
    assert Counter(drawn) == {first: 2, second: 3}

"""Watching a loop, without any framework: what is kept, what is refused, what is left behind."""

import sys
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.errors import (
    FencedError,
    LineageError,
    ProgramError,
    RunError,
    RunStoppedError,
    UnknownRecordError,
)
from lineage.provenance.batch import batch_at
from lineage.training.events import GradientFlowed, GradientsCollected, TrackLost, Updated
from lineage.training.execute import execute
from lineage.training.observed import Observed, Watch
from lineage.training.recording import bounds_of, open_recording
from lineage.training.update_window import Gradients
from lineage.training.watching import INTERACTIVE, observe, restore
from storage.catalogue import tables
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

ORDER = [[3, 1], [0, 2, 7], [5], [3, 6]]


class Count:
    """The smallest thing that has a state."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict[str, int]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.value = state["value"]


@pytest.fixture
def people(store: Any, tally: Any, workshop: Any) -> Any:
    """Twelve records of four people."""
    return tally.register(store, rows=workshop.people(4, 3))


@pytest.fixture
def watching(store: Any, people: Any) -> Callable[..., Any]:
    """Watches a loop that trains model ``m`` by counting."""

    def watched(count: Count | None = None, resume: str | None = None, **how: Any) -> Any:
        tracked = {"count": count or Count()}
        return observe(store, "people", "m", tracked, Watch(**how), resume)

    return watched


def step(run: Observed, rows: list[int] | None = None, ids: list[Any] | None = None) -> None:
    """One step on some records, by their row or their id."""
    found = run.locator.rows(rows) if ids is None else run.locator.ids(ids)
    window = run.window()
    run.draw(run.identify(found))
    run.update(Updated(window))


def live(run: Observed, keep: tuple[int, ...] = (), order: list[list[int]] = ORDER) -> None:
    """Steps through an order, with checkpoints after some of them."""
    for rows in order[run.step :]:
        step(run, rows)
        if run.step in keep:
            run.checkpoint()


def died(watched: Any, error: BaseException, keep: tuple[int, ...] = (2,)) -> str:
    """A run that ended by an error after three steps; its id."""

    def act(run: Observed) -> str:
        live(run, keep, ORDER[:3])
        begun.append(run.id)
        raise error

    begun: list[str] = []
    with pytest.raises(type(error)), watched as run:
        act(run)
    return begun[0]


def steps_of(store: Any, record: int) -> set[int]:
    answer = lineage.who_saw(store, "record", f"record-{record:04d}")
    return {step for steps in answer.steps.values() for step in steps}


def refused(kind: type[LineageError], match: str, watched: Any, act: Any) -> LineageError:
    """The error by which something in the block ends."""
    with pytest.raises(kind, match=match) as found, watched as run:
        act(run)
    assert found.value.hint
    return found.value


def test_what_was_watched_is_known_to_the_step_and_published(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        live(run, keep=(2,))
    assert [steps_of(store, row) for row in (3, 1, 5, 9)] == [{0, 3}, {0}, {2}, set()]
    (version,) = workshop.rows_of(store, tables.ModelVersion)
    (run_row,) = workshop.rows_of(store, tables.Run)
    assert (run_row.id, run_row.state, run_row.training_id is None) == (run.id, "complete", False)
    segments = workshop.rows_of(store, tables.Segment)
    laps = {each.first_step: (each.visits, each.skipped) for each in segments}
    assert laps == {0: (5, 0), 2: (3, 0)}
    assert version.sequence == 1
    workshop.assert_consistent(store)


def test_the_chain_is_a_keyed_hash_of_the_keys_in_the_order_they_were_drawn(
    store: Any, people: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        live(run, keep=(1, 3))
    checkpoints = workshop.rows_of(store, tables.Checkpoint)
    consumed = {each.step: each.consumed for each in checkpoints}
    expected = {}
    chain = b""
    for first, last in ((0, 1), (1, 3), (3, 4)):
        keys = [people.present.records.keys[row] for rows in ORDER[first:last] for row in rows]
        message = b"".join(int(key).to_bytes(8, sys.byteorder) for key in keys)
        chain = blake2b(chain + message, digest_size=32, key=people.salt).digest()
        expected[last] = chain.hex()
    assert consumed == expected


@pytest.mark.parametrize("ordered", [False, True])
def test_the_order_inside_batches_is_kept_where_that_is_asked_for(
    store: Any, watching: Any, workshop: Any, ordered: bool
) -> None:
    with watching(ordered=ordered) as run:
        live(run)
    (row,) = workshop.rows_of(store, tables.Recording)
    recording = open_recording(store, row.id)
    assert recording.batches.size.tolist() == [2, 3, 1, 2]
    if ordered:
        assert recording.between(0, 4).tolist() == [row for rows in ORDER for row in rows]


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["record-0001", "Erika Mustermann"], "record 1 of batch 1 is not in dataset 'people'"),
        ([None, "record-0001"], "record 0 of batch 1 does not say its id"),
    ],
)
def test_an_unknown_record_stops_training_and_is_named_by_its_place(
    store: Any, watching: Any, ids: list[Any], sentence: str
) -> None:
    def act(run: Observed) -> None:
        step(run, [1])
        step(run, ids=ids)

    error = refused(UnknownRecordError, sentence, watching(), act)
    assert error.fields == {"batch": 1, "row": 0 if ids[0] is None else 1}
    assert "Erika" not in f"{error} {error.hint}"
    assert "expunge dataset add" in error.hint


def test_an_unknown_record_that_is_let_pass_leaves_no_answer_complete(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching(on_unknown="record") as run:
        step(run, ids=["record-0001", "nobody", None])
        run.checkpoint()
        step(run, ids=["nobody"])
    (row,) = workshop.rows_of(store, tables.RunRecording)
    assert row.unknown == 3
    for record, steps in (("record-0001", (0,)), ("record-0002", None)):
        answer = lineage.who_saw(store, "record", record)
        assert (answer.complete, answer.incomplete) == (False, (run.id,))
        assert answer.steps.get(run.id) == steps
    _, plan = make_plan(store, [accept(store, "record", ["record-0001"]).id])
    assert plan.claim_possible == "none"


def test_a_checkpoint_before_the_first_step_keeps_nothing(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        run.checkpoint()
        live(run)
    (kept,) = workshop.rows_of(store, tables.Checkpoint)
    assert kept.step == len(ORDER)


def no_batch(run: Observed) -> None:
    run.update(Updated(run.window()))


def test_a_loop_that_does_nothing_trains_nothing(store: Any, watching: Any) -> None:
    error = refused(RunError, "did no optimizer step", watching(), lambda run: None)
    assert "given to observe" in error.hint
    assert "watch()" in refused(RunError, "before any watched", watching(), no_batch).hint
    with store.catalogue.read() as session:
        assert session.query(tables.ModelVersion).count() == 0


@pytest.mark.parametrize(
    ("error", "state"),
    [(OSError("the power"), "failed"), (SystemExit(1), "failed"), (KeyboardInterrupt(), "stopped")],
    ids=["error", "exit", "interrupt"],
)
def test_a_loop_that_ends_early_keeps_its_checkpoint_and_publishes_nothing(
    store: Any, watching: Any, workshop: Any, error: BaseException, state: str
) -> None:
    run_id = died(watching(), error)
    (run,) = workshop.rows_of(store, tables.Run)
    assert (run.id, run.state, run.owner) == (run_id, state, None)
    assert [each.step for each in workshop.rows_of(store, tables.Checkpoint)] == [2]
    assert workshop.rows_of(store, tables.ModelVersion) == []
    assert steps_of(store, 5) == set()


def test_a_run_goes_on_from_its_last_checkpoint(store: Any, watching: Any, workshop: Any) -> None:
    with watching() as whole:
        live(whole, keep=(2,))
    run_id = died(watching(), OSError("the power"))
    count = Count()
    count.value = 9
    with watching(count, resume=run_id) as run:
        assert (run.id, run.step, count.value) == (run_id, 2, 0)
        live(run)
    assert steps_of(store, 3) == {0, 3}
    consumed = {
        each: [c.consumed for c in workshop.rows_of(store, tables.Checkpoint, run_id=each)]
        for each in (whole.id, run_id)
    }
    assert sorted(consumed[whole.id]) == sorted(consumed[run_id])
    assert len(workshop.rows_of(store, tables.ModelVersion)) == 2


def test_a_run_without_a_checkpoint_begins_again(store: Any, watching: Any) -> None:
    run_id = died(watching(), OSError("the power"), keep=())
    with watching(resume=run_id) as run:
        assert run.step == 0
        live(run)
    assert steps_of(store, 3) == {0, 3}


def test_only_one_loop_records_a_run_and_only_until_it_is_complete(
    store: Any, watching: Any
) -> None:
    def act(run: Observed) -> None:
        with watching(resume=run.id):
            raise AssertionError

    refused(RunError, "is being executed by process", watching(), act)
    with watching() as run:
        live(run)
    refused(RunError, "is complete", watching(resume=run.id), live)


def test_no_other_than_its_own_loop_goes_on_with_a_run(
    store: Any, tally: Any, watching: Any, workshop: Any
) -> None:
    run_id = died(watching(), OSError("the power"))
    with pytest.raises(RunError, match="only its owner's loop") as found:
        execute(store, run_id)
    assert f"resume={run_id!r}" in found.value.hint
    tally.prepare(store, shards=1, slices=1)
    (other,) = workshop.rows_of(store, tables.Run, state="pending")
    assert other.id in refused(RunError, "was not observed", watching(resume=other.id), live).hint


def test_a_request_that_comes_while_the_loop_runs_stops_it_at_its_next_checkpoint(
    store: Any, watching: Any, workshop: Any
) -> None:
    def act(run: Observed) -> None:
        live(run, order=ORDER[:3])
        accept(store, "record", ["record-0003"])
        run.checkpoint()

    error = refused(RunStoppedError, "stopped after step 3", watching(), act)
    assert "plan and apply" in error.hint
    (run,) = workshop.rows_of(store, tables.Run)
    assert run.state == "stopped"
    assert [each.step for each in workshop.rows_of(store, tables.Checkpoint)] == [3]
    assert workshop.rows_of(store, tables.ModelVersion) == []
    refused(FencedError, "version", watching(resume=run.id), live)


def test_measures_that_steer_a_choice_are_no_training(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        live(run, order=ORDER[:2])
        run.evaluated({"loss": 0.5})
        live(run)
    (row,) = workshop.rows_of(store, tables.Evaluation)
    assert (row.alias, row.step, row.metrics) == ("people", 2, {"loss": 0.5})


def test_the_state_of_a_version_fills_what_is_given(store: Any, watching: Any) -> None:
    count = Count()
    with watching(count) as run:
        live(run, order=ORDER[:1])
        count.value = 7
    with watching() as run:
        live(run)
    first, newest = Count(), Count()
    with store.catalogue.read() as session:
        version = session.query(tables.ModelVersion).filter_by(sequence=1).one().id
    assert restore(store, version, {"count": first}) == version
    assert restore(store, "m", {"count": newest}) != version
    assert (first.value, newest.value) == (7, 0)
    with pytest.raises(ProgramError, match="holds no 'other', but count") as found:
        restore(store, "m", {"other": first})
    assert "observed with" in found.value.hint


def test_an_ensemble_is_not_the_state_of_one_loop(trained: Any) -> None:
    with pytest.raises(ProgramError, match="is an ensemble of 2") as found:
        restore(trained, "m", {"model": Count()})
    assert "load_model" in found.value.hint


def test_the_program_of_a_loop_is_its_script(
    store: Any, watching: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import beside\n")
    (tmp_path / "beside.py").write_text("")
    for file, command in ((str(script), None), (None, ["make", "model"])):
        monkeypatch.setattr(sys.modules["__main__"], "__file__", file, raising=False)
        with watching(command=command) as run:
            live(run)
    by_script, typed = workshop.rows_of(store, tables.Program)
    if by_script.ref == INTERACTIVE:
        by_script, typed = typed, by_script
    assert (by_script.ref, set(by_script.files)) == ("script.py", {"script.py", "beside.py"})
    assert (typed.ref, typed.files) == (INTERACTIVE, {})
    commands = {tuple(each.command) for each in workshop.rows_of(store, tables.ObservedRun)}
    assert commands == {(sys.executable, *sys.orig_argv[1:]), ("make", "model")}


def test_a_step_whose_batches_are_an_upper_bound_says_so_wherever_it_is_named(
    store: Any, watching: Any
) -> None:
    with watching() as run:
        window = run.window(traced=True)
        for number, rows in enumerate(ORDER):
            batch = run.identify(run.locator.rows(rows))
            run.draw(batch)
            if number != 2:
                run.note(GradientFlowed(batch, number))
                run.note(GradientsCollected(window, number, Gradients.EMPTY))
            run.update(Updated(window, held=Gradients.KEPT))
            if number == 1:
                run.checkpoint()
    assert [batch_at(store, run.id, step).bound for step in range(4)] == [False, False, True, False]
    for record, bounds in ((5, {run.id: (2,)}), (3, {}), (9, {})):
        answer = lineage.who_saw(store, "record", f"record-{record:04d}")
        assert answer.complete
        assert answer.bounds == bounds


def test_doubts_of_each_checkpoint_are_kept_together(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        window = run.window(traced=True)
        for rows in ORDER:
            run.draw(run.identify(run.locator.rows(rows)))
            run.note(TrackLost())
            run.update(Updated(window, held=Gradients.KEPT))
            run.checkpoint()
    (row,) = workshop.rows_of(store, tables.RunRecording)
    assert (set(bounds_of(row)), row.unknown) == ({0, 1, 2, 3}, 4)
    assert not lineage.who_saw(store, "record", "record-0003").complete

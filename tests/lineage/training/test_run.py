"""What a program is given, and what a run leaves with its recorder."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from pyroaring import BitMap

from lineage.data.dataset import without
from lineage.data.version import Version, open_version
from lineage.errors import ProgramError
from lineage.schedule import ScheduleSpec, schedule_for, shards_of
from lineage.training.lap import Lap
from lineage.training.run import Run
from lineage.training.specification import HandleSpec, RunSpec

NOMINAL = (20, 30)


class Kept:
    """A recorder that keeps what it is given."""

    visited = None

    def __init__(self) -> None:
        self.checkpoints: dict[int, Mapping[str, Any]] = {}
        self.laps: dict[int, Lap] = {}
        self.fits: list[tuple[int, str, Any]] = []
        self.evaluations: list[tuple[str, int, Mapping[str, float]]] = []

    def checkpoint(self, step: int, state: Mapping[str, object], lap: Lap) -> None:
        self.checkpoints[step], self.laps[step] = state, lap

    def fitted(self, ordinal: int, alias: str, value: object) -> None:
        self.fits.append((ordinal, alias, value))

    def evaluated(
        self, alias: str, step: int, metrics: Mapping[str, float], *, steers: bool = True
    ) -> None:
        self.evaluations.append((alias, step, metrics))


class Counter:
    """The smallest thing that has a state."""

    def __init__(self) -> None:
        self.count = 0

    def state_dict(self) -> dict[str, int]:
        return {"count": self.count}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        self.count = state["count"]


@pytest.fixture
def people(store: Any, tally: Any) -> Version:
    version: Version = tally.register(store)
    return version


@pytest.fixture
def begin(people: Version) -> Callable[..., Run]:
    """Begins a run of shard 1 of 2 over the people, or over another version of them."""

    def begun(
        version: Version = people,
        start: Mapping[str, object] | None = None,
        first_step: int = 0,
        consumed: str = "",
        **changed: Any,
    ) -> Run:
        schedule = ScheduleSpec(epochs=3, batch_size=5, seed=3, shards=2, shard=0, nominal=NOMINAL)
        names = ("id", "person", "x")
        handle = HandleSpec(dataset="people", nominal=50, columns=names, categories={})
        handles = {"people": handle, "others": handle}
        spec = RunSpec(**{"schedule": schedule, "train": "people", "handles": handles, **changed})
        return Run(
            spec,
            {"people": version, "others": version},
            schedule_for(spec.schedule, version.salt),
            Kept(),
            given=lambda alias: (),
            start=start or {},
            first_step=first_step,
            consumed=consumed,
        )

    return begun


def kept(run: Run) -> Kept:
    recorder = run._recorder
    assert isinstance(recorder, Kept)
    return recorder


def finish(run: Run) -> list[tuple[int, list[str]]]:
    """Train to the end; the step and ids of every batch."""
    return [(run.step, batch["id"].tolist()) for batch in run.batches(run.dataset("people"))]


def less(store: Any, version: Version, *positions: int) -> Version:
    with store.catalogue.write() as session:
        made = without(session, store, version.row, BitMap(positions), "a test")
    return open_version(store, made.id)


def test_each_step_gives_the_scheduled_rows_in_the_scheduled_order(
    begin: Any, people: Version
) -> None:
    run = begin(min_batch=1)
    schedule = run._schedule
    ids = people.column("id")
    scheduled = [
        (step, ids[people.present.positions[rows]].tolist())
        for step in range(run.steps)
        if len(rows := schedule.rows(people.present.records, step))
    ]
    assert finish(run) == scheduled
    assert run.step == run.steps == schedule.steps


def test_a_batch_brings_the_keys_of_its_records(begin: Any, people: Version) -> None:
    keys = dict(zip(people.column("id"), people.present.records.keys, strict=True))
    run = begin()
    for batch in run.batches(run.dataset("people")):
        assert batch.keys.tolist() == [keys[record] for record in batch["id"]]


def test_a_handle_gives_the_nominal_length_whatever_is_present(
    begin: Any, people: Version, store: Any
) -> None:
    assert len(begin().dataset("people")) == 50
    fewer = begin(less(store, people, *range(40)))
    assert (len(fewer.dataset("people")), fewer.steps) == (50, begin().steps)


def test_a_dataset_the_run_does_not_have_is_refused(begin: Any) -> None:
    with pytest.raises(ProgramError, match="asks for dataset 'faces', but this run has") as refused:
        begin().dataset("faces")
    assert "--dataset faces=NAME" in refused.value.hint


def test_batches_can_be_asked_for_once_and_only_of_the_scheduled_dataset(begin: Any) -> None:
    run = begin()
    with pytest.raises(ProgramError, match="schedule is over 'people', not 'others'"):
        run.batches(run.dataset("others"))
    run.batches(run.dataset("people"))
    with pytest.raises(ProgramError, match="called twice"):
        run.batches(run.dataset("people"))


@pytest.mark.parametrize(
    ("late", "name"),
    [
        (lambda run: run.track(model=Counter()), "run.track"),
        (lambda run: run.randomness("numpy"), "run.randomness"),
        (lambda run: run.fit(len, run.dataset("people")), "run.fit"),
    ],
)
def test_what_decides_how_steps_are_executed_comes_before_them(
    begin: Any, late: Callable[[Run], object], name: str
) -> None:
    run = begin()
    next(iter(run.batches(run.dataset("people"))))
    with pytest.raises(ProgramError, match=f"{name} was called after training began") as refused:
        late(run)
    assert "before run.batches" in refused.value.hint


def test_steps_with_too_few_records_are_passed_over_and_counted(begin: Any) -> None:
    every = dict(finish(begin(min_batch=1)))
    run = begin(min_batch=6, checkpoint_every=4)
    seeds: list[int] = []
    run.seed = seeds.append
    trained = dict(finish(run))
    assert trained == {step: ids for step, ids in every.items() if len(ids) >= 6}
    assert 0 < len(trained) < len(every)
    assert seeds == list(trained)
    assert run.step == run.steps
    assert sum(lap.skipped for lap in kept(run).laps.values()) == run.steps - len(trained)
    plain = begin(min_batch=1, checkpoint_every=4)
    finish(plain)
    assert kept(run).checkpoints.keys() == kept(plain).checkpoints.keys()


@pytest.mark.parametrize("every", [None, 1, 4, 7, 1_000])
def test_checkpoints_are_made_at_slice_ends_and_every_so_many_steps(
    begin: Any, every: int | None
) -> None:
    run = begin(checkpoint_every=every)
    finish(run)
    ends = set(run._schedule.boundaries)
    assert len(ends) == 2
    due = ends | set(range(every, run.steps + 1, every)) if every else ends
    assert list(kept(run).checkpoints) == sorted(due)


def test_a_checkpoint_holds_the_state_between_two_optimizer_steps(begin: Any) -> None:
    run = begin(checkpoint_every=1, min_batch=1)
    counter = Counter()
    run.track(counter=counter)
    for _ in run.batches(run.dataset("people")):
        counter.count = run.step + 1
    seen = {step: state["counter"]["count"] for step, state in kept(run).checkpoints.items()}
    assert all(step == count for step, count in seen.items() if kept(run).laps[step].visits)


def test_laps_follow_each_other_and_count_every_visit_once(begin: Any) -> None:
    run = begin(checkpoint_every=4)
    visits = sum(len(ids) for _, ids in finish(run))
    ends = list(kept(run).laps)
    assert [lap.first_step for lap in kept(run).laps.values()] == [0, *ends[:-1]]
    assert sum(lap.visits for lap in kept(run).laps.values()) == visits


def test_a_run_that_goes_on_consumes_what_the_rest_of_an_uninterrupted_one_does(begin: Any) -> None:
    whole = begin(checkpoint_every=4)
    everything = finish(whole)
    for step, lap in kept(whole).laps.items():
        rest = begin(checkpoint_every=4, first_step=step, consumed=lap.consumed)
        assert finish(rest) == [(at, ids) for at, ids in everything if at >= step]
        assert rest.step == rest.steps
        for later, again in kept(rest).laps.items():
            assert again.consumed == kept(whole).laps[later].consumed


def test_the_chain_over_what_was_consumed_tells_a_record_that_was_absent(
    begin: Any, people: Version, store: Any
) -> None:
    whole = begin()
    first = finish(whole)[0]
    absent = people.column("id").tolist().index(first[1][0])
    without_it = begin(less(store, people, absent))
    finish(without_it)
    never_there = next(
        int(row)
        for row, shard in enumerate(shards_of(people.present.records.placement, people.salt, 2))
        if shard == 1
    )
    of_another_shard = begin(less(store, people, never_there))
    finish(of_another_shard)
    last = whole.steps
    assert kept(without_it).laps[last].consumed != kept(whole).laps[last].consumed
    assert kept(of_another_shard).laps[last].consumed == kept(whole).laps[last].consumed


def test_the_chain_over_what_was_consumed_is_keyed_with_the_salt(begin: Any) -> None:
    run = begin()
    empty = begin(min_batch=99)
    finish(run)
    finish(empty)
    digests = {lap.consumed for each in (run, empty) for lap in kept(each).laps.values()}
    assert len(digests) == 4
    assert all(len(bytes.fromhex(digest)) == 32 for digest in digests)


def test_a_run_ends_after_the_step_it_was_asked_to_reach(begin: Any) -> None:
    run = begin(checkpoint_every=4)
    run.until = 8
    assert max(step for step, _ in finish(run)) < 8
    assert (run.step, list(kept(run).checkpoints)) == (8, [4, 8])


def test_a_run_that_was_already_at_its_end_consumes_nothing(begin: Any) -> None:
    for step in (8, begin().steps):
        run = begin(first_step=step)
        run.until = step
        assert finish(run) == []
        assert (run.step, kept(run).checkpoints) == (step, {})


def test_a_fit_sees_the_rows_of_its_own_shard_in_an_order_of_their_own(
    begin: Any, people: Version
) -> None:
    run = begin()
    seen = run.fit(lambda batch: batch.keys.tolist(), run.dataset("people"))
    records = people.present.records
    mine = shards_of(records.placement, people.salt, 2) == 0
    assert seen == sorted(records.keys[mine].tolist())
    assert run.fit(len, run.dataset("others")) == mine.sum()
    assert kept(run).fits == [(0, "people", seen), (1, "others", mine.sum())]


def test_an_evaluation_sees_every_present_row_and_is_recorded_as_selection(
    begin: Any, people: Version, store: Any
) -> None:
    run = begin(less(store, people, 3))
    batches = run.batches(run.dataset("people"))
    next(batches)
    next(batches)
    metrics = run.evaluate(lambda batch: {"rows": float(len(batch))}, run.dataset("others"))
    assert metrics == {"rows": 95.0}
    assert kept(run).evaluations == [("others", run.step, {"rows": 95.0})]
    assert kept(run).fits == []


def test_what_is_measured_is_not_learned_from(begin: Any) -> None:
    run, counter = begin(), Counter()
    run.track(counter=counter)

    def learns(batch: Any) -> dict[str, float]:
        counter.count += len(batch)
        return {}

    with pytest.raises(ProgramError, match="changed the tracked 'counter' while it measured") as no:
        run.evaluate(learns, run.dataset("others"))
    assert "after run.evaluate returned" in no.value.hint
    assert kept(run).evaluations == []


def test_tracked_objects_are_restored_from_the_start(begin: Any) -> None:
    counter, other = Counter(), Counter()
    run = begin(start={"counter": {"count": 7}, "other": {"count": 8}}, first_step=4)
    run.track(counter=counter)
    run.track(other=other)
    assert (counter.count, other.count) == (7, 8)
    assert run.tracked == {"counter": counter, "other": other}


def test_a_fine_tune_restores_only_what_it_was_told_to(begin: Any) -> None:
    model, optimizer = Counter(), Counter()
    run = begin(start={"model": {"count": 7}, "optimizer": {"count": 8}}, restore=("model",))
    run.track(model=model, optimizer=optimizer)
    assert (model.count, optimizer.count) == (7, 0)


def test_a_start_that_lacks_a_tracked_object_is_refused(begin: Any) -> None:
    run = begin(start={"model": {"count": 7}}, first_step=4)
    with pytest.raises(ProgramError, match="holds no 'optimizer'"):
        run.track(optimizer=Counter())


def test_generators_are_asked_for_by_their_names(begin: Any) -> None:
    run = begin()
    run.randomness("numpy")
    run.randomness("random", "numpy")
    assert run.generators == {"numpy", "random"}
    with pytest.raises(ProgramError, match="no generator 'np'") as refused:
        run.randomness("np")
    assert "numpy" in refused.value.hint

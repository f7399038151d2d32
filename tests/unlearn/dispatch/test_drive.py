"""Applying a plan: once, however often and wherever it is interrupted."""

import importlib
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest

from lineage.errors import ProgramFailedError
from lineage.training.model import find_version
from lineage.training.nominal import Wanted, frozen_cells
from storage.catalogue import tables
from unlearn.dispatch import drive, journal
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.errors import PlanError, StalePlanError
from unlearn.plan.model import Task
from unlearn.plan.passes.timetable import by_urgency
from unlearn.plan.planner import make_plan
from unlearn.plan.stored import load_plan
from unlearn.request.lifecycle import accept

KINDS = ("probe", "interim", "replay", "aggregate", "check", "publish", "purge")


@pytest.fixture
def plan_id(trained: Any, tally: Any) -> str:
    request = accept(trained, "subject", ["person-07"])
    return make_plan(trained, [request.id])[0]


@pytest.fixture(scope="module")
def undisturbed(
    workshop: Any, trained_once: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    """What the plan gives when nothing happens to it."""
    path = copytree(trained_once, tmp_path_factory.mktemp("undisturbed") / "store")
    with workshop.Store.open(path, workshop.Clock(days=1)) as store:
        request = accept(store, "subject", ["person-07"])
        made, _ = make_plan(store, [request.id])
        return {"results": apply(store, made), "digest": find_version(store, "m").digest}


def plan_of(store: Any, plan_id: str) -> Any:
    with store.catalogue.read() as session:
        return load_plan(session, plan_id)[1]


def state_of(store: Any, plan_id: str) -> str:
    with store.catalogue.read() as session:
        state: str = session.get_one(tables.Plan, plan_id).state
        return state


def test_the_plan_of_these_tests_has_every_kind_of_task(trained: Any, plan_id: str) -> None:
    kinds = [task.work.kind for task in plan_of(trained, plan_id).tasks]
    assert sorted(kinds) == sorted(KINDS)


def test_applying_does_what_was_planned_and_no_more(
    trained: Any, tally: Any, workshop: Any, plan_id: str
) -> None:
    plan = plan_of(trained, plan_id)
    said: list[tuple[str, str]] = []
    results = apply(trained, plan_id, progress=lambda task, state: said.append((task.id, state)))
    assert sorted(said) == sorted(
        (t.id, state) for t in plan.tasks for state in ("started", "done")
    )
    for task in plan.tasks:
        begun = said.index((task.id, "started"))
        assert all(said.index((each, "done")) < begun for each in task.depends_on)
    assert results["replay-1"]["visits"] == plan.visits
    replayed = sum(len(ids) for _, ids in tally.consumed())
    assert replayed == plan.visits + plan.task("probe-1").visits
    gone = {f"record-{row:04d}" for row in (7, 31, 55, 79)}
    assert not gone & {record for _, ids in tally.consumed() for record in ids}
    assert (results["check"]["verdict"], state_of(trained, plan_id)) == ("passed", "applied")
    (request,) = workshop.rows_of(trained, tables.Request)
    assert (request.state, request.closed_at is None) == ("done", False)
    newest = find_version(trained, "m")
    assert newest.id == results["publish"]["versions"][plan.affected.versions[0]]
    assert newest.digest == results["aggregate-1"]["digest"]


def test_an_applied_plan_is_not_applied_again(trained: Any, workshop: Any, plan_id: str) -> None:
    results = apply(trained, plan_id)
    before = len(workshop.rows_of(trained, tables.Commitment))
    assert apply(trained, plan_id) == results
    assert len(workshop.rows_of(trained, tables.Commitment)) == before


class InterruptedTaskError(Exception):
    """What a test raises in a task."""


def interrupt(monkeypatch: pytest.MonkeyPatch, kind: str, when: str) -> Callable[[], None]:
    """Let tasks of a kind fail before or after their work; returns the cure."""
    module = importlib.import_module(f"unlearn.tasks.{kind}")
    execute = module.execute

    def failing(context: Any) -> dict[str, Any]:
        if when == "after":
            execute(context)
        raise InterruptedTaskError(kind)

    monkeypatch.setattr(module, "execute", failing)
    return lambda: monkeypatch.setattr(module, "execute", execute)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_plan_that_was_interrupted_in_any_task_goes_on_to_the_same_model(
    trained: Any,
    tally: Any,
    workshop: Any,
    plan_id: str,
    monkeypatch: pytest.MonkeyPatch,
    undisturbed: dict[str, Any],
    kind: str,
    when: str,
) -> None:
    cure = interrupt(monkeypatch, kind, when)
    with pytest.raises(InterruptedTaskError):
        apply(trained, plan_id)
    assert state_of(trained, plan_id) == "failed"
    done = journal.results(trained, plan_id)
    assert f"{kind}-1" not in done
    assert kind not in done
    cure()
    tasks: list[Task] = []
    results = apply(trained, plan_id, progress=lambda task, _: tasks.append(task))
    assert not done.keys() & {task.id for task in tasks}
    assert find_version(trained, "m").digest == undisturbed["digest"]
    for task, result in done.items():
        assert results[task] == result
    assert results["purge"]["erased_records"] == undisturbed["results"]["purge"]["erased_records"]
    # Nothing was done twice: no batch of the replay, no version, no run.
    batches = [(step, *ids) for step, ids in tally.consumed()]
    assert len(batches) == len(set(batches))
    assert len(workshop.rows_of(trained, tables.ModelVersion)) == 3
    assert len([run for run in workshop.rows_of(trained, tables.Run) if run.task_id]) == 2
    assert len(workshop.rows_of(trained, tables.Commitment, kind="outcome")) == 1


def test_a_replay_that_was_interrupted_between_checkpoints_goes_on_from_the_last(
    trained: Any, tally: Any, plan_id: str, undisturbed: dict[str, Any]
) -> None:
    replay = plan_of(trained, plan_id).task("replay-1").work
    tally.spring(replay.until - 1, "interrupt")
    with pytest.raises(KeyboardInterrupt):
        apply(trained, plan_id)
    assert state_of(trained, plan_id) == "failed"
    tally.forget_the_log()
    apply(trained, plan_id)
    assert tally.consumed()[0][0] == 18
    assert find_version(trained, "m").digest == undisturbed["digest"]


def test_a_plan_that_another_process_takes_over_drops_the_work_of_the_first(
    trained: Any, workshop: Any, plan_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("unlearn.tasks.interim")
    execute = module.execute

    def overtaken(context: Any) -> dict[str, Any]:
        with trained.catalogue.write() as session:
            session.get_one(tables.Plan, plan_id).fence += 1
        made: dict[str, Any] = execute(context)
        return made

    monkeypatch.setattr(module, "execute", overtaken)
    with pytest.raises(StalePlanError, match="taken over"):
        apply(trained, plan_id)
    assert "interim-1" not in journal.results(trained, plan_id)


def test_tasks_wait_for_what_they_depend_on_whatever_order_workers_finish_in(
    trained: Any, plan_id: str
) -> None:
    class Backwards(InProcess):
        """Takes all that is ready, and carries out the last of it first."""

        size = 9

        def __init__(self, store: Any) -> None:
            super().__init__(store)
            self.taken: list[tuple[Any, str, Any, Future[None]]] = []
            self.order: list[str] = []
            self.closed = False

        def submit(self, ownership: Any, task_id: str, options: Any) -> "Future[None]":
            future: Future[None] = Future()
            self.taken.append((ownership, task_id, options, future))
            return future

        def work(self) -> None:
            ownership, task_id, options, future = self.taken.pop()
            done = set(journal.results(trained, plan_id))
            assert done.issuperset(ownership.plan.task(task_id).depends_on)
            super().submit(ownership, task_id, options)
            self.order.append(task_id)
            future.set_result(None)

        def close(self) -> None:
            self.closed = True

    workers = Backwards(trained)
    waiting = drive.wait

    def work_then_wait(futures: Any, **options: Any) -> Any:
        workers.work()
        return waiting(futures, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(drive, "wait", work_then_wait)
        apply(trained, plan_id, workers)
    urgent = [task.id for task in by_urgency(plan_of(trained, plan_id).tasks)]
    assert workers.order != urgent
    assert sorted(workers.order) == sorted(urgent)
    assert workers.closed
    assert state_of(trained, plan_id) == "applied"


def test_no_more_tasks_run_at_once_than_there_are_workers(trained: Any, plan_id: str) -> None:
    class Counting(InProcess):
        """Has taken each task until the next time that somebody waits."""

        taken, most = 0, 0

        def submit(self, ownership: Any, task_id: str, options: Any) -> "Future[None]":
            self.taken += 1
            self.most = max(self.most, self.taken)
            return super().submit(ownership, task_id, options)

    workers, waiting = Counting(trained), drive.wait

    def wait_for_all(futures: Any, **options: Any) -> Any:
        workers.taken = 0
        return waiting(futures, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(drive, "wait", wait_for_all)
        apply(trained, plan_id, workers)
    assert workers.most == workers.size == 1


def test_of_two_requests_a_plan_for_one_leaves_the_other_to_its_own(
    trained: Any, workshop: Any, tally: Any
) -> None:
    first = accept(trained, "subject", ["person-07"])
    second = accept(trained, "subject", ["person-02"])
    apply(trained, make_plan(trained, [first.id])[0])
    states = {each.id: each.state for each in workshop.rows_of(trained, tables.Request)}
    assert states == {first.id: "done", second.id: "open"}
    apply(trained, make_plan(trained, [second.id])[0])
    together = find_version(trained, "m").digest
    states = {each.id: each.state for each in workshop.rows_of(trained, tables.Request)}
    assert set(states.values()) == {"done"}
    with workshop.Store.create(tally.folder / "never" / "store", workshop.Clock()) as other:
        everybody = tally.register(other)
        frozen_cells(other, everybody, Wanted(2, 2), 8)
        accept(other, "subject", ["person-07", "person-02"])
        assert tally.train(other).digest == together


def test_a_request_during_an_unfinished_apply_is_planned_together_with_the_first(
    trained: Any, workshop: Any, tally: Any, plan_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay = plan_of(trained, plan_id).task("replay-1").work
    tally.spring(replay.until - 1, "error")
    with pytest.raises(ProgramFailedError, match="OSError"):
        apply(trained, plan_id)
    (first,) = workshop.rows_of(trained, tables.Request)
    second = accept(trained, "subject", ["person-02"])
    both, _ = make_plan(trained, [first.id, second.id])
    apply(trained, both)
    newest = find_version(trained, "m")
    assert not newest.interim
    members = workshop.rows_of(trained, tables.ModelMember, version_id=newest.id)
    assert [member.shard for member in members] == [0, 1]
    with pytest.raises(PlanError, match="overtaken"):
        apply(trained, plan_id)

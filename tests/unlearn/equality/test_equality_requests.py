"""Requests that follow each other, and requests that arrive while one is being carried out."""

from concurrent.futures import Future
from pathlib import Path

import pytest

from storage.catalogue import tables
from tests.unlearn.equality.counterfactual import bits, from_scratch
from tests.unlearn.equality.forgetting import (
    PLAINLY,
    TWIN,
    ask,
    ask_all,
    carry_out,
    forget,
    newest,
)
from tests.unlearn.equality.trained import MODEL, Trained, Trains
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.dispatch.journal import Ownership
from unlearn.dispatch.worker import Options
from unlearn.errors import PlanError, StalePlanError
from unlearn.plan.planner import make_plan


class StopBefore(InProcess):
    """Workers that are interrupted when they are given a task."""

    def __init__(self, model: Trained, task_id: str) -> None:
        super().__init__(model.store)
        self.task_id = task_id

    def submit(self, ownership: Ownership, task_id: str, options: Options) -> "Future[None]":
        if task_id == self.task_id:
            raise KeyboardInterrupt
        return super().submit(ownership, task_id, options)


def _equals_the_twin_without(model: Trained, people: list[str], folder: Path) -> None:
    gone = model.material.records_of("subject", people)
    twin = from_scratch(model.store, model.version, [model.material], gone, folder)
    assert bits(model.store, newest(model.store, MODEL)) == twin


def _all_done(model: Trained) -> bool:
    with model.store.catalogue.read() as session:
        return all(request.state == "done" for request in session.query(tables.Request))


@pytest.mark.parametrize("shard", [1, 2], ids=["the same shard", "another shard"])
def test_a_second_request_leaves_what_training_without_both_gives(
    shard: int, trained: Trains, tmp_path: Path
) -> None:
    model = trained("mnist.py:mlp", "sharded", optimizer="adam")
    first, second = model.people(1, 1)[0], model.people(shard, 0)[0]
    forget(model.store, "subject", [first])
    forget(model.store, "subject", [second])
    _equals_the_twin_without(model, [first, second], tmp_path / "twin")


def test_requests_planned_together_leave_what_training_without_them_gives(
    trained: Trains, tmp_path: Path
) -> None:
    model = trained("voices.py:mlp", "sharded", optimizer="sgd", scaler=True)
    people = [model.people(0, 0)[0], model.people(0, 1)[0], model.people(2, 1)[0]]
    carry_out(model.store, [ask(model.store, "subject", [person]) for person in people])
    _equals_the_twin_without(model, people, tmp_path / "twin")


@pytest.mark.parametrize("shard", [0, 2], ids=["the same shard", "another shard"])
def test_a_request_after_the_replay_of_an_unfinished_plan_is_served_after_it(
    shard: int, trained: Trains, tmp_path: Path
) -> None:
    model = trained("voices.py:mlp", "sharded", optimizer="adam", scaler=False)
    first, second = model.people(0, 1)[0], model.people(shard, 0)[0]
    plan_id, _ = make_plan(model.store, [ask(model.store, "subject", [first])])
    with pytest.raises(KeyboardInterrupt):
        apply(model.store, plan_id, StopBefore(model, "aggregate-1"), PLAINLY)
    later = ask(model.store, "subject", [second])
    results = apply(model.store, plan_id, InProcess(model.store), TWIN)
    # The twin is of what the plan froze: the second person's rows are in both.
    assert results["check"]["verdict"] == "passed"
    assert results["check"]["claim"]["claim"] == "replay-verified"
    carry_out(model.store, [later])
    assert _all_done(model)
    _equals_the_twin_without(model, [first, second], tmp_path / "twin")


def test_a_plan_that_another_has_overtaken_publishes_nothing(trained: Trains) -> None:
    model = trained("voices.py:mlp", "sharded", optimizer="adam", scaler=False)
    requests = [ask(model.store, "subject", [model.people(0, 1)[0]])]
    plan_id, _ = make_plan(model.store, requests)
    with pytest.raises(KeyboardInterrupt):
        apply(model.store, plan_id, StopBefore(model, "aggregate-1"), PLAINLY)
    requests.append(ask(model.store, "subject", [model.people(2, 0)[0]]))
    outcome = carry_out(model.store, requests)
    with pytest.raises(PlanError, match="was overtaken"):
        apply(model.store, plan_id, InProcess(model.store), PLAINLY)
    assert newest(model.store, MODEL) == outcome.version


def test_a_request_that_concerns_a_replay_still_to_come_is_planned_together(
    trained: Trains, tmp_path: Path
) -> None:
    model = trained("voices.py:mlp", "sharded", optimizer="adam", scaler=False)
    people = [model.people(shard, 1)[0] for shard in (0, 2)]
    requests = ask_all(model.store, "subject", people)
    plan_id, plan = make_plan(model.store, requests)
    _, still = [task for task in plan.tasks if task.work.kind == "replay"]
    with pytest.raises(KeyboardInterrupt):
        apply(model.store, plan_id, StopBefore(model, still.id), PLAINLY)
    later = model.people(model.shard_of(still.work.run_id), 0)[0]
    requests.append(ask(model.store, "subject", [later]))
    with pytest.raises(StalePlanError, match="are being forgotten"):
        apply(model.store, plan_id, InProcess(model.store), PLAINLY)
    carry_out(model.store, requests)
    assert _all_done(model)
    _equals_the_twin_without(model, [*people, later], tmp_path / "twin")
    with pytest.raises(PlanError, match="was overtaken"):
        apply(model.store, plan_id, InProcess(model.store), PLAINLY)

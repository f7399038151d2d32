"""The journal: one owner at a time, under a fence that only rises."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.processes import this_process
from unlearn.dispatch import journal
from unlearn.errors import PlanError, StalePlanError
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept


@pytest.fixture
def plan_id(trained: Any) -> str:
    request = accept(trained, "subject", ["person-07"])
    return make_plan(trained, [request.id])[0]


def plan_row(store: Any, plan_id: str) -> Any:
    with store.catalogue.read() as session:
        return session.get_one(tables.Plan, plan_id)


def owned_by(store: Any, plan_id: str, owner: str | None) -> None:
    """Let the plan look as if a process had taken it, and not let go."""
    with store.catalogue.write() as session:
        session.execute(update(tables.Plan).where(tables.Plan.id == plan_id).values(owner=owner))


def test_an_owner_writes_the_tasks_down_once(trained: Any, workshop: Any, plan_id: str) -> None:
    ownership = journal.own(trained, plan_id)
    assert (ownership.plan_id, ownership.fence) == (plan_id, 1)
    tasks = sorted(workshop.rows_of(trained, tables.Task), key=lambda task: task.ordinal)
    assert [task.id for task in tasks] == [f"{plan_id}/{t.id}" for t in ownership.plan.tasks]
    assert {task.state for task in tasks} == {"pending"}
    journal.release(trained, ownership, "failed")
    assert journal.own(trained, plan_id).fence == 2
    assert len(workshop.rows_of(trained, tables.Task)) == len(tasks)


def test_a_plan_that_a_living_process_owns_is_refused(trained: Any, plan_id: str) -> None:
    journal.own(trained, plan_id)
    with pytest.raises(PlanError, match="is being applied by process") as refused:
        journal.own(trained, plan_id)
    assert "stop that process" in refused.value.hint
    assert plan_row(trained, plan_id).fence == 1


def test_the_plan_of_a_dead_owner_is_taken_over(trained: Any, plan_id: str) -> None:
    journal.own(trained, plan_id)
    host, pid, started = this_process().rsplit(":", 2)
    ticks, boot = started.split(".")
    owned_by(trained, plan_id, f"{host}:{pid}:{int(ticks) - 1}.{boot}")
    assert journal.own(trained, plan_id).fence == 2
    assert plan_row(trained, plan_id).owner == this_process()


def test_an_owner_on_another_host_is_believed_until_its_lease_ends(
    trained: Any, plan_id: str
) -> None:
    journal.own(trained, plan_id)
    owned_by(trained, plan_id, "elsewhere.example:1:1")
    with pytest.raises(PlanError, match=r"elsewhere\.example"):
        journal.own(trained, plan_id)
    trained.clock.now += journal.LEASE + timedelta(minutes=1)
    assert journal.own(trained, plan_id).fence == 2


def test_an_owner_that_works_renews_its_lease(trained: Any, plan_id: str) -> None:
    ownership = journal.own(trained, plan_id)
    trained.clock.now += journal.LEASE - timedelta(hours=1)
    journal.start(trained, ownership, "interim-1")
    owned_by(trained, plan_id, "elsewhere.example:1:1")
    trained.clock.now += timedelta(hours=2)
    with pytest.raises(PlanError, match="is being applied"):
        journal.own(trained, plan_id)


def test_a_living_owner_on_this_host_needs_no_lease(trained: Any, plan_id: str) -> None:
    journal.own(trained, plan_id)
    trained.clock.now += 2 * journal.LEASE
    with pytest.raises(PlanError, match="is being applied"):
        journal.own(trained, plan_id)


def test_an_owner_that_was_taken_for_dead_can_write_nothing(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    old = journal.own(trained, plan_id)
    journal.start(trained, old, "interim-1")
    owned_by(trained, plan_id, None)
    new = journal.own(trained, plan_id)
    before = workshop.rows_of(trained, tables.Task)
    for write in (
        lambda: journal.start(trained, old, "replay-1"),
        lambda: journal.complete(trained, old, "interim-1", {"version": "mv-0"}),
        lambda: journal.release(trained, old, "applied"),
    ):
        with pytest.raises(StalePlanError, match="taken over") as refused:
            write()
        assert plan_id in refused.value.message
    assert plan_row(trained, plan_id).state == "applying"
    assert [vars(task)["state"] for task in workshop.rows_of(trained, tables.Task)] == [
        vars(task)["state"] for task in before
    ]
    assert journal.start(trained, new, "interim-1")


def test_a_task_is_started_once_under_a_fence_and_never_after_it_is_done(
    trained: Any, plan_id: str
) -> None:
    first = journal.own(trained, plan_id)
    assert journal.start(trained, first, "interim-1")
    assert not journal.start(trained, first, "interim-1")
    journal.release(trained, first, "failed")
    second = journal.own(trained, plan_id)
    assert journal.start(trained, second, "interim-1")
    journal.complete(trained, second, "interim-1", {"version": "mv-1"})
    journal.release(trained, second, "failed")
    third = journal.own(trained, plan_id)
    assert not journal.start(trained, third, "interim-1")
    assert journal.results(trained, plan_id) == {"interim-1": {"version": "mv-1"}}


def test_results_come_in_the_order_of_the_plan(trained: Any, plan_id: str) -> None:
    ownership = journal.own(trained, plan_id)
    names = [task.id for task in ownership.plan.tasks]
    for name in reversed(names):
        journal.start(trained, ownership, name)
        journal.complete(trained, ownership, name, {"name": name})
    assert list(journal.results(trained, plan_id)) == names


def test_an_applied_plan_has_its_outcome_committed_and_no_owner(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    ownership = journal.own(trained, plan_id)
    journal.release(trained, ownership, "applied")
    row = plan_row(trained, plan_id)
    assert (row.state, row.owner, row.lease_until) == ("applied", None, None)
    assert row.applied_at is not None
    (outcome,) = workshop.rows_of(trained, tables.Commitment, kind="outcome")
    assert outcome.row_id == plan_id
    with pytest.raises(PlanError, match="is applied"):
        journal.own(trained, plan_id)


def test_a_plan_that_is_not_there_is_named(trained: Any) -> None:
    with pytest.raises(NotFoundError, match="plan-0"):
        journal.own(trained, "plan-0")


def test_two_plans_for_one_request_are_not_applied_at_once(trained: Any, plan_id: str) -> None:
    request = accept(trained, "subject", ["person-07"])
    rival, _ = make_plan(trained, [request.id])
    journal.own(trained, rival)
    with pytest.raises(PlanError, match=f"{rival} is being applied"):
        journal.own(trained, plan_id)

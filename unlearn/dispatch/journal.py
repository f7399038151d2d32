"""The journal of a plan's tasks: who does what, under a fence, and what came of it.

Every change is one short conditional transaction. A plan has one owner at a time; its fence rises
with each, and a write under an older fence is refused, so an owner that was taken for dead cannot
spoil the work of the next.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from storage.processes import LEASE, is_alive, is_local, this_process
from unlearn.errors import PlanError, StalePlanError
from unlearn.plan.model import Plan
from unlearn.plan.stored import load_plan


@dataclass(frozen=True, slots=True)
class Ownership:
    """The right to work on a plan, until a higher fence exists."""

    plan_id: str
    plan: Plan
    fence: int


def own(store: Store, plan_id: str) -> Ownership:
    """Take a plan that is ready, or whose last owner is gone; its tasks are written down once.

    Raises:
        NotFoundError: there is no such plan.
        PlanError: it is applied or cancelled, or another process is applying it, or another plan
            for a request of it.
    """
    with store.catalogue.write() as session:
        row, plan = load_plan(session, plan_id)
        if row.state not in ("ready", "applying", "failed"):
            raise PlanError(f"plan {plan_id} is {row.state}", hint="see `expunge status`")
        if row.owner is not None and _holds(store, row, row.owner):
            raise PlanError(
                f"plan {plan_id} is being applied by process {row.owner}",
                hint="wait for it, or stop that process first",
            )
        for rival in session.scalars(_rivals(plan_id, plan)):
            if rival.owner is not None and _holds(store, rival, rival.owner):
                raise PlanError(
                    f"plan {rival.id} is being applied, and serves the same request",
                    hint="wait for it, or stop its process first",
                )
        if row.state == "ready":
            _write_tasks(session, plan_id, plan)
        row.state = "applying"
        row.owner = this_process()
        row.lease_until = store.clock() + LEASE
        row.fence += 1
        return Ownership(plan_id, plan, row.fence)


def is_applied(store: Store, plan_id: str) -> bool:
    """Whether a plan was carried out to its end.

    Raises:
        NotFoundError: there is no such plan.
    """
    with store.catalogue.read() as session:
        return load_plan(session, plan_id)[0].state == "applied"


def release(store: Store, ownership: Ownership, state: str) -> None:
    """Let go of a plan in a state: ``applied``, or ``failed`` to be taken up again."""
    with store.catalogue.write() as session:
        row = require_owner(session, ownership)
        row.owner = None
        row.lease_until = None
        row.state = state
        if state == "applied":
            row.applied_at = store.clock()
            results = results_of(session, ownership.plan_id)
            ledger.commit(session, "outcome", row.id, {"results": results}, store.clock())
            for overtaken in session.scalars(_overtaken(ownership)).all():
                if overtaken.owner is None or not _holds(store, overtaken, overtaken.owner):
                    give_up(session, store, overtaken)


def give_up(session: Session, store: Store, row: tables.Plan) -> None:
    """Cancel a plan in the caller's transaction: what it leased is free again."""
    row.state = "cancelled"
    row.owner = None
    row.fence += 1
    session.execute(delete(tables.Lease).where(tables.Lease.plan_id == row.id))
    ledger.commit(session, "plan", row.id, {"state": "cancelled"}, store.clock())


def require_owner(session: Session, ownership: Ownership) -> tables.Plan:
    """The row of a plan, for its owner alone.

    Raises:
        StalePlanError: another owner took the plan meanwhile.
    """
    row = session.get_one(tables.Plan, ownership.plan_id)
    if row.fence != ownership.fence:
        raise StalePlanError(
            f"plan {row.id} was taken over by another process; this one's work is dropped",
            hint=f"see `expunge show {row.id}`",
        )
    return row


def start(store: Store, ownership: Ownership, task_id: str) -> bool:
    """Mark a task as running under this fence; False if it is already done."""
    with store.catalogue.write() as session:
        require_owner(session, ownership).lease_until = store.clock() + LEASE
        claimed = session.execute(
            update(tables.Task)
            .where(
                tables.Task.id == _key(ownership.plan_id, task_id),
                tables.Task.state != "done",
                tables.Task.fence < ownership.fence,
            )
            .values(state="running", fence=ownership.fence, started_at=store.clock())
        )
        return bool(claimed.rowcount)  # type: ignore[attr-defined]


def complete(store: Store, ownership: Ownership, task_id: str, result: dict[str, Any]) -> None:
    """Keep a task's result.

    Raises:
        StalePlanError: another owner took the plan meanwhile; the result is dropped.
    """
    with store.catalogue.write() as session:
        require_owner(session, ownership).lease_until = store.clock() + LEASE
        task = session.get_one(tables.Task, _key(ownership.plan_id, task_id))
        task.state = "done"
        task.result = result
        task.ended_at = store.clock()


def results(store: Store, plan_id: str) -> dict[str, dict[str, Any]]:
    """The results of the tasks that are done, by task id."""
    with store.catalogue.read() as session:
        return results_of(session, plan_id)


def results_of(session: Session, plan_id: str) -> dict[str, dict[str, Any]]:
    """The results of the tasks that are done, by task id."""
    done = select(tables.Task).where(tables.Task.plan_id == plan_id, tables.Task.state == "done")
    return {
        task.id.rpartition("/")[2]: task.result
        for task in session.scalars(done.order_by(tables.Task.ordinal))
    }


def _rivals(plan_id: str, plan: Plan) -> Select[tables.Plan]:
    """Other plans that serve a request of this one, and have an owner."""
    return (
        select(tables.Plan)
        .join(tables.PlanRequest, tables.PlanRequest.plan_id == tables.Plan.id)
        .where(
            tables.PlanRequest.request_id.in_(plan.requests),
            tables.Plan.id != plan_id,
            tables.Plan.owner.is_not(None),
        )
    )


def _overtaken(ownership: Ownership) -> Select[tables.Plan]:
    """Unfinished plans for requests that a plan has served: they have nothing left to do."""
    return (
        select(tables.Plan)
        .join(tables.PlanRequest, tables.PlanRequest.plan_id == tables.Plan.id)
        .where(
            tables.PlanRequest.request_id.in_(ownership.plan.requests),
            tables.Plan.id != ownership.plan_id,
            tables.Plan.state.in_(["ready", "applying", "failed"]),
        )
        .distinct()
    )


def _write_tasks(session: Session, plan_id: str, plan: Plan) -> None:
    session.add_all(
        tables.Task(
            id=_key(plan_id, task.id),
            plan_id=plan_id,
            ordinal=ordinal,
            kind=task.work.kind,
            state="pending",
            fence=0,
            result={},
        )
        for ordinal, task in enumerate(plan.tasks)
    )


def _holds(store: Store, row: tables.Plan, owner: str) -> bool:
    """Whether the owner still has the plan; the life of one on another host cannot be seen."""
    expired = row.lease_until is not None and row.lease_until < store.clock()
    return is_alive(owner) and (is_local(owner) or not expired)


def _key(plan_id: str, task_id: str) -> str:
    return f"{plan_id}/{task_id}"

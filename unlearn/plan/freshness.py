"""Is a plan still the plan? What was reviewed is what runs, or nothing does."""

from typing import Any

from sqlalchemy import Select, select

from lineage.store import Store
from storage.catalogue import tables
from unlearn.errors import PlanError, StalePlanError
from unlearn.plan.model import Plan, Probe
from unlearn.plan.planner import draft
from unlearn.plan.stored import load_plan


def check_fresh(store: Store, plan_id: str) -> Plan | None:
    """Plan again where nothing was carried out yet, and refuse where that gives another plan.

    Returns the plan, or None where it was begun before.

    Raises:
        NotFoundError: there is no such plan.
        PlanError: it is applied or cancelled, or another plan for its requests was applied.
        StalePlanError: the graph changed; the difference is named.
    """
    with store.catalogue.read() as session:
        row, plan = load_plan(session, plan_id)
        overtaken = session.scalar(_overtaking(plan_id, plan))
    if overtaken is not None:
        raise PlanError(
            f"plan {plan_id} was overtaken: {overtaken} has done what was asked",
            hint=f"see `expunge show {overtaken}`",
        )
    if row.state in ("applied", "cancelled"):
        raise PlanError(f"plan {plan_id} is {row.state}", hint=f"see `expunge show {plan_id}`")
    if row.state != "ready":
        return None
    changes = differences(plan, draft(store, plan.requests, exact_selection=plan.exact_selection))
    if changes:
        raise StalePlanError(
            f"plan {plan_id} no longer fits the store: {'; '.join(changes)}",
            hint=f"plan again: expunge plan {' '.join(plan.requests)}",
            difference=changes,
        )
    return plan


def differences(old: Plan, new: Plan) -> list[str]:
    """What differs between two plans for the same requests, as clauses; seconds do not count."""
    changes = []
    for name in ("runs", "checkpoints", "versions"):
        before, after = set(getattr(old.affected, name)), set(getattr(new.affected, name))
        changes += [f"{each} is affected too" for each in sorted(after - before)]
        changes += [f"{each} is no longer affected" for each in sorted(before - after)]
    if old.forget != new.forget:
        changes.append("other records are being forgotten")
    was, now = _work(old), _work(new)
    for task in sorted(was.keys() | now.keys()):
        if was.get(task) != now.get(task):
            what = "new" if task not in was else "gone" if task not in now else "different"
            changes.append(f"task {task} is {what}")
    return changes


def _overtaking(plan_id: str, plan: Plan) -> Select[str]:
    """An applied plan that serves a request of this one."""
    return (
        select(tables.Plan.id)
        .join(tables.PlanRequest, tables.PlanRequest.plan_id == tables.Plan.id)
        .where(
            tables.PlanRequest.request_id.in_(plan.requests),
            tables.Plan.id != plan_id,
            tables.Plan.state == "applied",
        )
        .limit(1)
    )


def _work(plan: Plan) -> dict[str, Any]:
    """What each task does; which of several equal segments a probe executes does not count."""
    return {
        task.id: task.work.runs
        if isinstance(task.work, Probe)
        else (task.work, task.depends_on, task.visits)
        for task in plan.tasks
    }

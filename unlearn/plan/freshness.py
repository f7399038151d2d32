"""Is a plan still the plan? What was reviewed is what runs, or nothing does."""

from typing import Any

from lineage.store import Store
from unlearn.errors import PlanError, StalePlanError
from unlearn.plan.model import Plan
from unlearn.plan.planner import draft, load_plan


def check_fresh(store: Store, plan_id: str) -> None:
    """Plan again where nothing was carried out yet, and refuse where that gives another plan.

    Raises:
        NotFoundError: there is no such plan.
        PlanError: it is applied or cancelled.
        StalePlanError: the graph changed; the difference is named.
    """
    with store.catalogue.read() as session:
        row, plan = load_plan(session, plan_id)
    if row.state in ("applied", "cancelled"):
        raise PlanError(f"plan {plan_id} is {row.state}", hint=f"see `expunge show {plan_id}`")
    if row.state != "ready":
        return
    changes = differences(plan, draft(store, plan.requests))
    if changes:
        raise StalePlanError(
            f"plan {plan_id} no longer fits the store: {'; '.join(changes)}",
            hint=f"plan again: expunge plan {' '.join(plan.requests)}",
            difference=changes,
        )


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


def _work(plan: Plan) -> dict[str, Any]:
    return {task.id: (task.work, task.depends_on, task.visits) for task in plan.tasks}

"""Giving a plan up, as long as it has destroyed nothing."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.store import Store
from storage.catalogue import tables
from storage.processes import is_alive
from unlearn.dispatch.journal import give_up
from unlearn.errors import PlanError
from unlearn.plan.stored import load_plan
from unlearn.request.interims import Settled, settle_interims


def cancel_plan(store: Store, plan_id: str) -> Settled:
    """Cancel a plan: its requests stay open, what it leased is free again.

    Returns the interim versions of cancelled plans that stay in use while requests wait, and what
    was published again in place of others.

    Raises:
        NotFoundError: there is no such plan.
        PlanError: it is applied, cancelled or being applied, or its purge has begun.
    """
    with store.catalogue.write() as session:
        row, _ = load_plan(session, plan_id)
        if row.state in ("applied", "cancelled"):
            raise PlanError(f"plan {plan_id} is {row.state}", hint=f"see `expunge show {plan_id}`")
        if row.owner is not None and is_alive(row.owner):
            raise PlanError(
                f"plan {plan_id} is being applied by process {row.owner}",
                hint="stop that process first",
            )
        if _purging(session, plan_id):
            raise PlanError(
                f"plan {plan_id} has begun to purge and can only be finished",
                hint=f"go on with it: expunge apply {plan_id}",
            )
        give_up(session, store, row)
        return settle_interims(session, store)


def _purging(session: Session, plan_id: str) -> bool:
    begun = select(tables.Task.id).where(
        tables.Task.plan_id == plan_id, tables.Task.kind == "purge", tables.Task.state != "pending"
    )
    return session.scalar(begun.limit(1)) is not None

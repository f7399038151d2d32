"""What stands against applying a plan by the store's policy, and letting it be applied anyway.

An objection never stops an erasure for good: somebody approves it with a reason, or more requests
come to share the work.
"""

from collections.abc import Iterator
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from unlearn.errors import ApprovalError
from unlearn.plan.model import Plan
from unlearn.policy import policy_of


def objections(store: Store, plan: Plan) -> tuple[str, ...]:
    """The sentences that whoever approves a plan should have read."""
    with store.catalogue.read() as session:
        return tuple(_objections(store, session, plan))


def require_approval(store: Store, plan_id: str, plan: Plan, reason: str | None) -> None:
    """Approve a plan for a ``reason``, where its policy asks for that; it is written down once.

    Raises:
        ApprovalError: there are objections, and no reason to apply it in spite of them.
    """
    against = objections(store, plan)
    if not against:
        return
    if not reason:
        raise ApprovalError(
            f"plan {plan_id} needs approval: {'; '.join(against)}",
            hint=f"expunge apply {plan_id} --approve REASON",
            objections=against,
        )
    with store.catalogue.write() as session:
        content = {"objections": list(against), "reason": reason}
        session.merge(tables.Approval(plan_id=plan_id, **content, created_at=store.clock()))
        ledger.commit(session, "approval", plan_id, content, store.clock())


def _objections(store: Store, session: Session, plan: Plan) -> Iterator[str]:
    policy, leavers = policy_of(session), _leavers(session, plan)
    if policy.approve_visits is not None and plan.visits > policy.approve_visits:
        yield f"it recomputes {plan.visits:,} visits, more than {policy.approve_visits:,}"
    if policy.subject_visits is not None and plan.visits > policy.subject_visits * leavers:
        yield (
            f"it recomputes {plan.visits // max(leavers, 1):,} visits for each who is forgotten, "
            f"more than {policy.subject_visits:,}: others may come to share them"
        )
    if policy.period_visits is not None:
        spent = _spent(session, policy.period_begin(store.clock()))
        if spent + plan.visits > policy.period_visits:
            yield (
                f"with it {spent + plan.visits:,} visits were recomputed in {policy.period_days} "
                f"days, more than {policy.period_visits:,}"
            )
    if leavers < policy.fewest_leavers and _published(session, plan):
        yield (
            f"only {leavers} are forgotten in a version that others were given, fewer than "
            f"{policy.fewest_leavers}: who has both versions may tell who left"
        )


def _leavers(session: Session, plan: Plan) -> int:
    """The people or records that the plan's requests are about."""
    targets = select(tables.RequestTarget.request_id)
    return sum(each in set(plan.requests) for each in session.scalars(targets))


def _spent(session: Session, since: datetime) -> int:
    """Visits of the plans that were applied since a time."""
    applied = select(tables.Plan.body).where(tables.Plan.applied_at >= since)
    return sum(body["visits"] for body in session.scalars(applied))


def _published(session: Session, plan: Plan) -> bool:
    """Whether somebody was given a version that the plan replaces, and has it still."""
    replaced = [task.work.version_id for task in plan.tasks if task.work.kind == "aggregate"]
    given = select(func.count()).where(
        tables.Publication.version_id.in_(replaced), tables.Publication.withdrawn_at.is_(None)
    )
    return bool(session.scalar(given))

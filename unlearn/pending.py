"""What is pending, and what of it to start now: the policy of a store, asked about its requests."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.store import Store
from storage.catalogue import tables
from unlearn.errors import StalePlanError
from unlearn.plan.coalescing import (
    AtOnce,
    Decision,
    LatestStart,
    MaximumBatch,
    Pending,
    Rule,
    due,
    needs,
)
from unlearn.plan.freshness import check_fresh
from unlearn.plan.model import Plan
from unlearn.plan.planner import draft, make_plan
from unlearn.policy import EARLIEST, Policy, policy_of

MANY = 100
"""With more pending requests than these, all start when one is due: each would be planned alone."""

NEVER = datetime.max.replace(tzinfo=UTC)
"""When a request is due that has no deadline."""


@dataclass(frozen=True, slots=True)
class Due:
    """What to start now, why, and when to look again if no request comes; see `Decision`.

    ``unfinished`` is a plan that was begun and not ended: it goes first.
    """

    pending: int
    start: tuple[str, ...]
    at: datetime | None
    why: str
    unfinished: str | None = None


def decide(store: Store) -> Due:
    """Which of the open requests to start by the store's policy; nothing is written."""
    with store.catalogue.read() as session:
        policy, requests = policy_of(session), _pending(session)
        begun = select(tables.Plan.id).where(tables.Plan.state.in_(["failed", "applying"]))
        unfinished = session.scalar(begun.order_by(tables.Plan.created_at).limit(1))
    if unfinished is not None:
        return Due(len(requests), (), None, f"{unfinished} was begun and not ended", unfinished)
    if not requests:
        return Due(0, (), None, "nothing is pending")
    rule, now = _rule(policy), store.clock()
    if isinstance(rule, AtOnce) or len(requests) >= (policy.max_batch or len(requests) + 1):
        return _told(requests, due(_alike(requests), now.timestamp(), rule))
    names = [request.id for request in requests]
    together = draft(store, names)
    if not together.visits:
        return Due(len(names), tuple(names), None, "nothing is replayed: waiting saves nothing")
    if together.latest_start is None:
        return Due(len(names), (), None, "no pending request has a deadline")
    if now < together.latest_start:
        return Due(len(names), (), together.latest_start, "everything pending can wait")
    if len(names) > MANY:
        return Due(len(names), tuple(names), None, f"one of {len(names)} can wait no longer")
    each = [_alone(store, request, policy) for request in requests]
    return _told(requests, due(each, now.timestamp(), rule, policy.workers))


def plan_for(store: Store, requests: Sequence[str]) -> str:
    """A plan for exactly these requests: one that is ready and still fits, or a new one."""
    with store.catalogue.read() as session:
        ready = select(tables.Plan).where(tables.Plan.state == "ready")
        made = [
            row.id
            for row in session.scalars(ready)
            if set(Plan.model_validate(row.body).requests) == set(requests)
        ]
    for plan_id in reversed(made):
        try:
            check_fresh(store, plan_id)
        except StalePlanError:
            continue
        return plan_id
    return make_plan(store, requests)[0]


def _pending(session: Session) -> list[tables.Request]:
    found = select(tables.Request).where(tables.Request.state == "open")
    return list(session.scalars(found.order_by(tables.Request.received_at)))


def _rule(policy: Policy) -> Rule:
    if policy.start == "at-once":
        return AtOnce()
    if policy.max_batch is not None:
        return MaximumBatch(policy.max_batch, policy.safety)
    return LatestStart(policy.safety)


def _alike(requests: Sequence[tables.Request]) -> list[Pending]:
    """Requests as a rule sees them that does not ask what they cost."""
    return [
        Pending(each.id, each.received_at.timestamp(), (each.due_at or NEVER).timestamp(), {})
        for each in requests
    ]


def _alone(store: Store, request: tables.Request, policy: Policy) -> Pending:
    """A request with what it would cost by itself, run by run."""
    chains = needs(draft(store, [request.id]))
    last = NEVER
    if request.due_at is not None:
        last = policy.latest_start(request.due_at, 0)
    return Pending(request.id, request.received_at.timestamp(), last.timestamp(), chains)


def _told(requests: Sequence[tables.Request], decision: Decision) -> Due:
    at = None
    if decision.at is not None and decision.at < NEVER.timestamp():
        at = datetime.fromtimestamp(max(decision.at, EARLIEST.timestamp()), UTC)
    return Due(len(requests), decision.start, at, decision.why)

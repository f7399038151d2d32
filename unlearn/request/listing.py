"""What the store knows of requests, plans, tasks and verifications, as answers.

They name requests and positions counted; never a person.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.store import Store
from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.manifests import load_bitmap
from unlearn.request.under_way import doing, state_of


class Answer(BaseModel):
    """A frozen answer; made field by field, or of the attributes of a row."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class RequestSummary(Answer):
    """A request to forget ``targets`` subjects or records, which have ``records`` rows."""

    id: str
    state: str
    kind: str
    targets: int
    records: int
    received_at: datetime
    due_at: datetime | None
    closed_at: datetime | None


class PlanSummary(Answer):
    """A plan: its visits beside those of a full retrain, and what is ``running`` of it now."""

    id: str
    state: str
    requests: tuple[str, ...]
    visits: int
    full_retrain_visits: int
    created_at: datetime
    applied_at: datetime | None
    running: tuple[str, ...]


class RequestDetail(RequestSummary):
    """A request with where its rows are (dataset → rows) and the plans that serve it."""

    scopes: tuple[str, ...]
    datasets: Mapping[str, int]
    plans: tuple[PlanSummary, ...]


class TaskDetail(Answer):
    """One unit of a plan's work, expected and as carried out; ``doing`` says what runs now."""

    id: str
    kind: str
    state: str
    doing: str | None
    visits: int
    seconds: float
    reason: str
    depends_on: tuple[str, ...]
    result: Mapping[str, Any]
    started_at: datetime | None
    ended_at: datetime | None


class VerificationDetail(Answer):
    """What a check of a plan's outcome found."""

    id: str
    plan: str
    claim: str
    verdict: str
    evidence: Mapping[str, Any]
    created_at: datetime


class PlanDetail(PlanSummary):
    """A plan with its tasks and what was found about its outcome."""

    digest: str
    graph_revision: int
    records: int
    claim_possible: str
    notes: tuple[str, ...]
    owner: str | None
    tasks: tuple[TaskDetail, ...]
    verifications: tuple[VerificationDetail, ...]


class FenceDetail(Answer):
    """A fence: what kind of id it bars, and for which request."""

    id: str
    kind: str
    scope: str
    request: str
    created_at: datetime
    lifted_at: datetime | None


KINDS = frozenset({"req", "plan", "check", "fence"})
"""What an id of these begins with, before the dash; a task is ``PLAN/TASK``."""


def requests(store: Store) -> tuple[RequestSummary, ...]:
    """Every request, oldest first."""
    with store.catalogue.read() as session:
        rows = session.scalars(select(tables.Request).order_by(tables.Request.received_at)).all()
        return tuple(RequestSummary(**_request(session, row)) for row in rows)


def summaries(store: Store, request_ids: Sequence[str]) -> tuple[RequestSummary, ...]:
    """Some requests, in the order given."""
    with store.catalogue.read() as session:
        rows = (session.get_one(tables.Request, each) for each in request_ids)
        return tuple(RequestSummary(**_request(session, row)) for row in rows)


def plans(store: Store) -> tuple[PlanSummary, ...]:
    """Every plan, oldest first."""
    with store.catalogue.read() as session:
        rows = session.scalars(select(tables.Plan).order_by(tables.Plan.created_at)).all()
        return tuple(PlanSummary(**_plan(session, row)) for row in rows)


def request(store: Store, request_id: str) -> RequestDetail:
    """A request by id.

    Raises:
        NotFoundError: there is none.
    """
    with store.catalogue.read() as session:
        row = session.get(tables.Request, request_id)
        if row is None:
            raise NotFoundError(
                f"there is no request {request_id}", hint="see `expunge request list`"
            )
        scopes = select(tables.RequestTarget.scope).where(
            tables.RequestTarget.request_id == request_id
        )
        serving = (
            select(tables.Plan)
            .join(tables.PlanRequest, tables.PlanRequest.plan_id == tables.Plan.id)
            .where(tables.PlanRequest.request_id == request_id)
            .order_by(tables.Plan.created_at)
        )
        return RequestDetail(
            **_request(session, row),
            scopes=tuple(sorted(set(session.scalars(scopes)))),
            datasets=_rows_by_dataset(session, request_id),
            plans=tuple(
                PlanSummary(**_plan(session, each)) for each in session.scalars(serving).all()
            ),
        )


def plan(store: Store, plan_id: str) -> PlanDetail:
    """A plan by id.

    Raises:
        NotFoundError: there is none.
    """
    with store.catalogue.read() as session:
        row = session.get(tables.Plan, plan_id)
        if row is None:
            raise NotFoundError(f"there is no plan {plan_id}", hint="see `expunge status`")
        checks = select(tables.Verification).where(tables.Verification.plan_id == plan_id)
        return PlanDetail(
            **_plan(session, row),
            digest=row.digest,
            graph_revision=row.graph_revision,
            records=row.body["records"],
            claim_possible=row.body["claim_possible"],
            notes=row.body["notes"],
            owner=row.owner,
            tasks=tuple(_task(session, row, each) for each in row.body["tasks"]),
            verifications=tuple(
                _verification(each)
                for each in session.scalars(checks.order_by(tables.Verification.created_at))
            ),
        )


def thing(store: Store, identifier: str) -> Answer:
    """The request, plan, task, verification or fence that has this id.

    Raises:
        NotFoundError: nothing has it.
    """
    kind = identifier.partition("-")[0]
    if kind == "req":
        return request(store, identifier)
    if kind == "plan":
        plan_id, _, task_id = identifier.partition("/")
        found = plan(store, plan_id)
        tasks = {task.id: task for task in found.tasks}
        if task_id and task_id not in tasks:
            raise NotFoundError(
                f"plan {plan_id} has no task {task_id}", hint=f"see `expunge show {plan_id}`"
            )
        return tasks[task_id] if task_id else found
    with store.catalogue.read() as session:
        if (check := session.get(tables.Verification, identifier)) is not None:
            return _verification(check)
        if (fence := session.get(tables.Suppression, identifier)) is not None:
            return FenceDetail(
                id=fence.id,
                kind=fence.kind,
                scope=fence.scope,
                request=fence.request_id,
                created_at=fence.created_at,
                lifted_at=fence.lifted_at,
            )
    raise NotFoundError(f"nothing here has the id {identifier}", hint="see `expunge status`")


def _request(session: Session, row: tables.Request) -> dict[str, Any]:
    targets = select(tables.RequestTarget.kind).where(tables.RequestTarget.request_id == row.id)
    kinds = session.scalars(targets).all()
    return {
        "id": row.id,
        "state": row.state,
        "kind": kinds[0],
        "targets": len(kinds),
        "records": sum(_rows_by_dataset(session, row.id).values()),
        "received_at": row.received_at,
        "due_at": row.due_at,
        "closed_at": row.closed_at,
    }


def _rows_by_dataset(session: Session, request_id: str) -> dict[str, int]:
    sets = session.execute(
        select(tables.Dataset.name, tables.ForgetSet.positions)
        .join(tables.ForgetSet, tables.ForgetSet.dataset_id == tables.Dataset.id)
        .where(tables.ForgetSet.request_id == request_id)
    )
    return {name: len(load_bitmap(positions)) for name, positions in sets}


def _plan(session: Session, row: tables.Plan) -> dict[str, Any]:
    return {
        "id": row.id,
        "state": row.state,
        "requests": row.body["requests"],
        "visits": row.body["visits"],
        "full_retrain_visits": row.body["full_retrain_visits"],
        "created_at": row.created_at,
        "applied_at": row.applied_at,
        "running": tuple(_running(session, row)),
    }


def _running(session: Session, row: tables.Plan) -> Iterator[str]:
    if row.owner is None:
        return
    works = {task["id"]: task["work"] for task in row.body["tasks"]}
    begun = select(tables.Task).where(tables.Task.plan_id == row.id, tables.Task.state == "running")
    for task in session.scalars(begun.order_by(tables.Task.ordinal)):
        said = doing(row, task, works[task.id.rpartition("/")[2]])
        if said is not None:
            yield said


def _task(session: Session, row: tables.Plan, task: dict[str, Any]) -> TaskDetail:
    """A task as planned, with what was done of it; before the first ``apply`` that is nothing."""
    done = session.get(tables.Task, f"{row.id}/{task['id']}")
    return TaskDetail(
        id=task["id"],
        kind=task["work"]["kind"],
        state=state_of(row, done) if done else "pending",
        doing=doing(row, done, task["work"]) if done else None,
        visits=task["visits"],
        seconds=task["seconds"],
        reason=task["reason"],
        depends_on=task["depends_on"],
        result=done.result if done else {},
        started_at=done.started_at if done else None,
        ended_at=done.ended_at if done else None,
    )


def _verification(row: tables.Verification) -> VerificationDetail:
    return VerificationDetail(
        id=row.id,
        plan=row.plan_id,
        claim=row.claim,
        verdict=row.verdict,
        evidence=row.evidence,
        created_at=row.created_at,
    )

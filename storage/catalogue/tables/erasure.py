"""Requests to forget, the plans that serve them, their tasks, and the ledger of commitments."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from storage.catalogue.tables.base import Base


class Request(Base):
    """What was asked, by pseudonym; the positions it means are in its forget sets.

    ``due_at`` is the last moment at which it must be done, None where nothing sets one.
    """

    __tablename__ = "requests"

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    identity: Mapped[str] = mapped_column(index=True)
    received_at: Mapped[datetime]
    due_at: Mapped[datetime | None]
    closed_at: Mapped[datetime | None]


class RequestTarget(Base):
    """One subject or record of a request, under a pseudonym."""

    __tablename__ = "request_targets"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    pseudonym: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    scope: Mapped[str]


class ForgetSet(Base):
    """The positions of a dataset that a request names (a Roaring bitmap)."""

    __tablename__ = "forget_sets"

    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)
    dataset_id: Mapped[str] = mapped_column(ForeignKey("datasets.id"), primary_key=True)
    positions: Mapped[bytes]


class Plan(Base):
    """A reviewed piece of work; ``fence`` rises with each owner, so a stale owner cannot write."""

    __tablename__ = "plans"

    id: Mapped[str] = mapped_column(primary_key=True)
    state: Mapped[str]
    graph_revision: Mapped[int]
    body: Mapped[dict[str, Any]]
    digest: Mapped[str]
    fence: Mapped[int]
    owner: Mapped[str | None]
    lease_until: Mapped[datetime | None]
    created_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]


class PlanRequest(Base):
    """A plan serves a request."""

    __tablename__ = "plan_requests"

    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), primary_key=True)
    request_id: Mapped[str] = mapped_column(ForeignKey("requests.id"), primary_key=True)


class Task(Base):
    """One unit of a plan's work, claimed conditionally and written under the plan's fence."""

    __tablename__ = "tasks"

    id: Mapped[str] = mapped_column(primary_key=True)
    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), index=True)
    ordinal: Mapped[int]
    kind: Mapped[str]
    state: Mapped[str]
    fence: Mapped[int]
    result: Mapped[dict[str, Any]]
    started_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class Approval(Base):
    """Somebody let a plan be applied in spite of what stood against it, and why."""

    __tablename__ = "approvals"

    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), primary_key=True)
    objections: Mapped[list[str]]
    reason: Mapped[str]
    created_at: Mapped[datetime]


class Policy(Base):
    """How this store forgets; the newest row counts."""

    __tablename__ = "policies"

    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    body: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Lease(Base):
    """A ready plan needs this checkpoint: nothing else may evict it."""

    __tablename__ = "leases"

    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), primary_key=True)
    checkpoint_id: Mapped[str] = mapped_column(ForeignKey("checkpoints.id"), primary_key=True)


class Verification(Base):
    """What a check of a plan's outcome found: a claim, a verdict and the evidence for them."""

    __tablename__ = "verifications"

    id: Mapped[str] = mapped_column(primary_key=True)
    plan_id: Mapped[str] = mapped_column(ForeignKey("plans.id"), index=True)
    claim: Mapped[str]
    verdict: Mapped[str]
    evidence: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class Commitment(Base):
    """An entry of the ledger, written in the transaction of the row it commits to."""

    __tablename__ = "commitments"

    sequence: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    kind: Mapped[str]
    row_id: Mapped[str]
    digest: Mapped[str]
    created_at: Mapped[datetime]

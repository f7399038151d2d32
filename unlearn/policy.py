"""How a store forgets: when plans start, how many workers there are, what needs approval.

A policy is kept in the store and changed as a whole; the newest counts, and every one is committed
to the ledger.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.names import near
from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from storage.errors import InvalidInputError

Visits = Annotated[int, Field(ge=0)]

HIGHEST = {"safety": 1_000_000, "margin_hours": 876_000, "period_days": 36_500}
"""The most that a setting can be given. Stores of before may have more, and still plan."""

EARLIEST = datetime.min.replace(tzinfo=UTC)
"""When work should have begun that has no time left at all."""


class Policy(BaseModel):
    """The settings, each with its default; None sets no bound.

    ``start`` says when `tick` begins what is pending: ``at-once``, or the ``latest`` time that
    still meets every deadline, when a plan is expected to take ``safety`` times its measured
    duration and ``margin_hours`` more. ``max_batch`` pending requests start at once in any case.

    A plan needs approval that recomputes more than ``approve_visits``, more than
    ``subject_visits`` for each person or record to forget (Marchant et al. 2022, arXiv 2109.08266:
    cheap requests can force dear retraining), or more than is left of ``period_visits`` in
    ``period_days``; or that replaces a version which others were given with less than
    ``fewest_leavers`` gone (Chen et al. 2021, arXiv 2005.02205: a pair of models reveals who left).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    start: Literal["at-once", "latest"] = "latest"
    workers: int = Field(default=1, ge=1)
    safety: float = Field(default=2.0, ge=1, allow_inf_nan=False)
    margin_hours: float = Field(default=24.0, ge=0, allow_inf_nan=False)
    max_batch: int | None = Field(default=None, ge=1)
    approve_visits: Visits | None = None
    subject_visits: Visits | None = None
    period_visits: Visits | None = None
    period_days: int = Field(default=30, ge=1)
    fewest_leavers: int = Field(default=1, ge=1)

    def latest_start(self, deadline: datetime, seconds: float) -> datetime:
        """When work that is expected to take so many seconds must begin, not before `EARLIEST`."""
        try:
            reserved = timedelta(seconds=self.safety * seconds, hours=self.margin_hours)
            return deadline - reserved
        except OverflowError:
            return EARLIEST

    def period_begin(self, now: datetime) -> datetime:
        """When the period of ``period_days`` began that ends now."""
        try:
            return now - timedelta(days=self.period_days)
        except OverflowError:
            return EARLIEST


def policy_of(session: Session) -> Policy:
    """The policy that counts now."""
    row = session.scalar(select(tables.Policy).order_by(tables.Policy.number.desc()).limit(1))
    return Policy() if row is None else Policy.model_validate(row.body)


def change_policy(store: Store, settings: Mapping[str, Any]) -> Policy:
    """Change some settings, by name; a setting of None goes back to its default.

    Raises:
        InvalidInputError: there is no such setting, or it cannot have that value.
    """
    with store.catalogue.write() as session:
        changed = {**policy_of(session).model_dump(), **settings}
        kept = {name: value for name, value in changed.items() if value is not None}
        try:
            policy = Policy.model_validate(kept)
        except ValidationError as error:
            raise _refused(error) from error
        _require_bounded(policy, settings)
        body = policy.model_dump(mode="json")
        row = tables.Policy(body=body, created_at=store.clock())
        session.add(row)
        session.flush()
        ledger.commit(session, "policy", str(row.number), body, store.clock())
    return policy


def _require_bounded(policy: Policy, settings: Mapping[str, Any]) -> None:
    for name in settings.keys() & HIGHEST.keys():
        if getattr(policy, name) > HIGHEST[name]:
            raise _impossible(name, f"{HIGHEST[name]:,} or less", settings[name])


def _refused(error: ValidationError) -> InvalidInputError:
    """Say in a sentence which setting there is not, or what value it must have."""
    fault = error.errors()[0]
    name = ".".join(map(str, fault["loc"]))
    if fault["type"] == "extra_forbidden":
        return InvalidInputError(
            f"there is no setting {name!r}", hint=near(name, Policy.model_fields, "policy show")
        )
    return _impossible(name, _wanted(fault), fault["input"])


def _impossible(name: str, wanted: str, given: object) -> InvalidInputError:
    return InvalidInputError(
        f"{name} must be {wanted}, and not {given!r}",
        hint=f"SETTING= goes back to the default: expunge policy set {name}=",
    )


def _wanted(fault: ErrorDetails) -> str:
    match fault["type"]:
        case "literal_error":
            return str(fault["ctx"]["expected"])
        case "greater_than_equal":
            return f"{fault['ctx']['ge']} or more"
        case "finite_number":
            return "a finite number"
        case kind:
            return "a whole number" if kind.startswith("int") else "a number"

"""Twins that differ from what a plan made: they hold its claim until a later twin is equal."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.provenance.query import live_versions
from lineage.store import Store
from storage.catalogue import tables
from unlearn.claim import Evidence, Twin, Verdict, decide


class FailedTwin(BaseModel):
    """A ``version`` in use that ``plan`` made, whose twin was found to differ at a time."""

    model_config = ConfigDict(frozen=True)

    plan: str
    model: str
    version: str
    found_at: datetime


def failed_twins(session: Session, plan_id: str) -> dict[str, Twin]:
    """The twins of a plan that differ, by what its versions replace.

    A twin that could not be trained later overrules none of them; one that is equal does.
    """
    return {name: twin for name, (twin, _) in _failed(session, plan_id).items()}


def with_failed(twins: Sequence[Twin], failed: Mapping[str, Twin]) -> list[Twin]:
    """Twins, and those that failed before where none was trained now."""
    trained = {twin.version: twin for twin in twins if twin.twin_digest is not None}
    return list(({twin.version: twin for twin in twins} | dict(failed) | trained).values())


def checked_again(store: Store, plan_id: str, check: Mapping[str, Any]) -> dict[str, Any]:
    """What the check of an applied plan found, and what twins have contradicted since."""
    with store.catalogue.read() as session:
        failed = failed_twins(session, plan_id)
    if not failed:
        return dict(check)
    before = [Twin.model_validate(each) for each in check["twins"]]
    # A twin of the check was trained before those that failed: here the later ones count.
    twins = list(({twin.version: twin for twin in before} | failed).values())
    statement, verdict = decide(Evidence.model_validate(check["evidence"]), twins)
    return {
        **check,
        "claim": statement.model_dump(mode="json"),
        "verdict": verdict.value,
        "twins": [twin.model_dump(mode="json") for twin in twins],
    }


def failed_in_use(session: Session) -> tuple[FailedTwin, ...]:
    """The versions in use whose twin differs, oldest plan first."""
    live, version = live_versions(session), tables.ModelVersion
    checked = select(tables.Plan).where(
        tables.Plan.id.in_(
            select(tables.Verification.plan_id).where(
                tables.Verification.verdict == Verdict.FAILED.value
            )
        )
    )
    found = []
    for plan in session.scalars(checked.order_by(tables.Plan.created_at)).all():
        failed = _failed(session, plan.id)
        made = select(version, tables.Model.name).join(
            tables.Model, tables.Model.id == version.model_id
        )
        made = made.where(version.plan_id == plan.id, version.replaces_id.in_(failed))
        found += [
            FailedTwin(
                plan=plan.id,
                model=model,
                version=each.id,
                found_at=failed[str(each.replaces_id)][1],
            )
            for each, model in session.execute(made.order_by(version.sequence))
            if each.id in live and not each.interim
        ]
    return tuple(found)


def _failed(session: Session, plan_id: str) -> dict[str, tuple[Twin, datetime]]:
    """The twins that differ, and when they were found to."""
    failed: dict[str, tuple[Twin, datetime]] = {}
    checks = select(tables.Verification).where(tables.Verification.plan_id == plan_id)
    for check in session.scalars(checks.order_by(tables.Verification.created_at)):
        for twin in map(Twin.model_validate, check.evidence["twins"]):
            if twin.equal:
                failed.pop(twin.version, None)
            elif twin.twin_digest is not None and check.verdict == Verdict.FAILED.value:
                failed.setdefault(twin.version, (twin, check.created_at))
    return failed

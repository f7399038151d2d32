"""Verifying a plan's outcome, at any later time, with nothing that was purged."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from lineage.errors import CheckpointError
from lineage.store import Store
from lineage.training import checkpoint as checkpoints
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from unlearn.claim import Evidence, Statement, Twin, Verdict, decide
from unlearn.dispatch import journal
from unlearn.errors import InconclusiveError
from unlearn.plan.stored import load_plan
from unlearn.tasks.check import gather, made_versions
from unlearn.twin.compare import compare


class Verified(BaseModel):
    """What a check of a plan found: a claim, a verdict and the evidence for them."""

    model_config = ConfigDict(frozen=True)

    id: str
    plan: str
    statement: Statement
    verdict: Verdict
    evidence: Evidence
    twins: tuple[Twin, ...]
    model_digest: str | None
    twin_digest: str | None


def verify_plan(store: Store, plan_id: str, *, twin: bool) -> Verified:
    """Gather the evidence for an applied plan again; ``twin`` trains the counterfactual.

    Raises:
        NotFoundError: there is no such plan.
        InconclusiveError: it was not applied to its end, or a later plan replaced its outcome.
        CorruptObjectError: a member of a version it made is damaged or gone.
    """
    with store.catalogue.read() as session:
        row, plan = load_plan(session, plan_id)
    if row.state != "applied":
        raise InconclusiveError(
            f"plan {plan_id} is {row.state}: there is no outcome to verify",
            hint=f"carry it out: expunge apply {plan_id}",
        )
    results = journal.results(store, plan_id)
    made = made_versions(results)
    for version in made:
        _read_members(store, version)
    twins = compare(store, plan, made) if twin and made else None
    evidence = gather(store, plan, results)
    statement, verdict = decide(evidence, twins)
    return _record(store, plan_id, statement, verdict, evidence, tuple(twins or ()), made)


def _read_members(store: Store, version: Mapping[str, Any]) -> None:
    """Read every member's bytes, by their digests: what is claimed about must be there."""
    for member in version["members"].values():
        try:
            checkpoints.load(store, member)
        except CheckpointError as error:
            raise InconclusiveError(
                f"{error.message}: a later plan replaced the version it belonged to",
                hint="verify that plan: it covers the models of today",
            ) from error


def _record(
    store: Store,
    plan_id: str,
    statement: Statement,
    verdict: Verdict,
    evidence: Evidence,
    twins: tuple[Twin, ...],
    made: list[dict[str, Any]],
) -> Verified:
    verified = Verified(
        id=new_id("check"),
        plan=plan_id,
        statement=statement,
        verdict=verdict,
        evidence=evidence,
        twins=twins,
        model_digest=made[-1]["digest"] if made else None,
        twin_digest=twins[-1].twin_digest if twins else None,
    )
    with store.catalogue.write() as session:
        session.add(
            tables.Verification(
                id=verified.id,
                plan_id=plan_id,
                claim=statement.claim.value,
                verdict=verdict.value,
                evidence=verified.model_dump(mode="json"),
                created_at=store.clock(),
            )
        )
        content = {"plan": plan_id, "claim": statement.claim, "verdict": verdict}
        ledger.commit(session, "verification", verified.id, content, store.clock())
    return verified

"""Verifying a plan's outcome, at any later time, with nothing that was purged."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.store import Store
from lineage.training import checkpoint as checkpoints
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from unlearn.claim import Claim, Evidence, Statement, Twin, Verdict, decide
from unlearn.dispatch import journal
from unlearn.errors import InconclusiveError
from unlearn.failed_twins import failed_twins, with_failed
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

    @property
    def claim(self) -> Claim:
        """The claim that was found."""
        return self.statement.claim


def verify_plan(store: Store, plan_id: str, *, twin: bool) -> Verified:
    """Gather the evidence for an applied plan again; ``twin`` trains the counterfactual.

    A twin that differed counts until a later one is equal, also where none is trained now.
    Where a later plan has replaced the outcome, what was proved for it stands as a record: the
    strongest claim that was found, or the newest failure that no equal twin came after, with its
    date.

    Raises:
        NotFoundError: there is no such plan.
        InconclusiveError: it was not applied to its end.
        CorruptObjectError: a member of a version it made is damaged or gone.
    """
    with store.catalogue.read() as session:
        row, plan = load_plan(session, plan_id)
        replaced = _replaced_by(session, plan_id)
        failed = failed_twins(session, plan_id)
    if row.state != "applied":
        raise InconclusiveError(
            f"plan {plan_id} is {row.state}: there is no outcome to verify",
            hint=f"carry it out: expunge apply {plan_id}",
        )
    results = journal.results(store, plan_id)
    made = made_versions(results)
    if replaced is not None:
        return _on_record(store, row, results, replaced)
    for version in made:
        for member in version["members"].values():
            checkpoints.load(store, member)
    twins = with_failed(compare(store, plan, made) if twin and made else [], failed)
    evidence = gather(store, plan, results)
    statement, verdict = decide(evidence, twins)
    return _record(store, plan_id, statement, verdict, evidence, tuple(twins), made)


def _replaced_by(session: Session, plan_id: str) -> str | None:
    """What came in place of the first version that a plan made and that is purged; None: none is.

    An interim version gives way to the version that it stood in for.
    """
    version = tables.ModelVersion
    purged = session.scalar(
        select(version)
        .where(
            version.plan_id == plan_id, version.interim.is_(False), version.purged_at.is_not(None)
        )
        .order_by(version.sequence)
        .limit(1)
    )
    if purged is None:
        return None
    newer = _newer(session, purged)
    while newer is not None and newer.plan_id is None:  # the same, published again
        newer = _newer(session, newer)
    return "nothing" if newer is None else f"{newer.id} of {newer.plan_id}"


def _newer(session: Session, replaced: tables.ModelVersion) -> tables.ModelVersion | None:
    """The newest version that came in place of another and does not only stand in for it."""
    version = tables.ModelVersion
    newer = select(version).where(version.replaces_id == replaced.id, version.interim.is_(False))
    return session.scalars(newer.order_by(version.sequence.desc())).first()


def _on_record(
    store: Store, row: tables.Plan, results: dict[str, dict[str, Any]], replaced: str
) -> Verified:
    """What was proved for a plan whose outcome is no more: when, and what replaced it."""
    check = results["check"]
    found = [(row.applied_at, _checked(row.id, check, made_versions(results)))]
    with store.catalogue.read() as session:
        known = select(tables.Verification).where(tables.Verification.plan_id == row.id)
        found += [
            (each.created_at, Verified.model_validate(each.evidence))
            for each in session.scalars(known.order_by(tables.Verification.created_at))
        ]
    equal = [n for n, (_, each) in enumerate(found) if _is_equal(each)]
    since = found[equal[-1] :] if equal else found
    failed = [each for each in since if each[1].verdict is Verdict.FAILED]
    ranks = [*Claim]
    proved, best = failed[-1] if failed else min(found, key=lambda f: ranks.index(f[1].claim))
    reason = f"proved on {proved:%Y-%m-%d}, replaced by {replaced}: {best.statement.reason}"
    return best.model_copy(
        update={"statement": best.statement.model_copy(update={"reason": reason})}
    )


def _is_equal(found: Verified) -> bool:
    """Return True if twins were trained and every one is equal."""
    return found.verdict is Verdict.PASSED and bool(found.twins)


def _checked(plan_id: str, check: Mapping[str, Any], made: Sequence[Mapping[str, Any]]) -> Verified:
    """What the plan's own check found."""
    twins = tuple(Twin.model_validate(each) for each in check["twins"])
    return Verified(
        id=plan_id,
        plan=plan_id,
        statement=Statement.model_validate(check["claim"]),
        verdict=Verdict(check["verdict"]),
        evidence=Evidence.model_validate(check["evidence"]),
        twins=twins,
        model_digest=made[-1]["digest"] if made else None,
        twin_digest=twins[-1].twin_digest if twins else None,
    )


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
    found = verified.model_dump(mode="json")
    with store.catalogue.write() as session:
        session.add(
            tables.Verification(
                id=verified.id,
                plan_id=plan_id,
                claim=statement.claim.value,
                verdict=verdict.value,
                evidence=found,
                created_at=store.clock(),
            )
        )
        content = {"plan": plan_id, "claim": statement.claim, "verdict": verdict, "evidence": found}
        ledger.commit(session, "verification", verified.id, content, store.clock())
    return verified

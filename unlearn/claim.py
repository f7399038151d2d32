"""The ladder of claims: what may be said of a removal, never more than its evidence bears.

Parameters alone cannot prove forgetting (Thudi et al. 2021, arXiv 2110.11891); only the procedure
can be checked. So every claim here is about what was executed on which rows.
"""

from collections.abc import Sequence
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from lineage.training.untracked import sentence

LIMIT = (
    "Model parameters cannot show that something was forgotten; this claim is about the procedure: "
    "which records each step was executed on."
)


class Claim(StrEnum):
    """What can be said, strongest first."""

    REPLAY_VERIFIED = "replay-verified"
    EXACT_REPRODUCIBLE = "exact-reproducible"
    EXACT_BY_PROVENANCE = "exact-by-provenance"
    NONE = "none"


class Verdict(StrEnum):
    """How the checks behind a claim came out."""

    PASSED = "passed"
    FAILED = "failed"
    INCONCLUSIVE = "inconclusive"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Evidence(_Frozen):
    """What was found about a plan's outcome.

    ``tainted`` are members or restarts of the new versions that still descend from the forgotten;
    ``programs`` gives the program of each replay, ``probes`` whether bits were reproduced that
    speak for it; ``environments`` name what differs between the original execution and the replays;
    ``changed`` the source files that are not as recorded; ``drawn`` the replays that followed an
    order which was drawn when the forgotten records were still there, and ``idle`` those that were
    given no record at all. ``adaptive`` requests came after a model was published. ``external``
    runs were trained by their owner's command; ``incomplete`` ones were given records that no
    dataset holds. ``chosen`` are the choices that the forgotten may have steered, and ``steered``
    the versions in use that go on after a measure on them, which may have set a rate or ended a
    loop. ``untracked`` is what the replayed programs keep between steps and do not track.
    """

    tainted: tuple[str, ...]
    restarts: dict[str, str | None]
    programs: dict[str, str]
    probes: dict[str, bool]
    environments: tuple[str, ...]
    changed: tuple[str, ...]
    held: tuple[str, ...]
    nominal: dict[str, tuple[int, ...]]
    drawn: tuple[str, ...] = ()
    idle: tuple[str, ...] = ()
    adaptive: tuple[str, ...] = ()
    external: tuple[str, ...] = ()
    incomplete: tuple[str, ...] = ()
    chosen: tuple[str, ...] = ()
    steered: tuple[str, ...] = ()
    untracked: tuple[str, ...] = ()


class Twin(_Frozen):
    """A model version beside its from-scratch twin; without a twin digest, ``why`` not."""

    version: str
    model_digest: str
    twin_digest: str | None
    members: tuple[str, ...] = ()
    twin_members: tuple[str, ...] = ()
    why: str = ""

    @property
    def equal(self) -> bool:
        """Whether every byte of weights and optimizer state is the same."""
        return self.twin_digest == self.model_digest


class Statement(_Frozen):
    """A claim, why it is no stronger, and what it rests on."""

    claim: Claim
    reason: str
    caveats: tuple[str, ...]
    limit: str = LIMIT


def decide(evidence: Evidence, twins: Sequence[Twin] | None) -> tuple[Statement, Verdict]:
    """The strongest claim that the evidence bears, and the verdict beside it.

    Where a check failed, or who saw what cannot be told, nothing is claimed.
    """
    caveats = _caveats(evidence)
    fault = _fault(evidence, twins or ())
    if fault:
        return _say(Claim.NONE, fault, caveats), Verdict.FAILED
    if evidence.incomplete:
        unknown = f"{', '.join(evidence.incomplete)} was given records that no dataset holds"
        return _say(Claim.NONE, unknown, caveats), Verdict.INCONCLUSIVE
    claim, reason = _without_twin(evidence)
    swayed = [each.version for each in twins or () if each.version in evidence.steered]
    if differing := [each for each in _differing(twins or ()) if each in swayed]:
        reason = f"what replaces {', '.join(differing)} differs from its twin, and {reason}"
        return _say(Claim.EXACT_BY_PROVENANCE, reason, caveats), Verdict.INCONCLUSIVE
    missing = [twin for twin in twins or () if twin.twin_digest is None]
    if missing:
        return _say(claim, f"no twin: {missing[0].why}", caveats), Verdict.INCONCLUSIVE
    alone = set(evidence.steered) - {twin.version for twin in twins or ()}
    if twins and not evidence.held and not alone:
        claim = Claim.REPLAY_VERIFIED
        reason = "a model trained from scratch on the retained rows has equal digests"
    return _say(claim, reason, caveats), Verdict.PASSED


def _fault(evidence: Evidence, twins: Sequence[Twin]) -> str:
    """What contradicts that anything was removed exactly, or nothing."""
    if evidence.tainted:
        return f"{', '.join(evidence.tainted)} descend from the forgotten records"
    differing = [each for each in _differing(twins) if each not in evidence.steered]
    return f"what replaces {', '.join(differing)} differs from its twin" if differing else ""


def _differing(twins: Sequence[Twin]) -> list[str]:
    return [twin.version for twin in twins if twin.twin_digest and not twin.equal]


def _without_twin(evidence: Evidence) -> tuple[Claim, str]:
    continued = [run for run, restart in evidence.restarts.items() if restart is not None]
    if evidence.held:
        return Claim.EXACT_BY_PROVENANCE, f"{', '.join(evidence.held)} is kept under a hold"
    if evidence.external:
        owned = ", ".join(evidence.external)
        return Claim.EXACT_BY_PROVENANCE, f"only the owner of {owned} can train it again"
    if evidence.steered:
        measured = ", ".join(evidence.steered)
        return (
            Claim.EXACT_BY_PROVENANCE,
            f"{measured} may have been steered by what was measured on the forgotten records",
        )
    if evidence.changed:
        return Claim.EXACT_BY_PROVENANCE, f"the program changed: {', '.join(evidence.changed)}"
    if evidence.untracked:
        return Claim.EXACT_BY_PROVENANCE, sentence(evidence.untracked)
    if not evidence.restarts:
        return Claim.EXACT_REPRODUCIBLE, "no model in use learned from the forgotten records"
    if not continued:
        return Claim.EXACT_REPRODUCIBLE, "every replay ran from scratch on the retained rows"
    if evidence.environments:
        different = "; ".join(evidence.environments)
        return Claim.EXACT_BY_PROVENANCE, f"replayed in another environment: {different}"
    if not evidence.probes.keys() >= set(continued):
        return Claim.EXACT_BY_PROVENANCE, "no recorded segment is left to probe bits with"
    if not all(evidence.probes[run] for run in continued):
        return Claim.EXACT_BY_PROVENANCE, "the probe shows that bits do not come out the same here"
    return Claim.EXACT_REPRODUCIBLE, "clean starts, filtered replays, and the probe passed"


def _caveats(evidence: Evidence) -> tuple[str, ...]:
    sizes = "; ".join(f"{run}: {', '.join(map(str, n))}" for run, n in evidence.nominal.items())
    caveats = {
        "nominal sizes frozen at the first train": sizes,
        "order_drawn_with_forgotten": ", ".join(evidence.drawn),
        "learned from no record": ", ".join(evidence.idle),
        "may depend on a model that was published": ", ".join(evidence.adaptive),
        "source that is not as recorded": ", ".join(evidence.changed),
        "choices that the forgotten may have steered": ", ".join(evidence.chosen),
    }
    return tuple(f"{what}: {which}" for what, which in caveats.items() if which)


def _say(claim: Claim, reason: str, caveats: tuple[str, ...]) -> Statement:
    return Statement(claim=claim, reason=reason, caveats=caveats)

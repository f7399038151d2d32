"""The ladder of claims: every rung, what costs it, and that nothing is claimed beyond evidence."""

from itertools import product
from typing import Any

import pytest

from unlearn.claim import LIMIT, Claim, Evidence, Twin, Verdict, decide

REPLAY_VERIFIED = Claim.REPLAY_VERIFIED
REPRODUCIBLE = Claim.EXACT_REPRODUCIBLE
PROVENANCE = Claim.EXACT_BY_PROVENANCE
NOTHING = Claim.NONE
PASSED, FAILED, INCONCLUSIVE = Verdict.PASSED, Verdict.FAILED, Verdict.INCONCLUSIVE

EQUAL = Twin(version="mv-1", model_digest="a", twin_digest="a")
OTHER = Twin(version="mv-2", model_digest="a", twin_digest="b")
NONE = Twin(version="mv-3", model_digest="a", twin_digest=None, why="the rows were erased")


def evidence(**found: Any) -> Evidence:
    """A replay from a checkpoint whose bits the probe reproduced, and what else was found."""
    clean: dict[str, Any] = {
        "tainted": (),
        "restarts": {"run-1": "ckpt-1"},
        "programs": {"run-1": "p"},
        "probes": {"run-1": True},
        "environments": (),
        "changed": (),
        "held": (),
        "nominal": {"run-1": (60, 40)},
    }
    return Evidence(**{**clean, **found})


@pytest.mark.parametrize(
    ("found", "twins", "claim", "verdict", "reason"),
    [
        ({}, None, REPRODUCIBLE, PASSED, "the probe passed"),
        ({"restarts": {"run-1": None}, "probes": {}}, None, REPRODUCIBLE, PASSED, "from scratch"),
        ({"restarts": {}, "probes": {}}, None, REPRODUCIBLE, PASSED, "no model in use"),
        ({"probes": {}}, None, PROVENANCE, PASSED, "no recorded segment"),
        ({"probes": {"run-2": True}}, None, PROVENANCE, PASSED, "no recorded segment"),
        ({"probes": {"run-1": False}}, None, PROVENANCE, PASSED, "do not come out the same"),
        ({"environments": ("threads was '1', is '2'",)}, None, PROVENANCE, PASSED, "is '2'"),
        ({"changed": ("train.py",)}, None, PROVENANCE, PASSED, "train.py"),
        ({"untracked": ("slow (ndarray)",)}, None, PROVENANCE, PASSED, "slow (ndarray)"),
        ({"untracked": ("slow (ndarray)",)}, [EQUAL], REPLAY_VERIFIED, PASSED, "equal digests"),
        ({"untracked": ("slow (ndarray)",)}, [OTHER], NOTHING, FAILED, "differs from its twin"),
        ({"held": ("ckpt-9",)}, None, PROVENANCE, PASSED, "ckpt-9 is kept under a hold"),
        (
            {"external": ("run-7",)},
            None,
            PROVENANCE,
            PASSED,
            "only the owner of run-7 can train it",
        ),
        ({"external": ("run-7",)}, [NONE], PROVENANCE, INCONCLUSIVE, "no twin: the rows were"),
        ({"external": ("run-7",)}, [OTHER], NOTHING, FAILED, "mv-2 differs from its twin"),
        (
            {"incomplete": ("run-8",)},
            None,
            NOTHING,
            INCONCLUSIVE,
            "run-8 was given records that no",
        ),
        ({"incomplete": ("run-8",)}, [EQUAL], NOTHING, INCONCLUSIVE, "run-8 was given records"),
        ({"incomplete": ("run-8",)}, [OTHER], NOTHING, FAILED, "mv-2 differs from its twin"),
        ({"drawn": ("run-1",)}, None, REPRODUCIBLE, PASSED, "the probe passed"),
        ({"drawn": ("run-1",)}, [EQUAL], REPLAY_VERIFIED, PASSED, "equal digests"),
        ({}, [EQUAL], REPLAY_VERIFIED, PASSED, "equal digests"),
        ({}, [EQUAL, EQUAL], REPLAY_VERIFIED, PASSED, "equal digests"),
        ({"probes": {}}, [EQUAL], REPLAY_VERIFIED, PASSED, "equal digests"),
        ({"probes": {"run-1": False}}, [EQUAL], REPLAY_VERIFIED, PASSED, "equal digests"),
        ({"environments": ("other",)}, [EQUAL], REPLAY_VERIFIED, PASSED, "equal digests"),
        ({"held": ("mv-9",)}, [EQUAL], PROVENANCE, PASSED, "mv-9 is kept under a hold"),
        ({}, [EQUAL, OTHER], NOTHING, FAILED, "mv-2 differs from its twin"),
        ({}, [EQUAL, NONE], REPRODUCIBLE, INCONCLUSIVE, "no twin: the rows were erased"),
        ({}, [NONE, OTHER], NOTHING, FAILED, "mv-2 differs from its twin"),
        # A twin that nobody trained proves nothing.
        ({}, [], REPRODUCIBLE, PASSED, "the probe passed"),
        ({"restarts": {}, "probes": {}}, [], REPRODUCIBLE, PASSED, "no model in use"),
        ({"tainted": ("ckpt-3",)}, None, NOTHING, FAILED, "ckpt-3 descend from the forgotten"),
        ({"tainted": ("ckpt-3",)}, [EQUAL], NOTHING, FAILED, "ckpt-3 descend"),
    ],
)
def test_a_claim_is_the_strongest_that_its_evidence_bears(
    found: dict[str, Any],
    twins: list[Twin] | None,
    claim: Claim,
    verdict: Verdict,
    reason: str,
) -> None:
    statement, decided = decide(evidence(**found), twins)
    assert (statement.claim, decided) == (claim, verdict)
    assert reason in statement.reason


def everything() -> list[tuple[Evidence, list[Twin] | None]]:
    """Every combination of what can be found, and of twins."""
    choices: dict[str, list[Any]] = {
        "tainted": [(), ("ckpt-3",)],
        "restarts": [{}, {"run-1": None}, {"run-1": "ckpt-1"}],
        "probes": [{}, {"run-1": True}, {"run-1": False}, {"run-2": True}],
        "environments": [(), ("other",)],
        "changed": [(), ("train.py",)],
        "held": [(), ("mv-9",)],
        "drawn": [(), ("run-1",)],
        "external": [(), ("run-7",)],
        "incomplete": [(), ("run-8",)],
    }
    twins: list[list[Twin] | None] = [None, [], [EQUAL], [OTHER], [NONE], [EQUAL, NONE]]
    return [
        (evidence(**dict(zip(choices, found, strict=True))), given)
        for *found, given in product(*choices.values(), twins)
    ]


def test_no_combination_of_findings_is_claimed_beyond_its_evidence() -> None:
    for found, twins in everything():
        statement, verdict = decide(found, twins)
        if verdict is PASSED:
            assert not found.tainted
            assert all(twin.equal for twin in twins or ())
        assert (statement.claim is NOTHING) == bool(verdict is FAILED or found.incomplete)
        if found.incomplete:
            assert verdict is not PASSED
        if statement.claim is REPLAY_VERIFIED:
            assert verdict is PASSED
            assert twins
            assert not found.held
        if statement.claim is REPRODUCIBLE:
            assert not found.held
            assert not found.external
            assert not found.changed
            continued = any(found.restarts.values())
            assert not continued or (found.probes.get("run-1") and not found.environments)


def test_changed_source_and_a_drawn_order_are_said_beside_every_claim() -> None:
    for found, twins in everything():
        statement, _ = decide(found, twins)
        said = " ".join((statement.reason, *statement.caveats))
        assert ("train.py" in said) == bool(found.changed)
        assert ("order_drawn_with_forgotten: run-1" in said) == bool(found.drawn)


def test_every_owner_and_every_incomplete_run_is_named() -> None:
    owned, _ = decide(evidence(external=("run-7", "run-9")), None)
    assert owned.reason == "only the owner of run-7, run-9 can train it again"
    unknown, _ = decide(evidence(incomplete=("run-8", "run-9")), None)
    assert unknown.reason == "run-8, run-9 was given records that no dataset holds"


def test_nominal_sizes_and_the_limit_of_any_such_claim_are_printed() -> None:
    statement, _ = decide(evidence(), None)
    assert statement.caveats == ("nominal sizes frozen at the first train: run-1: 60, 40",)
    assert statement.limit == LIMIT
    assert decide(evidence(nominal={}), None)[0].caveats == ()
    idle, _ = decide(evidence(nominal={}, idle=("run-1", "run-2")), None)
    assert idle.caveats == ("learned from no record: run-1, run-2",)


def test_twins_are_equal_only_where_there_is_one() -> None:
    assert EQUAL.equal
    assert not OTHER.equal
    assert not NONE.equal


def test_claims_are_ordered_strongest_first() -> None:
    assert list(Claim) == [REPLAY_VERIFIED, REPRODUCIBLE, PROVENANCE, NOTHING]
    assert [claim.value for claim in Claim] == [
        "replay-verified",
        "exact-reproducible",
        "exact-by-provenance",
        "none",
    ]

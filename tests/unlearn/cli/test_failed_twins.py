"""A twin that differs holds a plan's claim at none until a later twin is equal."""

from typing import Any

import pytest

from tests.unlearn.cli.conftest import Shell
from unlearn.audit import evidence
from unlearn.claim import Twin

OTHER, SAME = "0" * 64, ""
"""The digest that a twin has; ``SAME``: that of the model."""


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let twins have this digest from now on; None: none can be trained."""

    def gives(digest: str | None) -> None:
        def compared(_store: Any, _plan: Any, made: Any) -> list[Twin]:
            return [
                Twin(
                    version=each["replaces"],
                    model_digest=each["digest"],
                    twin_digest=each["digest"] if digest == SAME else digest,
                    why="the rows are gone" if digest is None else "",
                )
                for each in made
            ]

        monkeypatch.setattr(evidence, "compare", compared)

    return gives


@pytest.fixture
def doubted(trained: Shell, planned: str, twin: Any) -> str:
    """A plan that was applied, and whose twin differed then; its id."""
    trained("apply", planned, "--on", "debug")
    assert trained.ask("status")["failed"] == []
    twin(OTHER)
    trained("verify", planned, "--twin", status=4)
    return planned


def test_a_plan_whose_twin_differs_claims_nothing_in_any_answer(
    trained: Shell, doubted: str
) -> None:
    again = trained.ask("verify", doubted, status=4)
    (made,) = trained.ask("apply", doubted, status=4)["versions"]
    assert made["twin_digest"] == OTHER
    for found in (again, trained.ask("apply", doubted, status=4)):
        assert (found["claim"], found["verdict"]) == ("none", "failed")
        assert found["reason"] == f"what replaces {made['replaces']} differs from its twin"
    status = trained("status", "--json")
    (failed,) = status.json["failed"]
    assert (failed["plan"], failed["version"]) == (doubted, made["id"])
    assert f"{made['id']} of speech differs from its twin" in status.err
    later = trained.ask("request", "add", "--subject", "p4")["id"]
    note = f"{made['id']} differs from its twin: nothing is claimed for {doubted}, which made it"
    assert trained.ask("plan", later)["notes"].count(note) == 1


def test_a_twin_that_cannot_be_trained_overrules_none_and_an_equal_one_does(
    trained: Shell, doubted: str, twin: Any
) -> None:
    twin(None)
    assert trained.ask("verify", doubted, "--twin", status=4)["claim"] == "none"
    twin(SAME)
    assert trained.ask("verify", doubted, "--twin")["claim"] == "replay-verified"
    assert trained.ask("verify", doubted)["verdict"] == "passed"
    assert trained.ask("apply", doubted)["verdict"] == "passed"
    assert trained.ask("status")["failed"] == []


@pytest.mark.parametrize(("last", "claim"), [(OTHER, "none"), (SAME, "replay-verified")])
def test_a_later_plan_ends_it_and_the_record_stays(
    trained: Shell, doubted: str, twin: Any, last: str, claim: str
) -> None:
    twin(last)
    trained("verify", doubted, "--twin", status=4 if last else 0)
    later = trained.ask("request", "add", "--subject", "p4")["id"]
    trained("apply", trained.ask("plan", later)["id"], "--on", "debug")
    assert trained.ask("status")["failed"] == []
    found = trained.ask("verify", doubted, status=4 if last else 0)
    assert (found["claim"], found["reason"][:9]) == (claim, "proved on")
    assert trained.ask("doctor")["problems"] == []


def test_a_model_out_of_use_is_in_no_status(trained: Shell, doubted: str) -> None:
    trained("model", "retire", "speech")
    assert trained.ask("status")["failed"] == []
    trained("verify", doubted, status=4)

"""A twin's process that ends early, with whatever status, leaves the question open."""

import subprocess
from types import SimpleNamespace
from typing import Any

import pytest

from storage import child
from unlearn.audit import verify_plan
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept
from unlearn.twin import compare


@pytest.mark.parametrize("status", [0, 1, -9])
def test_a_twin_that_leaves_no_result_is_inconclusive(
    trained: Any, tally: Any, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    plan_id, _ = make_plan(trained, [accept(trained, "subject", ["person-07"]).id])
    apply(trained, plan_id)

    def leave(command: list[str], **_: Any) -> Any:
        return subprocess.CompletedProcess(command, status, "", "the last word\n")

    monkeypatch.setattr(compare, "child", SimpleNamespace(run=leave, python=child.python))
    found = verify_plan(trained, plan_id, twin=True)
    assert found.verdict == "inconclusive"
    assert f"the twin's process ended with status {status}: the last word" in (
        found.statement.reason
    )

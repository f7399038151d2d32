"""A twin's process that ends early, with whatever status, leaves the question open."""

import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lineage.errors import TransformError
from lineage.source import load
from storage import child
from storage.catalogue import tables
from unlearn.audit import verify_plan
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept
from unlearn.twin import compare
from unlearn.twin.kit import TwinTransform
from unlearn.twin.train import _function


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


def test_what_a_twin_refuses_is_one_sentence_and_no_traceback(
    trained: Any, tally: Any, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    plan_id, _ = make_plan(trained, [accept(trained, "subject", ["person-07"]).id])
    apply(trained, plan_id)
    with trained.catalogue.write() as session:
        for program in session.query(tables.Program):
            program.ref = "tally.py:nothing"
    found = verify_plan(trained, plan_id, twin=True)
    assert found.verdict == "inconclusive"
    assert ": tally.py has no function 'nothing'" in found.statement.reason
    assert "lineage.errors" not in found.statement.reason
    assert "Traceback" not in capfd.readouterr().err


def test_a_twin_refuses_a_transform_that_has_changed(tmp_path: Path) -> None:
    (tmp_path / "made.py").write_text(
        "import lineage\n\n\n@lineage.transform('record')\ndef same(rows):\n    return rows\n"
    )
    kept = {"ref": "made.py:same", "root": str(tmp_path), "inputs": (), "given": {}}
    source = load("made.py:same", tmp_path).source.digest  # type: ignore[attr-defined]
    assert _function(TwinTransform(**kept, source=source)).function.__name__ == "same"
    with pytest.raises(TransformError, match="has changed since it was executed"):
        _function(TwinTransform(**kept, source="0" * 64))

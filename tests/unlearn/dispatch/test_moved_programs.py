"""A program that was moved or edited is noticed before a plan begins, and before a twin does."""

import importlib
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from lineage.data.function import TransformFunction
from lineage.data.transform import derive
from lineage.errors import ProgramError
from lineage.source import load
from lineage.training.model import find_version, load_model
from storage.catalogue import tables
from unlearn.audit import verify_plan
from unlearn.dispatch.drive import apply
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept
from unlearn.twin import compare

pytestmark = pytest.mark.no_cover


@pytest.fixture
def folder(trained: Any, program_folder: Path, tmp_path: Path) -> Path:
    """A folder of its own for the program of the store."""
    place = copytree(program_folder, tmp_path / "project")
    with trained.catalogue.write() as session:
        session.execute(update(tables.Program).values(root=str(place)))
    return place


def planned(store: Any) -> tuple[str, Any]:
    return make_plan(store, [accept(store, "subject", "person-07").id])


def state_of(store: Any, plan_id: str) -> tuple[str, int]:
    """The state of a plan, and how often somebody began it."""
    with store.catalogue.read() as session:
        row = session.get_one(tables.Plan, plan_id)
        return row.state, row.fence


def refuse_to_start(*_: Any, **__: Any) -> None:
    raise AssertionError("a process was started")


def test_a_moved_program_is_noticed_before_anything_is_published(
    trained: Any, folder: Path
) -> None:
    before = find_version(trained, "m").id
    moved = folder.rename(folder.with_name("elsewhere"))
    plan_id, plan = planned(trained)
    assert f"tally.py:train is no longer in {folder}: this plan cannot be" in "".join(plan.notes)
    with pytest.raises(ProgramError, match="is no longer in") as refused:
        apply(trained, plan_id)
    assert f"ln -s FOLDER {folder}" in refused.value.hint
    assert state_of(trained, plan_id) == ("ready", 0)
    assert find_version(trained, "m").id == before
    folder.symlink_to(moved)  # what the hint says
    assert apply(trained, plan_id, options=Options(twin=True))["check"]["claim"]["claim"] == (
        "replay-verified"
    )


def test_a_program_that_is_gone_from_its_folder_is_to_be_put_back(
    trained: Any, folder: Path
) -> None:
    (folder / "tally.py").unlink()
    with pytest.raises(ProgramError, match="is no longer in") as refused:
        apply(trained, planned(trained)[0])
    assert refused.value.hint == "put it back there"


def test_an_edited_program_is_noticed_before_anything_is_published(
    trained: Any, folder: Path
) -> None:
    before = find_version(trained, "m").id
    with (folder / "tally.py").open("a") as source:
        source.write("# edited\n")
    plan_id, plan = planned(trained)
    assert any("tally.py:train has changed since it trained" in note for note in plan.notes)
    with pytest.raises(ProgramError, match=r"has changed since it trained: tally\.py"):
        apply(trained, plan_id)
    assert state_of(trained, plan_id) == ("ready", 0)
    assert find_version(trained, "m").id == before
    apply(trained, plan_id, options=Options(allow_changed=True))
    assert state_of(trained, plan_id) == ("applied", 1)


def test_a_plan_that_stopped_is_not_begun_again_without_its_program(
    trained: Any, folder: Path
) -> None:
    plan_id, _ = planned(trained)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("unlearn.tasks.replay"), "execute", refuse_to_start)
        with pytest.raises(AssertionError, match="was started"):
            apply(trained, plan_id)
    moved = folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(ProgramError, match="is no longer in"):
        apply(trained, plan_id)
    assert state_of(trained, plan_id) == ("failed", 1)
    moved.rename(folder)
    apply(trained, plan_id)
    assert state_of(trained, plan_id) == ("applied", 2)


def test_a_model_whose_program_was_moved_is_not_opened(trained: Any, folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))
    with pytest.raises(ProgramError, match="is no longer in"):
        load_model(trained, "m")


@pytest.mark.parametrize("change", ["moved", "edited"])
def test_no_twin_is_begun_without_the_program_and_one_sentence_says_so(
    trained: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    plan_id, _ = planned(trained)
    apply(trained, plan_id)
    if change == "moved":
        folder.rename(folder.with_name("elsewhere"))
        sentence = f"tally.py:train is no longer in {folder}"
    else:
        (folder / "tally.py").write_text((folder / "tally.py").read_text() + "# edited\n")
        sentence = "program tally.py:train has changed since it trained: tally.py"
    monkeypatch.setattr(compare, "child", SimpleNamespace(run=refuse_to_start))
    found = verify_plan(trained, plan_id, twin=True)
    assert found.verdict == "inconclusive"
    assert found.statement.reason.endswith(sentence)


def test_a_moved_transform_is_noticed_before_anything_is_published(
    store: Any, tally: Any, tmp_path: Path
) -> None:
    place = tmp_path / "transforms"
    place.mkdir()
    (place / "made.py").write_text(
        "import lineage\n\n\n"
        "@lineage.transform('aggregate')\n"
        "def same(rows):\n"
        "    return rows, list(range(len(rows)))\n"
    )
    tally.register(store)
    function = load("made.py:same", place)
    assert isinstance(function, TransformFunction)
    derive(store, function, ["people"], "copies")
    tally.train(store, config={"data": "copies"})
    place.rename(place.with_name("elsewhere"))
    plan_id, plan = planned(store)
    assert any(task.work.kind == "transform" for task in plan.tasks)
    assert any("made.py:same is no longer in" in note for note in plan.notes)
    with pytest.raises(ProgramError, match=r"made\.py:same is no longer in"):
        apply(store, plan_id)
    assert state_of(store, plan_id) == ("ready", 0)

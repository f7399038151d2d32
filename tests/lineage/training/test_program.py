"""What can be a training program, and when it is no longer the one that trained."""

import shutil
import sys
from pathlib import Path
from textwrap import indent
from typing import Any

import pytest

from lineage.errors import ProgramError, ProgramFailedError
from lineage.training.ensemble import resume, train
from lineage.training.execute import execute, pinned_program
from lineage.training.program import Program, load_program, program
from storage.catalogue import tables


@pytest.fixture
def own_program(workshop: Any, tmp_path: Path) -> Any:
    """The program in a folder of the test's own, to be changed, beside a module it imports."""
    folder = tmp_path / "own"
    folder.mkdir()
    source = Path(workshop.__file__).with_name("tally.py").read_text()
    (folder / "tally.py").write_text(source + "\nimport own_sibling\n")
    (folder / "own_sibling.py").write_text("RATE = 1\n")
    (folder / "unrelated.py").write_text("RATE = 1\n")
    yield workshop.Bench(folder, tmp_path)
    sys.modules.pop("own_sibling", None)


def test_a_function_is_a_program_that_can_still_be_called(tally: Any) -> None:
    loaded = tally.program
    assert isinstance(loaded, Program)
    assert loaded.source.ref == "tally.py:train"
    assert loaded.source.root == tally.root
    with pytest.raises(AttributeError):
        loaded(None)


def test_what_nobody_could_import_again_is_refused() -> None:
    def nested(run: Any) -> None: ...

    for function in (lambda run: None, nested):
        with pytest.raises(ProgramError, match="cannot be imported again"):
            program(function)


def test_a_notebook_cell_is_refused() -> None:
    cell: dict[str, Any] = {"__name__": "__main__", "program": program}
    with pytest.raises(ProgramError, match="notebook"):
        exec("@program\ndef train(run): pass", cell)


def test_a_function_that_is_not_marked_is_no_program(tmp_path: Path) -> None:
    (tmp_path / "plain.py").write_text("def train(run): pass")
    with pytest.raises(ProgramError, match="not a training program") as refused:
        load_program("plain.py:train", tmp_path)
    assert "@lineage.program" in refused.value.hint


@pytest.mark.parametrize(
    ("source", "uses"),
    [
        ("import torch", True),
        ("def f():\n    from torch import nn", True),
        ("import torchvision", False),
        ("text = 'import torch'", False),
        ("import numpy", False),
    ],
)
def test_torch_is_used_where_a_file_of_the_program_imports_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, uses: bool
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    marked = "import lineage\n@lineage.program\ndef train(run): pass\n"
    (tmp_path / "script.py").write_text(f"{marked}def later():\n{indent(source, '    ')}\n")
    assert load_program("script.py:train", tmp_path).uses_torch is uses


def test_a_changed_sibling_is_another_source_and_an_unrelated_file_is_not(own_program: Any) -> None:
    before = own_program.program.source
    assert list(before.files) == ["own_sibling.py", "tally.py"]
    (own_program.root / "unrelated.py").write_text("RATE = 2\n")
    assert own_program.program.source.digest == before.digest
    (own_program.root / "own_sibling.py").write_text("RATE = 2\n")
    (own_program.root / "tally.py").touch()
    assert reloaded(own_program).source.digest != before.digest


def reloaded(own_program: Any) -> Program:
    """The program as a new process would import it."""
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", "")).startswith(str(own_program.root)):
            del sys.modules[name]
    loaded: Program = own_program.program
    return loaded


@pytest.mark.parametrize("name", ["tally.py", "own_sibling.py"])
def test_changed_source_is_refused_at_replay_unless_allowed(
    own_program: Any, store: Any, tally: Any, name: str
) -> None:
    own_program.register(store)
    own_program.spring(3, "error")
    training = own_program.prepare(store)
    tally.trap.write_text("3 error")
    with pytest.raises(ProgramFailedError, match="OSError"):
        resume(store, training)
    with (own_program.root / name).open("a") as file:
        file.write("# another line\n")
    reloaded(own_program)
    with store.catalogue.read() as session:
        run = session.query(tables.Run).filter_by(state="failed").one()
    with pytest.raises(ProgramError, match=f"has changed since it trained: {name}") as refused:
        execute(store, run.id)
    assert refused.value.fields["changed"] == [name]
    assert "--allow-changed" in refused.value.hint
    execute(store, run.id, allow_changed=True)
    with store.catalogue.read() as session:
        assert session.get_one(tables.Run, run.id).state == "complete"


def test_a_program_that_is_gone_says_which_why_and_the_remedy(own_program: Any, store: Any) -> None:
    own_program.register(store)
    version = own_program.train(store)
    with store.catalogue.read() as session:
        recorded = session.query(tables.Program).one()
    shutil.rmtree(own_program.root)
    with pytest.raises(ProgramError, match=r"tally\.py:train is no longer in") as refused:
        pinned_program(store, recorded.id)
    assert str(own_program.root) in refused.value.message
    assert f"ln -s FOLDER {own_program.root}" in refused.value.hint
    assert version.sequence == 1


def test_the_same_source_is_recorded_once_and_committed_to(
    own_program: Any, store: Any, workshop: Any
) -> None:
    own_program.register(store)
    own_program.train(store)
    train(store, own_program.program, {"people": "people"}, "m", workshop.RECIPE)
    assert len(workshop.rows_of(store, tables.Program)) == 1
    commitments = workshop.rows_of(store, tables.Commitment, kind="program")
    assert [each.row_id for each in commitments] == [workshop.rows_of(store, tables.Program)[0].id]

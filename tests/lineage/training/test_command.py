"""The command that trains a watched loop again is checked when it is recorded."""

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.errors import RunError
from lineage.training.command import Retraining, executed_by, retraining
from storage.catalogue import tables

LOOP = """
import os
import sys
from pathlib import Path

import lineage
from lineage.training.events import Updated
from lineage.training.observed import Watch
from lineage.training.watching import observe


class Count:
    def state_dict(self):
        return {"value": 1}


def train(retrain=None):
    store = lineage.Store.open(Path(os.environ["STORE"]))
    with observe(store, "people", "m", {"count": Count()}, Watch(command=retrain)) as run:
        run.draw(run.identify(run.locator.rows([0, 1])))
        run.update(Updated(run.window()))
"""


@pytest.fixture
def folder(store: Any, tally: Any, workshop: Any, tmp_path: Path) -> Path:
    """A folder with a loop that trains on a registered dataset."""
    tally.register(store, rows=workshop.people(4, 3))
    place = tmp_path / "loop"
    place.mkdir()
    (place / "loop.py").write_text(LOOP)
    (place / "train.py").write_text("import loop\nloop.train()\n")
    (place / "moved.py").write_text("import os\nimport loop\nos.chdir('/')\nloop.train()\n")
    (place / "ipykernel_launcher.py").write_text("import loop\nloop.train()\n")
    (place / "spawned.py").write_text(
        "import multiprocessing\nimport loop\n\n"
        "if __name__ == '__main__':\n"
        "    child = multiprocessing.get_context('spawn').Process(target=loop.train)\n"
        "    child.start()\n    child.join()\n    raise SystemExit(child.exitcode)\n"
    )
    return place


@pytest.fixture
def started(store: Any, folder: Path) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Starts Python in the folder."""

    def start(*words: str, typed: str | None = None, **env: str) -> Any:
        root = Path(lineage.__file__).parents[1]
        path = os.pathsep.join((str(root), str(folder)))
        return subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "STORE": str(store.path), **env},
            input=typed,
            stdin=subprocess.DEVNULL if typed is None else None,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return start


@pytest.mark.parametrize(
    ("words", "typed", "why"),
    [
        (("-",), "import loop; loop.train()", "comes from standard input or a pipe"),
        ((), "import loop; loop.train()", "comes from standard input or a pipe"),
        (("-u", "/dev/stdin"), "import loop; loop.train()", "comes from standard input or a pipe"),
        (("-i",), "import loop; loop.train()\n", "was typed at a prompt or in a notebook"),
        (("-i", "loop.py"), "train()\n", "was typed at a prompt or in a notebook"),
        (("ipykernel_launcher.py",), None, "was typed at a prompt or in a notebook"),
        (("-m", "ipykernel_launcher"), None, "was typed at a prompt or in a notebook"),
        (("spawned.py",), None, "multiprocessing started this process"),
    ],
)
def test_a_loop_that_nobody_could_start_again_is_refused_before_it_trains(
    store: Any, started: Any, workshop: Any, words: Sequence[str], typed: str | None, why: str
) -> None:
    done = started(*words, typed=typed)
    assert f"the loop could not be trained again: {'' if 'multi' in why else 'it'}" in done.stderr
    assert why in done.stderr
    assert workshop.rows_of(store, tables.Run) == []
    assert workshop.rows_of(store, tables.Model) == []


def test_a_loop_that_a_launcher_started_is_refused(store: Any, started: Any) -> None:
    done = started("train.py", TORCHELASTIC_RUN_ID="none")
    assert "a launcher such as torchrun started this process" in done.stderr


def test_what_is_typed_is_watched_where_its_command_is_named(
    store: Any, started: Any, workshop: Any, folder: Path
) -> None:
    words = [sys.executable, "train.py"]
    done = started("-", typed=f"import loop; loop.train({words!r})")
    assert done.returncode == 0, done.stderr
    (row,) = workshop.rows_of(store, tables.ObservedRun)
    assert (row.command, row.folder) == (words, str(folder))


@pytest.mark.parametrize(
    "words",
    [
        ("train.py",),
        ("./train.py", "--epochs", "3"),
        ("-W", "ignore", "train.py"),
        ("moved.py",),
        ("-c", "import loop; loop.train()"),
        ("-m", "train"),
        ("-i", "train.py"),
    ],
)
def test_a_loop_that_was_started_by_a_command_is_trained_again_by_it(
    store: Any, started: Any, workshop: Any, folder: Path, words: Sequence[str]
) -> None:
    done = started(*words)
    assert done.returncode == 0, done.stderr
    (row,) = workshop.rows_of(store, tables.ObservedRun)
    assert (row.command[1:], row.folder) == (list(words), str(folder))
    assert Path(row.command[0]).is_absolute()
    again = Retraining(tuple(row.command), Path(row.folder))
    assert again.fault() == ""


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        (["no-such-program", "train"], "there is no program 'no-such-program'"),
        (["./make.sh"], "there is no program './make.sh'"),
        ([], "there is no program ''"),
        ([sys.executable, "gone.py"], "there is no script .*gone.py"),
        ([sys.executable, "-m", "ipykernel_launcher"], "it starts the kernel of a notebook"),
        ([sys.executable, "-"], "its script comes from standard input"),
        ("python train.py", "retrain= is one text"),
    ],
)
def test_a_command_that_cannot_be_started_is_refused(
    asked: Any, why: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(RunError, match=why) as found:
        retraining(asked)
    assert "retrain=[" in found.value.hint


def test_a_program_beside_the_loop_is_found_from_its_folder(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "make.sh").write_text("#!/bin/sh\n")
    (folder / "make.sh").chmod(0o755)
    again = Retraining(("./make.sh",), folder)
    assert again.fault() == ""
    (folder / "make.sh").chmod(0o644)
    assert again.fault() == "there is no program './make.sh'"
    assert Retraining(("sh",), folder / "gone").fault() == f"there is no folder {folder / 'gone'}"


def test_several_processes_that_something_else_started_are_refused() -> None:
    with pytest.raises(RunError, match="a launcher such as torchrun"):
        retraining(None, processes=2)
    assert retraining(None).command == (sys.executable, *sys.orig_argv[1:])


@pytest.mark.parametrize(
    ("words", "form", "name"),
    [
        (["-uW", "error", "train.py"], "script", "train.py"),
        (["-Werror", "-Xdev", "train.py"], "script", "train.py"),
        (["--check-hash-based-pycs", "never", "-mpkg.train"], "module", "pkg.train"),
        (["-B", "--", "-odd.py"], "script", "-odd.py"),
        (["-Bc", "print()", "train.py"], "code", ""),
        (["-B", "--"], "typed", ""),
    ],
)
def test_what_python_executes_is_read_as_python_reads_it(
    words: list[str], form: str, name: str
) -> None:
    found = executed_by(["python", *words])
    assert (found.form, found.name) == (form, name)

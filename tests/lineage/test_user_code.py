"""What a user's code raises never ends the process in silence: it is an error that names the code.

Only an interrupt passes, and what arises in this package while the code uses it.
"""

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import lineage
from lineage.data.dataset import head
from lineage.data.function import execute as execute_transform
from lineage.errors import ProgramError, ProgramFailedError, RunError
from lineage.source import load
from lineage.training.model import load_model
from lineage.training.program import load_program
from lineage.user_code import user_code
from storage.catalogue import tables

PROGRAM = """
import sys
import numpy as np
import lineage

WHERE = "{where}"


def leave(where):
    if where == WHERE:
        {act}


class Model:
    def __init__(self):
        self.saved = 0

    def state_dict(self):
        self.saved += 1
        if self.saved > 1:
            leave("state_dict")
        return {{"x": np.zeros(1)}}

    def load_state_dict(self, state):
        leave("load_state_dict")


class Order:
    def __len__(self):
        return 3

    def __iter__(self):
        leave("order")
        return iter(np.split(np.arange(12), 3))


def measure(rows):
    leave("evaluate")
    return {{"mean": float(rows["x"].mean())}}


def fitted(rows):
    leave("fit")
    return float(rows["x"].mean())


def predict(batch):
    leave("predict")
    return np.zeros((len(batch), 2))


@lineage.program
def train(run):
    leave("setup")
    people = run.dataset("people")
    run.track(model=Model())
    run.predictor(predict)
    run.fit(fitted, people)
    if run.draws:
        run.draw(Order())
    for batch in run.batches(people):
        leave("loop")
        run.evaluate(measure, people)
    leave("after")


@lineage.transform("record")
def double(rows):
    leave("transform")
    return rows


leave("import")
"""

PLACES = ["import", "setup", "fit", "order", "loop", "evaluate", "state_dict", "after"]

ACTS = {
    "sys.exit(0)": "SystemExit",
    "__import__('os')._exit(0)": r"os\._exit",
    "raise ValueError('record-0003')": "ValueError",
    "raise BaseException": "BaseException",
    "raise GeneratorExit": "GeneratorExit",
    "raise StopIteration": "StopIteration",
    "raise __import__('asyncio').CancelledError": "CancelledError",
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write the program that leaves somewhere in some way; returns its folder."""

    def write(where: str, act: str = "sys.exit(0)") -> Path:
        folder = tmp_path / "programs"
        folder.mkdir(exist_ok=True)
        (folder / "leaving.py").write_text(PROGRAM.format(where=where, act=act))
        return folder

    return write


def people(store: Any, workshop: Any, tmp_path: Path) -> None:
    file = workshop.written(tmp_path / "people.csv", workshop.people(4, 3))
    lineage.add_dataset(store, "people", file, id_columns=("id",), subject_columns=("person",))


def train(store: Any, folder: Path, schedule: str = "recorded") -> Any:
    recipe = lineage.Recipe(epochs=1, batch_size=4, min_batch=1, schedule=schedule)
    program = load_program("leaving.py:train", folder)
    return lineage.train(store, program, {"people": "people"}, "m", recipe)


def predicted(store: Any) -> None:
    model = load_model(store, "m")
    model.predict(model.batch(head(store, "people")))


@pytest.mark.parametrize("where", PLACES)
def test_a_program_that_asks_to_exit_with_0_fails_and_is_named(
    store: Any, workshop: Any, tmp_path: Path, write: Callable[..., Path], where: str
) -> None:
    people(store, workshop, tmp_path)
    with pytest.raises(ProgramFailedError, match=r"^leaving\.py:train ended with SystemExit") as f:
        train(store, write(where))
    assert "in leaving.py, line 11" in f.value.message
    assert f.value.code == "failed"
    assert isinstance(f.value.__cause__, SystemExit)
    runs = workshop.rows_of(store, tables.Run)
    assert [(run.state, run.owner) for run in runs] == [("failed", None)] * (where != "import")


@pytest.mark.parametrize(("act", "name"), ACTS.items())
def test_whatever_a_program_raises_is_named_by_its_place_and_not_by_its_words(
    store: Any, workshop: Any, tmp_path: Path, write: Callable[..., Path], act: str, name: str
) -> None:
    people(store, workshop, tmp_path)
    with pytest.raises(ProgramFailedError, match=f"ended with {name} in leaving.py, line 11") as f:
        train(store, write("setup", act))
    assert "record" not in f.value.message + f.value.hint


AT_LAST = """
import os, sys, threading
from pathlib import Path
from lineage.os_exit import exits_raised

def child():
    if os.fork() == 0:
        os._exit(3)
    return os.waitstatus_to_exitcode(os.wait()[1])

with exits_raised():
    assert child() == 3
    if sys.argv[1] == "thread":
        leaving = threading.Thread(target=os._exit, args=(int(sys.argv[2]),))
        leaving.start()
        leaving.join()
os._exit(int(sys.argv[2]))
"""


@pytest.mark.parametrize(
    ("where", "status", "ends", "said"),
    [
        ("thread", 0, 1, "a thread of the program ended this process by os._exit\n"),
        ("thread", 7, 7, "a thread of the program ended this process by os._exit\n"),
        ("after", 0, 0, ""),
        ("after", 7, 7, ""),
    ],
)
def test_os_exit_is_what_it_was_outside_the_callers_thread(
    where: str, status: int, ends: int, said: str
) -> None:
    """In children that are forked inside too; and no thread ends a command with status 0."""
    words = [sys.executable, "-c", AT_LAST, where, str(status)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (ends, said)


def test_an_interrupt_passes_as_it_is(
    store: Any, workshop: Any, tmp_path: Path, write: Callable[..., Path]
) -> None:
    people(store, workshop, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train(store, write("loop", "raise KeyboardInterrupt"))
    (run,) = workshop.rows_of(store, tables.Run)
    assert run.state == "stopped"


@pytest.mark.parametrize("where", ["setup", "load_state_dict", "predict"])
def test_a_model_whose_program_asks_to_exit_cannot_be_asked(
    store: Any, workshop: Any, tmp_path: Path, write: Callable[..., Path], where: str
) -> None:
    people(store, workshop, tmp_path)
    folder = write("nowhere")
    train(store, folder)
    module = sys.modules[load_program("leaving.py:train", folder).function.__module__]
    module.WHERE = where  # type: ignore[attr-defined]
    with pytest.raises(ProgramFailedError, match=r"^leaving\.py:train ended with SystemExit"):
        predicted(store)


def test_a_transform_that_asks_to_exit_is_named(write: Callable[..., Path]) -> None:
    function = load("leaving.py:double", write("transform"))
    with pytest.raises(ProgramFailedError, match=r"^leaving\.py:double ended with SystemExit"):
        execute_transform(function, pa.table({"x": [1]}))
    with pytest.raises(SystemExit):  # a test of the user's own calls the function itself
        function(pa.table({"x": [1]}))


def test_a_function_that_cannot_be_called_is_at_fault_itself(tmp_path: Path) -> None:
    (tmp_path / "two.py").write_text(
        "import lineage\n@lineage.transform('record')\ndef two(rows, more):\n    return rows\n"
    )
    function = load("two.py:two", tmp_path)
    with pytest.raises(ProgramFailedError, match=r"^two\.py:two ended with TypeError"):
        execute_transform(function, pa.table({"x": [1]}))


def test_a_disk_that_is_full_at_a_checkpoint_is_no_fault_of_the_program(
    store: Any,
    workshop: Any,
    tmp_path: Path,
    write: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    people(store, workshop, tmp_path)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(store.objects), "put", full)
    with pytest.raises(OSError, match="No space left"):
        train(store, write("nowhere"))


def test_errors_of_this_package_pass_as_they_are(tmp_path: Path) -> None:
    for error in (RunError("stopped"), ProgramError("wrong")):
        with pytest.raises(type(error)), user_code("a.py:f", tmp_path):
            raise error
    with pytest.raises(ProgramFailedError), user_code("a.py:f", tmp_path):
        raise asyncio.CancelledError


def test_a_missing_module_is_a_mistake_of_whoever_names_the_program(tmp_path: Path) -> None:
    (tmp_path / "lacking.py").write_text("import no_such_module\n")
    with pytest.raises(ProgramError, match="cannot be imported") as missing:
        load("lacking.py:train", tmp_path)
    assert missing.value.code == "invalid_program"

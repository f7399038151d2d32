"""Do something to copies of a store, dying at each step that makes anything durable.

``python -P tests/faults.py SCENARIO TEMPLATE FOLDER [SYSCALL FAULT]`` copies the store TEMPLATE to
FOLDER/1, FOLDER/2 … and carries the scenario out on each in a process of its own. Without a system
call, number k dies before the k-th rename, link, unlink, fsync or commit that Python asks for. With
one, strace makes its k-th invocation kill the process or fail, inside SQLite too. The last copy is
the one that survived. On standard output: a JSON list of how each ended.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, event, select

from lineage.data.dataset import add
from lineage.store import Store
from lineage.training.ensemble import resume
from storage.catalogue import tables
from unlearn.dispatch.drive import apply

MOST = 200
DURABLE = ("rename", "replace", "link", "unlink", "remove", "fsync")
DIED = 9


def added(store: Store) -> None:
    """Add the rows of ``new.csv``, beside the template, to the dataset of people."""
    columns = {"id_columns": ("id",), "subject_columns": ("person",)}
    add(store, "people", store.path.parent / "new.csv", **columns)


def trained(store: Store) -> None:
    """Execute the training that was written down."""
    with store.catalogue.read() as session:
        training = session.scalars(select(tables.Training.id)).one()
    resume(store, training)


def applied(store: Store) -> None:
    """Carry out what is left of the plan."""
    with store.catalogue.read() as session:
        plan = session.scalars(select(tables.Plan.id)).one()
    apply(store, plan)


SCENARIOS: dict[str, Callable[[Store], None]] = {"add": added, "train": trained, "apply": applied}


class Steps:
    """Counts durable steps, and dies before the k-th."""

    def __init__(self, last: int, note: Path) -> None:
        self.left = last
        self.note = note

    def take(self, name: str) -> None:
        self.left -= 1
        if self.left == 0:
            self.note.write_text(name)
            os._exit(DIED)

    def watch(self) -> None:
        for name in DURABLE:
            setattr(os, name, self.counted(name, getattr(os, name)))
        event.listen(Engine, "commit", lambda _connection: self.take("commit"))

    def counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **options: Any) -> Any:
            self.take(name)
            return call(*arguments, **options)

        return counting


def traced(fault: str, syscall: str, number: int) -> None:
    """Let strace strike this process at an invocation of a system call; returns once it watches."""
    inject = f"inject={syscall}:{fault}:when={number}"
    command = ["strace", "-p", str(os.getpid()), "-qq", "-o", os.devnull]
    subprocess.Popen([*command, "-e", f"trace={syscall}", "-e", inject])
    while "TracerPid:\t0\n" in Path("/proc/self/status").read_text():
        time.sleep(0.005)


def carried_out(scenario: str, path: Path, prepare: Callable[[], None]) -> int:
    """Fork, prepare and carry out; the status the process ended with, negative for a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        with Store.open(path) as store:
            prepare()
            SCENARIOS[scenario](store)
        status = 0
    except Exception as error:  # noqa: BLE001
        print(type(error).__name__, error, file=sys.stderr)
    finally:
        os._exit(status)
    raise AssertionError


def main(scenario: str, template: Path, folder: Path, *fault: str) -> list[str]:
    """Every way the scenario ended, in order."""
    ends: list[str] = []
    for number in range(1, MOST):
        path, note = folder / str(number), folder / f"{number}.died"
        shutil.copytree(template, path)
        prepare = Steps(number, note).watch
        if fault:
            prepare = lambda number=number: traced(fault[1], fault[0], number)  # noqa: E731
        status = carried_out(scenario, path, prepare)
        ends.append(note.read_text() if status == DIED else str(status))
        if status == 0:
            return ends
    raise RuntimeError(f"{scenario} has more than {MOST} steps")


def loaded(name: str) -> Any:
    """A Python file beside this one, as a module."""
    spec = spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:])))

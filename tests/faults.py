"""Do something to copies of a store, dying at each step that makes anything durable.

Run as ``python -P tests/faults.py SCENARIO TEMPLATE FOLDER [SYSCALL FAULT STRIDE]``. It copies the
store TEMPLATE to FOLDER/1, FOLDER/2 … and carries the scenario out on each in a process of its own.
Without a system call, number k dies before the k-th rename, link, unlink, fsync or commit that
Python asks for. With one, strace makes its k-th invocation kill the process or fail, inside SQLite
too; STRIDE leaves some k out. The last copy is the one that survived. On standard output: JSON,
copy → how it ended.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, select

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
        event.listen(Engine, "commit", self.commit)

    def commit(self, connection: Connection) -> None:
        if connection.get_execution_options().get("expunge_write"):
            self.take("commit")

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
    finally:
        if status:
            traceback.print_exc()
        os._exit(status)
    raise AssertionError


def main(scenario: str, template: Path, folder: Path, *fault: str) -> dict[str, str]:
    """Copy → how the scenario ended on it, in order."""
    ends: dict[str, str] = {}
    for number in range(1, MOST, int(fault[2]) if fault else 1):
        path, note = folder / str(number), folder / f"{number}.died"
        shutil.copytree(template, path)
        prepare = Steps(number, note).watch
        if fault:
            prepare = lambda number=number: traced(fault[1], fault[0], number)  # noqa: E731
        status = carried_out(scenario, path, prepare)
        ends[str(path)] = note.read_text() if status == DIED else str(status)
        if status == 0:
            return ends
    raise RuntimeError(f"{scenario} has more than {MOST} steps")


if __name__ == "__main__":
    asked, where, into, *fault = sys.argv[1:]
    print(json.dumps(main(asked, Path(where), Path(into), *fault)))

"""A store in which a loop of somebody's own was watched, whose owner can be asked again."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import update

from lineage.store import Store
from lineage.training.program import load_program
from storage.catalogue import tables
from storage.errors import ExpungeError
from tests.unlearn.tasks.observing import COMMAND, OWNER, Whim, settled
from unlearn.tasks import external

collect_ignore = ["tuner.py"]
"""A plain script: it trains when it is imported."""


@pytest.fixture(scope="session")
def owner() -> ModuleType:
    """The owner's script as a module: some commands of these tests run in this process."""
    program = load_program("owner.py:tune", OWNER.parent)
    return sys.modules[program.function.__module__]


@pytest.fixture(scope="session")
def observed_once(
    workshop: Any, owner: ModuleType, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of an owner who trained model ``m`` once."""
    folder = tmp_path_factory.mktemp("owner")
    settled(workshop, folder).close()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        owner.train(command=COMMAND)
    return folder


@pytest.fixture
def observed(
    observed_once: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Store]:
    """Such a store, whose owner lives in a folder of the test's own: the working directory."""
    folder = tmp_path / "owner"
    shutil.copytree(observed_once, folder)
    monkeypatch.chdir(folder)
    with Store.open(folder / "store") as store:
        with store.catalogue.write() as session:
            session.execute(update(tables.ObservedRun).values(folder=str(folder)))
        yield store


@pytest.fixture
def command(owner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Callable[[Whim], None]:
    """Let the owner's command be a function, which is executed in this process."""

    def becomes(whim: Whim) -> None:
        def execute(words: Any, *, env: Any, input: str, **_: Any) -> Any:  # noqa: A002
            assert tuple(words) == COMMAND
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("EXPUNGE_TASK", env["EXPUNGE_TASK"])
                try:
                    whim(json.loads(input))
                except ExpungeError as error:
                    return subprocess.CompletedProcess(words, 1, "", f"Traceback\n{error}\n")
            return subprocess.CompletedProcess(words, 0, "", "")

        monkeypatch.setattr(external, "child", SimpleNamespace(run=execute))

    return becomes

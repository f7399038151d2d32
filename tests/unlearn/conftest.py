"""The support modules of these tests, as fixtures: tests are imported without packages."""

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from unlearn.dispatch import drive
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.journal import Ownership
from unlearn.dispatch.worker import Options

HERE = Path(__file__).parent
Loaded = Callable[[Path], ModuleType]


@pytest.fixture(scope="session")
def histories(loaded: Loaded) -> ModuleType:
    """Small random histories, and living through them."""
    return loaded(HERE / "histories.py")


@pytest.fixture(scope="session")
def oracle(loaded: Loaded) -> ModuleType:
    """The brute-force answers to what some rows reached."""
    return loaded(HERE / "oracle.py")


@pytest.fixture(scope="session")
def worlds(loaded: Loaded) -> ModuleType:
    """Small random worlds for the planner."""
    return loaded(HERE / "plan/worlds.py")


@pytest.fixture(scope="session")
def brute_force(loaded: Loaded) -> ModuleType:
    """The planner's judge."""
    return loaded(HERE / "plan/brute_force.py")


@pytest.fixture(scope="session")
def scratch(loaded: Loaded) -> ModuleType:
    """Training again from scratch, in a second store."""
    return loaded(HERE / "plan/scratch.py")


@pytest.fixture(scope="session")
def carry_out() -> Callable[[Any, str], dict[str, Any]]:
    """Apply a plan of a history in this process; its diary goes on, run by run."""

    def applied(lived: Any, plan_id: str) -> dict[str, Any]:
        return drive.apply(lived.store, plan_id, Watched(lived), Options())

    return applied


class Watched(InProcess):
    """Keeps the diary of each task under the run that the task executed."""

    def __init__(self, lived: Any) -> None:
        super().__init__(lived.store)
        self.lived = lived

    def submit(self, ownership: Ownership, task_id: str, options: Options) -> "Future[None]":
        done = super().submit(ownership, task_id, options)
        entries = self.lived.take()
        task = f"{ownership.plan_id}/{task_id}"
        for (run,) in self.lived.sql(f"SELECT id FROM runs WHERE task_id = '{task}'"):
            self.lived.diary[run] = entries
        return done

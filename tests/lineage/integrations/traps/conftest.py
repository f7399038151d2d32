"""The judge and the trials of these tests, as fixtures: tests are imported without packages."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
Loaded = Callable[[Path], ModuleType]


@pytest.fixture(autouse=True)
def _not_measured(no_cover: None) -> None:
    """Tests of the watchers show what is executed: measured, loops would take twice the time."""


@pytest.fixture(scope="session")
def judging(loaded: Loaded) -> ModuleType:
    """What says what a loop really learned from."""
    return loaded(HERE / "judge.py")


@pytest.fixture(scope="session")
def trials(loaded: Loaded) -> ModuleType:
    """Loops to watch."""
    return loaded(HERE / "trial.py")


@pytest.fixture
def trial(store: Any, tally: Any, workshop: Any, judging: ModuleType, trials: ModuleType) -> Any:
    """Four people with 12 records, a model, and both of its watchers."""
    rows = workshop.people(4, 3)
    tally.register(store, rows=rows)
    return trials.Trial(store, judging, rows)

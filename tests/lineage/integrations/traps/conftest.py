"""The judge and the trials of these tests, as fixtures: tests are imported without packages."""

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


def loaded(name: str) -> ModuleType:
    """A Python file beside this one, as a module."""
    spec = spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def judging() -> ModuleType:
    """What says what a loop really learned from."""
    return loaded("judge")


@pytest.fixture(scope="session")
def trials() -> ModuleType:
    """Loops to watch."""
    return loaded("trial")


@pytest.fixture
def trial(store: Any, tally: Any, workshop: Any, judging: ModuleType, trials: ModuleType) -> Any:
    """Four people with 12 records, a model, and both of its watchers."""
    rows = workshop.people(4, 3)
    tally.register(store, rows=rows)
    return trials.Trial(store, judging, rows)

"""The random histories and the oracle that lineage and unlearning are both held against."""

from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lineage.store import Store
from unlearn.dispatch import drive
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan


def loaded(name: str) -> ModuleType:
    """A support module of the tests of `unlearn`."""
    path = Path(__file__).parents[2] / "unlearn" / f"{name}.py"
    spec = spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def histories() -> ModuleType:
    """Small random histories, and living through them."""
    return loaded("histories")


@pytest.fixture(scope="session")
def oracle() -> ModuleType:
    """The brute-force answers to what some rows reached."""
    return loaded("oracle")


@pytest.fixture
def apply() -> Callable[[Store, str], dict[str, Any]]:
    """Plan a request and carry the plan out in this process."""

    def carry_out(store: Store, request: str) -> dict[str, Any]:
        plan_id, _ = make_plan(store, [request])
        return drive.apply(store, plan_id, InProcess(store), Options())

    return carry_out

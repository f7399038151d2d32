"""The random histories and the oracle that lineage and unlearning are both held against."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lineage.store import Store
from unlearn.dispatch import drive
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan

SHARED = Path(__file__).parents[2] / "unlearn"
Loaded = Callable[[Path], ModuleType]


@pytest.fixture(scope="session")
def histories(loaded: Loaded) -> ModuleType:
    """Small random histories, and living through them."""
    return loaded(SHARED / "histories.py")


@pytest.fixture(scope="session")
def oracle(loaded: Loaded) -> ModuleType:
    """The brute-force answers to what some rows reached."""
    return loaded(SHARED / "oracle.py")


@pytest.fixture
def apply() -> Callable[[Store, str], dict[str, Any]]:
    """Plan a request and carry the plan out in this process."""

    def carry_out(store: Store, request: str) -> dict[str, Any]:
        plan_id, _ = make_plan(store, [request])
        return drive.apply(store, plan_id, InProcess(store), Options())

    return carry_out

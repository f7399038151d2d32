"""Loops to watch without any framework."""

from collections.abc import Callable
from typing import Any

import pytest

from lineage.training.observed import Watch
from lineage.training.watching import observe
from tests.lineage.training.watched_loops import Count


@pytest.fixture
def people(store: Any, tally: Any, workshop: Any) -> Any:
    """Twelve records of four people."""
    return tally.register(store, rows=workshop.people(4, 3))


@pytest.fixture
def watching(store: Any, people: Any) -> Callable[..., Any]:
    """Watches a loop that trains model ``m`` by counting."""

    def watched(count: Count | None = None, resume: str | None = None, **how: Any) -> Any:
        tracked = {"count": count or Count()}
        return observe(store, "people", "m", tracked, Watch(**how), resume)

    return watched

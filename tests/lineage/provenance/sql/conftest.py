"""Asking a store in SQL."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from lineage.provenance.sql import query

Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="session")
def ask() -> Callable[..., Rows]:
    """Carries a statement out; all rows of its answer."""

    def asked(store: Any, statement: str, **limits: Any) -> Rows:
        with query(store, statement, **limits) as answer:
            rows = [row for some in answer.rows() for row in some]
            assert len(rows) == answer.count
            return rows

    return asked


@pytest.fixture(scope="session")
def bare(empty_once: Path, workshop: Any) -> Iterator[Any]:
    """A store with nothing in it, for tests that only ask."""
    with workshop.Store.open(empty_once) as opened:
        yield opened

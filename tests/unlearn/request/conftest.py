"""A dataset of people who may ask to be forgotten."""

from pathlib import Path
from typing import Any

import pytest

from lineage.data.dataset import add
from tests.unlearn.request.registered import PAIRS


@pytest.fixture
def register(workshop: Any, store: Any, tmp_path: Path) -> Any:
    """Adds (id, person) pairs to a dataset."""

    def added(name: str, pairs: list[tuple[str, str]], **options: Any) -> Any:
        rows = [{"id": record, "person": person, "x": 1.0} for record, person in pairs]
        path = workshop.written(tmp_path / f"{name}.csv", rows)
        columns = {"id_columns": ("id",), "subject_columns": ("person",)}
        return add(store, name, path, **{"namespace": "people", **columns, **options})

    return added


@pytest.fixture
def people(register: Any) -> Any:
    return register("people", PAIRS)

"""A store that knows the twelve records, and who watches loops on it."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lineage
from lineage.store import Store
from tests.lineage.loops.samples import write_rows
from tests.lineage.loops.watchers import LineageWatcher


@pytest.fixture(autouse=True)
def _not_measured(no_cover: None) -> None:
    """Loops show what is executed: measured, they would take twice the time."""


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the records are registered; tests get copies."""
    folder = tmp_path_factory.mktemp("registered")
    with Store.create(folder / "store") as store:
        lineage.add_dataset(store, "rows", write_rows(folder / "rows.csv"), id_columns=("rid",))
    return folder / "store"


@pytest.fixture
def watchers(registered: Path, tmp_path: Path) -> Iterator[Callable[[], LineageWatcher]]:
    """Watchers, each on a store of its own."""
    opened: list[Store] = []

    def made() -> LineageWatcher:
        path = tmp_path / f"store-{len(opened)}"
        shutil.copytree(registered, path)
        opened.append(Store.open(path))
        return LineageWatcher(opened[-1])

    yield made
    for store in opened:
        store.close()

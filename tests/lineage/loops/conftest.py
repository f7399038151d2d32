"""Stores that know the twelve records, and who watches loops on them."""

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

import lineage
from lineage.store import Store
from tests.lineage.loops.counts import Counts
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import write_rows
from tests.lineage.loops.watchers import LineageWatcher

RUNS = 16
"""How many runs share a store: questions get slower with every run, opening a store is slow too."""

MakesWatchers = Callable[[], LineageWatcher]

COUNTED = pytest.StashKey[Counts]()


@pytest.fixture(scope="session")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the records are registered; tests get copies."""
    folder = tmp_path_factory.mktemp("registered")
    with Store.create(folder / "store") as store:
        lineage.add_dataset(store, "rows", write_rows(folder / "rows.csv"), id_columns=("rid",))
    return folder / "store"


@pytest.fixture(scope="session")
def watchers(registered: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakesWatchers]:
    """Makes watchers, each of which is asked about another record in turn."""
    numbers = count()
    opened: list[Store] = []

    def made() -> LineageWatcher:
        number = next(numbers)
        if number % RUNS == 0:
            path = tmp_path_factory.mktemp("watched") / "store"
            shutil.copytree(registered, path)
            opened.append(Store.open(path))
        return LineageWatcher(opened[-1], number % RECORDS)

    yield made
    for store in opened:
        store.close()


@pytest.fixture(scope="session")
def counts(pytestconfig: pytest.Config) -> Counts:
    """What the loops of this session were judged."""
    return pytestconfig.stash.setdefault(COUNTED, Counts())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Tell and write down what `make soak` compared."""
    found = config.stash.get(COUNTED, None)
    if found is not None and "SOAK_SECONDS" in os.environ:
        told = ", ".join(f"{name} {number}" for name, number in found.document().items())
        terminalreporter.write_line(f"{found.write()}: {told}")

"""A store with a past, and a copy of it to damage."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from lineage.data.transform import derive
from lineage.source import load
from lineage.store import Store
from lineage.training.registry import hold, promote, publish, retire, withdraw
from unlearn.audit import verify_plan
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.policy import change_policy
from unlearn.request.lifecycle import accept, cancel

HOUSEHOLDS = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def lived_once(
    workshop: Any, program_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A store in which something was forgotten, published, held, retired and withdrawn."""
    folder = tmp_path_factory.mktemp("lived")
    bench = workshop.Bench(program_folder, folder)
    with workshop.Store.create(folder / "store", workshop.Clock()) as store:
        _begin(workshop, bench, store)
        cancel(store, accept(store, "subject", ["person-01"]).id)
        hold(store, workshop.rows_of(store, workshop.tables.Checkpoint)[0].id, "a dispute")
        plan, _ = make_plan(store, [accept(store, "subject", ["person-07"]).id])
        apply(store, plan)
        verify_plan(store, plan, twin=False)
        accept(store, "record", ["record-0002"])
        retire(store, "n")
    return folder / "store"


def _begin(workshop: Any, bench: Any, store: Store) -> None:
    bench.register(store)
    halved: Any = load("households.py:halved", HOUSEHOLDS)
    derive(store, halved, "people", "halved")
    config = {"fit": True, "evaluate": True}
    bench.train(store, config=config, shards=2, slices=1, epochs=1)
    bench.train(store, "n", **workshop.RECORDED, epochs=1)
    promote(store, "m", "production")
    withdraw(store, publish(store, "n", "a clinic").id)
    publish(store, "m", "a school")
    change_policy(store, {"workers": 2})


@pytest.fixture
def lived(lived_once: Path, tmp_path: Path) -> Path:
    """A copy of the store that lived, for one test."""
    shutil.copytree(lived_once, tmp_path / "lived")
    return tmp_path / "lived"

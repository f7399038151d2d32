"""A store in which one model was trained on real data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from sqlalchemy import select

from lineage.data.dataset import head
from lineage.data.version import Version
from lineage.schedule import Schedule, schedule_for
from lineage.schedule.placement import shards_of, slices_of
from lineage.source import load
from lineage.store import Store
from lineage.training.ensemble import Recipe, train
from lineage.training.program import Program
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from tests.unlearn.equality.counterfactual import register
from tests.unlearn.equality.material import Material

MODEL = "model"
PROGRAMS = Path(__file__).parent / "programs"
RECIPES: dict[str, dict[str, Any]] = {
    "sharded": {"shards": 3, "slices": 2, "epochs": 2},
    "plain": {"epochs": 2, "checkpoint_every": 20},
    "drawn": {"schedule": "recorded", "epochs": 2, "checkpoint_every": 20},
    "curriculum": {"schedule": "recorded", "epochs": 1, "checkpoint_every": 20},
}


@dataclass(frozen=True)
class Trained:
    """A store, what it was given, and the model version that came of it."""

    store: Store
    material: Material
    version: str

    @property
    def data(self) -> Version:
        """The version of the data that a new run would read."""
        return head(self.store, self.material.name)

    def spec(self, shard: int) -> RunSpec:
        """The specification of a shard's original run."""
        with self.store.catalogue.read() as session:
            rows = session.scalars(
                select(tables.Run.specification).where(tables.Run.training_id.is_not(None))
            )
            specs = map(RunSpec.model_validate, rows)
            return next(spec for spec in specs if spec.schedule.shard == shard)

    @property
    def schedules(self) -> list[Schedule]:
        """The schedule of each shard."""
        shards = range(self.spec(0).schedule.shards)
        return [schedule_for(self.spec(shard).schedule, self.data.salt) for shard in shards]

    def shard_of(self, run_id: str) -> int:
        """The shard that a run trains."""
        with self.store.catalogue.read() as session:
            run = session.get_one(tables.Run, run_id)
        return RunSpec.model_validate(run.specification).schedule.shard

    def people(self, shard: int, slice_: int) -> list[str]:
        """The subjects of a cell, by name."""
        place, salt = self.data.present.records.placement, self.data.salt
        slices = len(self.spec(shard).schedule.nominal)
        here = (shards_of(place, salt, self.spec(shard).schedule.shards) == shard) & (
            slices_of(place, salt, slices) == slice_
        )
        return sorted(set(self.named(self.material.subject, np.flatnonzero(here))))

    def named(self, column: str, rows: np.ndarray) -> list[str]:
        """What a column of the file says of some present rows, as text."""
        cells = self.material.table[column].take(pa.array(self.data.present.positions[rows]))
        return list(cells.cast(pa.string()).to_pylist())


Trains = Callable[..., Trained]
"""The fixture ``trained(ref, topology, **config)``."""


def program(ref: str) -> Program:
    """A program of the folder ``programs``, such as ``mnist.py:mlp``."""
    found = load(ref, PROGRAMS)
    assert isinstance(found, Program)
    return found


def train_on(store: Store, material: Material, ref: str, recipe: Recipe) -> str:
    """Register a material in a store and train on it; the model version."""
    register(store, material)
    return train(store, program(ref), {material.name: material.name}, MODEL, recipe).id

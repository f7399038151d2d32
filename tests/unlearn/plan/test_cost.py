"""The formulas are what forgetting costs: drawn requests, priced by the real schedule of MNIST."""

import gzip
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from lineage.data.dataset import add
from lineage.schedule import (
    Division,
    ScheduleSpec,
    Selection,
    cells,
    nominal_cells,
    schedule_for,
)
from lineage.schedule.sliced import stage_epochs
from unlearn.plan.cost import (
    Topology,
    batch_points,
    batch_visits,
    equal,
    pareto,
    sequential_points,
    sequential_visits,
    slicing_share,
)
from unlearn.plan.forecast.simulation import simulated_visits

SALT = bytes(range(32))
EPOCHS = 10
Ints = NDArray[np.int64]


@pytest.fixture(scope="module")
def mnist(
    data: Path, workshop: Any, empty_once: Path, tmp_path_factory: pytest.TempPathFactory
) -> Selection:
    """The keys that MNIST's 60,000 training images have in a store."""
    content = gzip.decompress((data / "mnist-train-labels-idx1-ubyte.gz").read_bytes())
    folder = tmp_path_factory.mktemp("mnist")
    labels = np.frombuffer(content, np.uint8, offset=8).astype(np.int64)
    pq.write_table(pa.table({"label": labels}), folder / "labels.parquet")
    with workshop.Store.create(folder / "store") as store:
        return add(store, "mnist", folder / "labels.parquet", salt=SALT).present.records


@dataclass(frozen=True)
class Measured:
    """Each record's shard, the stage it enters at and its visits a stage; ``total`` is (S, R)."""

    shard: Ints
    entry: Ints
    visits: Ints
    total: Ints

    def together(self, asked: Ints) -> int:
        """What forgetting these at once repeats: a shard from the earliest entry among them."""
        left, entry = self.total.copy(), np.full(len(self.total), self.total.shape[1])
        np.subtract.at(left, self.shard[asked], self.visits[asked])
        np.minimum.at(entry, self.shard[asked], self.entry[asked])
        return int(left[np.arange(left.shape[1]) >= entry[:, None]].sum())

    def in_turn(self, asked: Ints) -> int:
        """What forgetting one after the other repeats."""
        left, repeated = self.total.copy(), 0
        for each in asked.tolist():
            left[self.shard[each]] -= self.visits[each]
            repeated += int(left[self.shard[each], self.entry[each] :].sum())
        return repeated


def measured(records: Selection, shards: int, slices: int) -> Measured:
    division = Division(shards, slices)
    sizes = nominal_cells(cells(records, SALT, division))
    shard = division.shard_of(records, SALT)
    entry = np.zeros(len(records), np.int64)
    visits = np.zeros((len(records), slices), np.int64)
    total = np.zeros((shards, slices), np.int64)
    for number, nominal in enumerate(sizes):
        spec = ScheduleSpec(
            epochs=EPOCHS, batch_size=64, seed=0, shards=shards, shard=number, nominal=nominal
        )
        schedule = schedule_for(spec, SALT)
        own = np.flatnonzero(shard == number)
        mine = records.take(own)
        entry[own] = np.searchsorted(schedule.boundaries, schedule.first_visits(mine), "right")
        found = schedule.visits(mine)
        stage = np.searchsorted(schedule.boundaries, found.steps, "right")
        np.add.at(visits, (own[found.rows], stage), 1)
        starts = (0, *schedule.boundaries[:-1])
        total[number] = np.add.reduceat(schedule.sizes(records), starts)
    return Measured(shard, entry, visits, total)


def drawn(count: int, requests: int, records: int = 60_000) -> list[Ints]:
    generator = np.random.default_rng(7)
    return [generator.choice(records, requests, replace=False) for _ in range(count)]


@pytest.mark.parametrize(("shards", "requests"), [(20, 8), (20, 100), (5, 3)])
def test_requests_served_together_cost_what_batch_sharding_says(
    mnist: Selection, shards: int, requests: int
) -> None:
    real = measured(mnist, shards, 1)
    points = np.mean([real.together(each) for each in drawn(5_000, requests)]) / EPOCHS
    assert points == pytest.approx(batch_points(60_000, shards, requests), rel=0.01)


@pytest.mark.parametrize(("shards", "requests"), [(20, 8), (20, 100), (5, 300)])
def test_requests_served_in_turn_cost_what_sequential_sharding_says(
    mnist: Selection, shards: int, requests: int
) -> None:
    real = measured(mnist, shards, 1)
    points = np.mean([real.in_turn(each) for each in drawn(100, requests)]) / EPOCHS
    assert points == pytest.approx(sequential_points(60_000, shards, requests), rel=0.01)


@pytest.mark.parametrize(("shards", "slices"), [(1, 1), (1, 3), (1, 4), (5, 3), (20, 4)])
def test_a_request_costs_the_share_of_a_shard_that_slicing_says(
    mnist: Selection, shards: int, slices: int
) -> None:
    real = measured(mnist, shards, slices)
    visits = np.mean([real.together(each) for each in drawn(10_000, 1)])
    full = 60_000 * EPOCHS / shards
    assert visits == pytest.approx(full * slicing_share(slices), rel=0.01)


@pytest.mark.parametrize(("shards", "slices", "requests"), [(20, 4, 8), (5, 2, 20), (7, 6, 3)])
def test_any_cells_cost_what_the_general_formulas_say(
    mnist: Selection, shards: int, slices: int, requests: int
) -> None:
    """The real cells are not equal, nor are the epochs of their stages."""
    real = measured(mnist, shards, slices)
    counts = cells(mnist, SALT, Division(shards, slices))
    topology = Topology(counts, stage_epochs(EPOCHS, slices))
    assert topology.visits == real.total.sum()
    together = np.mean([real.together(each) for each in drawn(10_000, requests)])
    assert together == pytest.approx(batch_visits(topology, requests), rel=0.01)
    in_turn = np.mean([real.in_turn(each) for each in drawn(1_000, requests)])
    assert in_turn == pytest.approx(sequential_visits(topology, requests), rel=0.01)


@pytest.mark.parametrize("requests", [1, 2, 30])
def test_the_general_formulas_of_equal_shards_are_those_of_the_paper(requests: int) -> None:
    for shards, slices in product((1, 4), (1, 3)):
        topology = equal(1_200, shards, slices, 12)
        if slices == 1:
            points = batch_visits(topology, requests) / 12
            assert points == pytest.approx(batch_points(1_200, shards, requests))
            turns = sequential_visits(topology, requests) / 12
            assert turns == pytest.approx(sequential_points(1_200, shards, requests), rel=1e-3)
        if requests == 1:
            assert batch_visits(topology, 1) + 12 == pytest.approx(
                1_200 * 12 / shards * slicing_share(slices)
            )


def test_sequential_visits_are_exact_where_everything_can_be_listed() -> None:
    """Both orders of every two of five records, in two shards of different sizes."""
    topology = Topology(np.array([[1, 1], [2, 1]]), (2, 3))
    shard, entry = np.array([0, 0, 1, 1, 1]), np.array([0, 1, 0, 0, 1])
    visits = np.array([[2, 3], [0, 3], [2, 3], [2, 3], [0, 3]])
    real = Measured(shard, entry, visits, topology.work)
    pairs = [np.array(pair) for pair in product(range(5), range(5)) if pair[0] != pair[1]]
    mean = np.mean([real.in_turn(pair) for pair in pairs])
    assert mean == pytest.approx(sequential_visits(topology, 2))


@pytest.mark.parametrize(("shards", "slices", "requests"), [(20, 1, 8), (3, 4, 5), (50, 2, 400)])
def test_a_simulation_agrees_with_the_formula_within_its_own_error(
    shards: int, slices: int, requests: int
) -> None:
    topology = equal(9_000, shards, slices, 6)
    found = simulated_visits(topology, requests, seed=1)
    assert found.mean == pytest.approx(batch_visits(topology, requests), abs=4 * found.error)
    assert 0 < found.error < 0.01 * found.mean
    assert found == simulated_visits(topology, requests, seed=1)
    assert found != simulated_visits(topology, requests, seed=2)


def test_the_front_keeps_what_nothing_else_beats() -> None:
    assert pareto([(3, 1), (1, 3), (2, 2), (2, 3), (1, 3)]) == [True, True, True, False, True]

"""Forecasts: the formula and the simulation agree, and streams behave as they must."""

from typing import Any

import pytest

from lineage.errors import ScheduleError
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import InvalidInputError, NotFoundError
from unlearn.plan.coalescing import AtOnce, LatestStart, MaximumBatch
from unlearn.plan.cost import equal
from unlearn.plan.forecast.measured import accuracies
from unlearn.plan.forecast.stream import Arrivals, forecast, stream, sweep


@pytest.mark.parametrize(("batch", "points"), [(8, 20_187), (100, 59_545)])
def test_the_formula_and_the_simulation_stand_side_by_side(batch: int, points: int) -> None:
    found = forecast(60_000, 20, 1, 10, batch)
    assert found.expected_points == pytest.approx(points, rel=0.0001)
    assert found.simulated_points == pytest.approx(points, rel=0.005)
    assert found.expected_visits == 10 * found.expected_points
    assert found.times_cheaper == 600_000 / found.expected_visits


def test_one_shard_with_one_deadline_starts_as_often_as_renewals_say() -> None:
    """A start follows the first request after the last start by a deadline: λH/(1 + λD) of them."""
    rate, deadline, days = 0.1, 30.0, 20_000.0
    found = stream(equal(1_000, 1, 1, 2), Arrivals(rate, deadline, days))
    assert found.starts == pytest.approx(rate * days / (1 + rate * deadline), rel=0.02)
    assert found.visits == 2_000 * found.starts
    assert found.requests == pytest.approx(rate * days, rel=0.05)
    assert found.late == 0


def test_at_once_serves_one_by_one_and_waiting_costs_less() -> None:
    topology = equal(6_000, 5, 3, 5)
    alone, batches, patient, patiently = (
        stream(topology, Arrivals(3, 30, 60, policy))
        for policy in (AtOnce(), MaximumBatch(20), LatestStart(), LatestStart(safety=3))
    )
    assert alone.visits == alone.one_by_one_visits
    assert alone.starts == alone.requests
    assert alone.peak_backlog == 1
    assert patient.visits < batches.visits < alone.visits
    assert batches.peak_backlog == 20
    assert patient.peak_backlog > 60
    assert patient == patiently
    assert patient.visits_per_day == patient.visits / 60


def test_work_that_takes_longer_than_deadlines_is_late() -> None:
    topology = equal(6_000, 5, 1, 5)
    quick, slow = (
        stream(topology, Arrivals(1, 2, 60), seconds) for seconds in (0.01, 86_400 / 6e3)
    )
    assert (quick.late, quick.hours) == (0, pytest.approx(quick.visits * 0.01 / 3600))
    assert slow.late > 10
    assert slow.peak_backlog > quick.peak_backlog


def test_a_stream_follows_from_its_seed() -> None:
    topology, arrivals = equal(600, 5, 2, 5), Arrivals(1, 30, 60)
    assert stream(topology, arrivals, seed=3) == stream(topology, arrivals, seed=3)
    assert stream(topology, arrivals, seed=3) != stream(topology, arrivals, seed=4)
    assert stream(topology, Arrivals(1e-6, 1, 1)).visits == 0


def test_a_sweep_names_what_nothing_else_beats() -> None:
    found = [forecast(60_000, shards, slices, 10) for shards, slices in [(1, 1), (5, 4), (20, 1)]]
    assert [each.front for each in sweep(found, {})] == [True, False, True]
    known = sweep(found, {(1, 1): 0.97, (5, 4): 0.95, (20, 1): 0.91})
    assert [each.accuracy for each in known] == [0.97, 0.95, 0.91]
    assert [each.front for each in known] == [True, True, True]
    worse = sweep(found, {(5, 4): 0.9, (20, 1): 0.91})
    assert [(each.accuracy, each.front) for each in worse] == [
        (None, True),
        (0.9, False),
        (0.91, True),
    ]


def test_a_sweep_of_streams_compares_what_they_cost() -> None:
    arrivals = Arrivals(1, 30, 30)
    found = [forecast(6_000, shards, 1, 5, arrivals=arrivals) for shards in (1, 10)]
    choices = sweep(found, {})
    assert [each.visits for each in choices] == [f.stream.visits for f in found if f.stream]


def test_impossible_topologies_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="100 records do not fill 20 shards of 6 slices"):
        forecast(100, 20, 6, 10)
    with pytest.raises(InvalidInputError, match="101 requests cannot name 100 records"):
        forecast(100, 5, 1, 10, batch=101)
    with pytest.raises(ScheduleError, match="too few to spread over 6 slices"):
        forecast(100, 2, 6, 2)


def test_accuracy_is_the_last_of_each_shard_in_the_newest_complete_training(
    store: Any, tally: Any, workshop: Any
) -> None:
    with pytest.raises(NotFoundError, match="evaluated by 'accuracy'"):
        accuracies(store, "accuracy")
    tally.register(store)
    for model, shards, values in (
        ("m", 2, [(0.1, 0.9), (0.1, 0.7)]),
        ("m", 1, [(0.2, 0.5)]),
        ("m", 1, [(0.3, 0.6)]),
        ("partly", 3, [(0.0, 1.0)]),
    ):
        known = len(workshop.rows_of(store, tables.Run))
        tally.train(store, model, shards=shards, slices=1)
        runs = workshop.rows_of(store, tables.Run)
        newest = sorted(runs, key=lambda each: each.created_at)[known:]
        for run, metrics in zip(newest, values, strict=False):
            evaluated(store, run.id, metrics)
    assert accuracies(store, "accuracy") == {(2, 1): pytest.approx(0.8), (1, 1): 0.6}


def evaluated(store: Any, run_id: str, values: tuple[float, ...]) -> None:
    """Let a run have been evaluated, step after step."""
    with store.catalogue.write() as session:
        for step, value in enumerate(values):
            session.add(
                tables.Evaluation(
                    id=new_id("eval"),
                    run_id=run_id,
                    alias="people",
                    step=step,
                    metrics={"accuracy": value},
                    created_at=store.clock(),
                )
            )

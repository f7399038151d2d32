"""What forgetting will cost, before anything is trained: by closed form where one is known.

Where none is known, by drawing requests from a seed; where both exist, they stand side by side.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import isnan, nan

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from storage.errors import InvalidInputError
from unlearn.plan.coalescing import LatestStart, Pending, Rule, Work
from unlearn.plan.cost import Topology, batch_visits, equal, pareto, sequential_visits
from unlearn.plan.forecast.serving import Start, serve
from unlearn.plan.forecast.simulation import Estimate, simulated_visits

DAY = 86_400.0
DRAWS = 16
"""How many streams are drawn, where they are short."""

DRAWN = 200_000
"""Requests times shards of all streams, where they are long: what a few seconds allow."""

MOST = 1_000_000
"""How many requests a stream may have."""

WAITING = LatestStart()
"""The rule where none is named."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests that come at random, ``rate`` a day for ``days``, each due ``deadline`` days later.

    They are served on so many ``workers``.
    """

    rate: float
    deadline: float
    days: float
    rule: Rule = WAITING
    workers: int = 1


class Stream(_Answer):
    """What serving requests as they arrive costs; means over ``draws`` streams.

    ``visits_error`` is the standard error of ``visits``. ``one_by_one_visits`` serves each at once
    and alone. A request is in the backlog until it is done, and late where that is after its
    deadline.
    """

    draws: int
    requests: float
    starts: float
    visits: float
    visits_error: float
    visits_per_day: float
    one_by_one_visits: float
    hours: float | None
    peak_backlog: float
    late: float


class Forecast(_Answer):
    """What forgetting ``batch`` uniformly drawn records together costs under a topology.

    Points are an epoch's worth of visits. ``simulated_points`` come with their standard error.
    ``one_by_one_points`` are those of as many requests, one after the other. ``checkpoints`` are
    those at slice ends, and ``bytes`` what they take.
    """

    records: int
    shards: int
    slices: int
    epochs: int
    batch: int
    expected_points: float = Field(description="by closed form")
    simulated_points: float
    simulation_error: float
    one_by_one_points: float
    expected_visits: float
    full_retrain_visits: int
    times_cheaper: float | None
    hours: float | None
    checkpoints: int
    bytes: int | None
    stream: Stream | None


def forecast(
    records: int,
    shards: int,
    slices: int,
    epochs: int,
    batch: int = 1,
    arrivals: Arrivals | None = None,
    *,
    seconds_per_visit: float = 0.0,
    checkpoint_bytes: int | None = None,
    seed: int = 0,
) -> Forecast:
    """Forecast one topology with equal cells. Without ``seconds_per_visit`` replays take no time.

    Raises:
        InvalidInputError: there are more cells or requests than records, or too many to draw.
        ScheduleError: there are too few epochs for so many slices.
    """
    topology = equal(records, shards, slices, epochs)
    if batch > records:
        raise InvalidInputError(
            f"{batch:,} requests cannot name {records:,} records", hint="ask for a smaller batch"
        )
    expected = batch_visits(topology, batch)
    simulated = simulated_visits(topology, batch, seed)
    return Forecast(
        records=records,
        shards=shards,
        slices=slices,
        epochs=epochs,
        batch=batch,
        expected_points=expected / epochs,
        simulated_points=simulated.mean / epochs,
        simulation_error=simulated.error / epochs,
        one_by_one_points=sequential_visits(topology, batch) / epochs,
        expected_visits=expected,
        full_retrain_visits=topology.visits,
        times_cheaper=topology.visits / expected if expected > 0 else None,
        hours=expected * seconds_per_visit / 3600 or None,
        checkpoints=shards * slices,
        bytes=None if checkpoint_bytes is None else shards * slices * checkpoint_bytes,
        stream=None if arrivals is None else stream(topology, arrivals, seconds_per_visit, seed),
    )


class Choice(_Answer):
    """A topology beside others: what forgetting costs, what is stored, and how good it was.

    ``accuracy`` is None where it was not measured. On the ``front`` none other is as good in all
    that is known of both, and better in something.
    """

    shards: int
    slices: int
    visits: float
    times_cheaper: float | None
    checkpoints: int
    bytes: int | None
    accuracy: float | None
    front: bool


def sweep(
    forecasts: Sequence[Forecast], accuracies: Mapping[tuple[int, int], float]
) -> list[Choice]:
    """Forecasts side by side: visits of the stream where there is one, else of the batch.

    ``accuracies`` were measured, by shards and slices.
    """
    visits = [
        each.expected_visits if each.stream is None else each.stream.visits for each in forecasts
    ]
    measured = [accuracies.get((each.shards, each.slices), nan) for each in forecasts]
    points = [
        (cost, each.checkpoints, -accuracy)
        for cost, each, accuracy in zip(visits, forecasts, measured, strict=True)
    ]
    return [
        Choice(
            shards=each.shards,
            slices=each.slices,
            visits=cost,
            times_cheaper=each.times_cheaper,
            checkpoints=each.checkpoints,
            bytes=each.bytes,
            accuracy=None if isnan(accuracy) else accuracy,
            front=front,
        )
        for each, cost, accuracy, front in zip(
            forecasts, visits, measured, pareto(points), strict=True
        )
    ]


def stream(
    topology: Topology, arrivals: Arrivals, seconds_per_visit: float = 0.0, seed: int = 0
) -> Stream:
    """Draw streams of requests and let the rule serve them; cells stay as large as they are.

    Raises:
        InvalidInputError: there would be more than a million requests.
    """
    expected = arrivals.rate * arrivals.days
    if expected > MOST:
        raise InvalidInputError(
            f"{expected:,.0f} requests are too many to draw, one by one",
            hint=f"ask for fewer days: {MOST / arrivals.rate:.3g} or less",
        )
    generator = np.random.default_rng(seed)
    draws = int(np.clip(DRAWN / max(expected * len(topology.sizes), 1), 2, DRAWS))
    drawn = [_requests(topology, arrivals, seconds_per_visit, generator) for _ in range(draws)]
    served = [serve(each, arrivals.rule, arrivals.workers) for each in drawn]
    visits = Estimate.of(np.array([sum(start.visits for start in each) for each in served]))
    return Stream(
        draws=draws,
        requests=_mean(map(len, drawn)),
        starts=_mean(map(len, served)),
        visits=visits.mean,
        visits_error=visits.error,
        visits_per_day=visits.mean / arrivals.days,
        one_by_one_visits=_mean(sum(request.visits for request in each) for each in drawn),
        hours=_mean(sum(start.end - start.at for start in each) for each in served) / 3600 or None,
        peak_backlog=_mean(map(_peak, served)),
        late=_mean(map(_late, served)),
    )


def _requests(
    topology: Topology,
    arrivals: Arrivals,
    seconds_per_visit: float,
    generator: np.random.Generator,
) -> list[Pending]:
    """Poisson arrivals of uniformly drawn records; those of a cell need the same work."""
    count = generator.poisson(arrivals.rate * arrivals.days)
    moments = generator.uniform(0, arrivals.days * DAY, count).tolist()
    cells = topology.cells(generator.integers(0, topology.records, count)).tolist()
    left = topology.left[:, :-1].ravel().tolist()
    needs = [
        {str(cell // topology.slices): Work(visits, visits * seconds_per_visit)}
        for cell, visits in enumerate(left)
    ]
    return [
        Pending(str(number), moment, moment + arrivals.deadline * DAY, needs[cell])
        for number, (moment, cell) in enumerate(zip(moments, cells, strict=True))
    ]


def _peak(starts: Sequence[Start]) -> int:
    """The most requests that were not done at any moment."""
    moments = [(each.arrived, 0, 1) for start in starts for each in start.requests]
    moments += [(start.end, 1, -len(start.requests)) for start in starts]
    return max(accumulate(change for *_, change in sorted(moments)), default=0)


def _late(starts: Sequence[Start]) -> int:
    return sum(start.end > each.deadline for start in starts for each in start.requests)


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))

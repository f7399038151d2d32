"""Time forecasts, and measure what waiting saves: beside hindsight, one by one, full retraining.

Forecasts: one topology by closed form and by simulation; a stream of requests; the choice of
checkpoints. Waiting: a policy that knows nothing of what will come over the optimum that knows all,
of 1,000 arrival traces of each kind; then 100 requests over 60 days with 30-day deadlines.

python benchmarks/forecast.py [--json out.json] [--traces N]
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from report import Figure, finish

from unlearn.plan.coalescing import AtOnce, LatestStart, Pending, Work
from unlearn.plan.cost import batch_visits, equal, sequential_visits
from unlearn.plan.forecast.placement import Profile, choose
from unlearn.plan.forecast.serving import least_visits, serve
from unlearn.plan.forecast.simulation import simulated_visits
from unlearn.plan.forecast.stream import Arrivals, stream

EPOCHS = 10
TOPOLOGIES = ((60_000, 20, 1, 8), (60_000, 20, 4, 100), (1_000_000, 1_000, 4, 10_000))
"""Records, shards, slices, and requests together."""

STREAMS = ((60_000, 20, 4, 100 / 60), (60_000, 20, 4, 10), (1_000_000, 100, 4, 30))
"""Records, shards, slices, and requests a day, for 60 days."""

DEPTHS = {
    "equal": (1.0,),
    "four slices": (4.0, 7.0, 9.0, 10.0),
    "even": (1.0, 2.0, 3.0, 4.0),
    "far apart": (1.0, 10.0, 100.0),
    "any": tuple(np.linspace(0.01, 1, 50).tolist()),
}
"""What replaying a chain may cost, by where a request enters it."""

PULLS = (0.0, 0.5, 0.75, 1.0)
SAFETY = 1.5


def seconds(timed: Callable[[], object], repeats: int) -> float:
    taken = []
    for _ in range(repeats):
        began = time.perf_counter()
        timed()
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def topologies() -> list[dict[str, float]]:
    results = []
    for records, shards, slices, requests in TOPOLOGIES:
        topology = equal(records, shards, slices, EPOCHS)
        expected = batch_visits(topology, requests)
        results.append(
            {
                "records": records,
                "shards": shards,
                "slices": slices,
                "requests": requests,
                "points": expected / EPOCHS,
                "simulated_points": simulated_visits(topology, requests).mean / EPOCHS,
                "closed_seconds": seconds(
                    lambda r=records, s=shards, k=slices, n=requests: (
                        batch_visits(equal(r, s, k, EPOCHS), n),
                        sequential_visits(equal(r, s, k, EPOCHS), n),
                    ),
                    20,
                ),
                "simulation_seconds": seconds(
                    lambda t=topology, n=requests: simulated_visits(t, n), 3
                ),
            }
        )
    return results


def streams() -> list[dict[str, float]]:
    results = []
    for records, shards, slices, rate in STREAMS:
        topology = equal(records, shards, slices, EPOCHS)
        began = time.perf_counter()
        found = stream(topology, Arrivals(rate, 30, 60), 1e-4)
        taken = time.perf_counter() - began
        about = {"records": records, "shards": shards, "slices": slices, "rate": rate}
        results.append({**about, "stream_seconds": taken, **found.model_dump()})
    return results


def trace(generator: np.random.Generator, depths: Sequence[float]) -> list[Pending]:
    """Up to 29 requests of one chain over 60 days; windows of about 3, 10 or 30 days."""
    count, window = generator.integers(2, 30), generator.choice([3, 10, 30])
    arrivals = generator.uniform(0, 60, count)
    deadlines = arrivals + window * generator.uniform(0.5, 1.5, count)
    return [
        Pending(str(n), a, d, {"chain": Work(float(generator.choice(depths)), 1e-6)})
        for n, (a, d) in enumerate(zip(arrivals.tolist(), deadlines.tolist(), strict=True))
    ]


def ratios(traces: int) -> list[dict[str, object]]:
    """What waiting costs over what hindsight would have."""
    results = []
    for name, depths in DEPTHS.items():
        generator = np.random.default_rng(0)
        drawn = [trace(generator, depths) for _ in range(traces)]
        least = np.array([least_visits(each, SAFETY) for each in drawn])
        for pull in PULLS:
            policy = LatestStart(SAFETY, pull)
            served = np.array([sum(s.visits for s in serve(each, policy)) for each in drawn])
            results.append(
                {
                    "depths": name,
                    "pull": pull,
                    "traces": traces,
                    "mean_ratio": float((served / least).mean()),
                    "total_ratio": float(served.sum() / least.sum()),
                    "worst_ratio": float((served / least).max()),
                }
            )
    return results


def hundred_requests() -> list[dict[str, float]]:
    """100 requests over 60 days, 30 days each, drawn uniformly: nobody is likelier to leave."""
    rate = 100 / 60
    full = stream(equal(60_000, 1, 1, EPOCHS), Arrivals(rate, 30, 60)).visits
    results = []
    for shards, slices in ((5, 1), (5, 4), (20, 1), (20, 4), (50, 4)):
        topology = equal(60_000, shards, slices, EPOCHS)
        waiting = stream(topology, Arrivals(rate, 30, 60)).visits
        alone = stream(topology, Arrivals(rate, 30, 60, AtOnce())).visits
        results.append(
            {
                "shards": shards,
                "slices": slices,
                "waiting_visits": waiting,
                "one_by_one_visits": alone,
                "full_retrain_visits": full,
                "fewer_than_one_by_one": alone / waiting,
                "fewer_than_full_retrain": full / waiting,
            }
        )
    return results


def choice_seconds() -> float:
    """Choosing 50 of 1,000 checkpoints of a run over a million records."""
    firsts = np.sort(np.random.default_rng(0).integers(0, 100_000, 1_000_000))
    profile = Profile(firsts, np.arange(0, 1_000_001, 10))
    steps, must = np.arange(100, 100_001, 100), np.zeros(1_000, np.bool_)
    return seconds(lambda: choose(profile, steps, must, 50), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--traces", type=int, default=1_000, help="of each kind")
    options = parser.parse_args()
    priced, served, compared, hundred = (
        topologies(),
        streams(),
        ratios(options.traces),
        hundred_requests(),
    )
    ours = {each["depths"]: each for each in compared if each["pull"] == LatestStart().pull}
    twenty = next(e for e in hundred if (e["shards"], e["slices"]) == (20, 4))
    chosen = choice_seconds()
    finish(
        "forecast",
        [
            Figure(
                "closed form, slowest topology",
                1e3 * max(each["closed_seconds"] for each in priced),
                "ms",
                10.0,
            ),
            Figure(
                "simulation, slowest topology",
                max(each["simulation_seconds"] for each in priced),
                "s",
                2.0,
            ),
            Figure(
                "stream of 60 days, slowest",
                max(each["stream_seconds"] for each in served),
                "s",
                2.0,
            ),
            Figure("choosing 50 of 1,000 checkpoints", chosen, "s"),
            *(
                Figure(f"waiting / hindsight, replays {name}: {what}", each[f"{what}_ratio"], "×")
                for name, each in ours.items()
                for what in ("mean", "worst")
            ),
            Figure(
                "one by one / waiting, 100 requests, S=20 R=4", twenty["fewer_than_one_by_one"], "×"
            ),
            Figure(
                "full retraining / waiting, 100 requests, S=20 R=4",
                twenty["fewer_than_full_retrain"],
                "×",
            ),
        ],
        {
            "topologies": priced,
            "streams": served,
            "ratios": compared,
            "hundred_requests": hundred,
        },
        options.json,
        epochs=EPOCHS,
        safety=SAFETY,
    )


if __name__ == "__main__":
    main()

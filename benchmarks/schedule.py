"""Time the stable schedule: an epoch built, a thousand records inverted.

python benchmarks/schedule.py [--json out.json] [--large]
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from report import Figure, finish

from lineage.schedule import Records, ScheduleSpec, schedule_for

SIZES = (10_000, 100_000, 1_000_000)
LARGE = 10_000_000
ASKED = 1_000
EPOCHS = 10
TARGETS: dict[str, float | None] = {"build": 0.1, "inverse": 1.0}


def median_seconds(timed: Callable[[], object], repeats: int) -> float:
    timed()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        timed()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def measure(count: int, repeats: int) -> dict[str, float]:
    keys, placement = np.random.default_rng(0).integers(0, 2**64, (2, count), dtype=np.uint64)
    records = Records(
        np.arange(count), keys, placement, lambda rows: [keys[row].tobytes() for row in rows]
    )
    spec = ScheduleSpec(epochs=EPOCHS, batch_size=64, seed=0, shards=1, shard=0, nominal=(count,))
    schedule = schedule_for(spec, bytes(32))
    asked = records.take(np.arange(ASKED))
    epoch = next(schedule.epochs(records))
    drawn = median_seconds(lambda: [epoch.rows(step) for step in epoch.steps], repeats)
    return {
        "records": count,
        "build_seconds": median_seconds(lambda: next(schedule.epochs(records)), repeats),
        "inverse_seconds": median_seconds(lambda: schedule.visits(asked), 20 * repeats),
        "one_step_seconds": median_seconds(lambda: schedule.rows(records, 1), repeats),
        "sizes_seconds": median_seconds(
            lambda: schedule.sizes(records, 0, len(epoch.steps)), repeats
        ),
        "iteration_seconds_per_step": drawn / len(epoch.steps),
    }


def exponent(results: list[dict[str, float]], column: str) -> float:
    """The fitted power of the number of records that the time grows with."""
    counts, seconds = zip(*((r["records"], r[column]) for r in results), strict=True)
    return float(np.polyfit(np.log(counts), np.log(seconds), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--large", action="store_true", help=f"add {LARGE:.0e} records")
    parser.add_argument("--repeats", type=int, default=9)
    options = parser.parse_args()
    sizes = (*SIZES, LARGE) if options.large else SIZES
    results = [measure(count, options.repeats) for count in sizes]
    figures = []
    for result in results[len(SIZES) - 1 :]:
        count = result["records"]
        targets = TARGETS if count == SIZES[-1] else dict.fromkeys(TARGETS)
        built, inverted = result["build_seconds"], 1e3 * result["inverse_seconds"]
        figures += [
            Figure(f"an epoch of {count:.0e} records", built, "s", targets["build"]),
            Figure(
                f"{ASKED:,} × {EPOCHS} inverted, {count:.0e}", inverted, "ms", targets["inverse"]
            ),
        ]
    for column in ("build_seconds", "inverse_seconds"):
        figures.append(Figure(f"exponent of {column}", exponent(results, column), "of n"))
    finish(
        "schedule", figures, results, options.json, repeats=options.repeats, numpy=np.__version__
    )


if __name__ == "__main__":
    main()

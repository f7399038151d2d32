"""Measure what recordings cost: written, kept and asked, with 1e6, 1e7 and 1e8 visits.

A million records in batches of 256, shuffled anew each epoch. Everything but the parent is a fresh
process, so that a first question is one, and peak memory belongs to what it is told of.

python benchmarks/recording.py [--json out.json] [--quick]
"""

import argparse
import importlib
import multiprocessing
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from report import Figure, finish

import lineage
from lineage.schedule import RecordedSchedule, Schedule, ScheduleSpec, schedule_for
from lineage.schedule.contract import Selection
from lineage.source import load
from storage.exposures import Exposures, File, Log, compact
from storage.objects import Objects

SIZES = (1_000_000, 10_000_000, 100_000_000)
RECORDS, BATCH = 1_000_000, 256
SEALED, KEPT = 10, 1_000
"""Epochs of a log, and steps of a checkpoint."""
SUBJECT, ASKED, PROCESSES = 1_000, 200, 3
CHECKPOINTS, PER_CHECKPOINT = 300, 256
NEXT = 1_000_000_000

MEASURES: dict[str, tuple[str, str, float | None]] = {
    "append_us": ("append 256 records", "µs", 5),
    "append_p99_us": ("append 256 records, 99 in 100", "µs", 50),
    "encode_us": ("encode a step, on another thread", "µs", None),
    "log_bytes": ("a visit in the logs", "B", None),
    "bytes": ("a visit compacted without order", "B", 2.2),
    "ordered_bytes": ("a visit compacted with order", "B", 3.2),
    "compact_s": ("compact 1e6 visits, of one core", "s", 0.2),
    "ordered_compact_s": ("compact 1e6 visits with order, of one core", "s", 0.2),
    "compact_mib": ("peak memory of compaction", "MiB", 1024),
    "first_ms": ("record → steps and checkpoints, first of a process", "ms", 30),
    "warm_ms": ("record → steps and checkpoints, warm", "ms", 3),
    "stable_ms": ("record → steps and checkpoints, stable schedule", "ms", 0.3),
    "subject_ms": ("first step of 1,000 records, first of a process", "ms", 50),
    "subject_warm_ms": ("first step of 1,000 records, warm", "ms", None),
}
"""Columns of the results: name, unit, and target at the largest size."""

GROWING = ("compact_s", "compact_mib", "first_ms", "warm_ms", "stable_ms", "subject_ms")
"""Columns whose growth is a figure."""

LAZY = ("numpy.ma", "pyarrow.dataset")
"""What NumPy and pyarrow import only when they are used."""

Result = TypeVar("Result")
Files = Sequence[File]


def fresh(function: Callable[..., Result], *arguments: object) -> Result:
    """What a function returns in a new process that has imported everything already."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for module in LAZY:
            pool.submit(imported, module).result()
        return pool.submit(function, *arguments).result()


def imported(module: str) -> None:
    importlib.import_module(module)


def peak_mib() -> float:
    unit = 2**20 if platform.system() == "Darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def write(folder: Path, visits: int) -> tuple[list[File], dict[str, float]]:
    """A log of shuffled epochs, sealed now and then; what that takes on both threads."""
    log, files, laps = Log(Objects(folder)), [], []
    draw, step = np.random.default_rng(0), 0
    busy = time.process_time() - time.thread_time()
    for epoch in range(1, visits // RECORDS + 1):
        order = draw.permutation(RECORDS)
        for low in range(0, RECORDS, BATCH):
            batch = order[low : low + BATCH]
            began = time.perf_counter_ns()
            log.append(step, batch)
            laps.append(time.perf_counter_ns() - began)
            step += 1
        if epoch % SEALED == 0 or epoch == visits // RECORDS:
            files.append(log.seal())
    log.close()
    busy = time.process_time() - time.thread_time() - busy
    return [file for file in files if file], {
        "append_us": float(np.median(laps)) / 1e3,
        "append_p99_us": float(np.percentile(laps, 99)) / 1e3,
        "encode_us": 1e6 * busy / step,
        "log_bytes": kept(folder, files) / visits,
    }


def kept(folder: Path, files: Sequence[Any]) -> int:
    objects = Objects(folder)
    return sum(objects.size(file.object) for file in files)


def compacted(folder: Path, logs: Files, ordered: bool) -> tuple[Files, float, float]:
    """The files, processor seconds, peak memory (MiB) of a process that did nothing else."""
    began = time.process_time()
    files = compact(Objects(folder), logs, ordered=ordered)
    return files, time.process_time() - began, peak_mib()


def opened(folder: Path, files: Files, steps: int) -> RecordedSchedule:
    return RecordedSchedule(Exposures(Objects(folder), files), steps)


def selection(positions: Sequence[int] | np.ndarray) -> Selection:
    """Records as schedules know them; their keys are any."""
    chosen = np.sort(np.asarray(positions, np.int64))
    keys = chosen.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return Selection(chosen, keys, keys)


def seen(schedule: Schedule, asked: Selection, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The steps that visit some records, and the first checkpoint after each."""
    steps = schedule.visits(asked).steps
    return np.unique(steps), np.unique(np.searchsorted(ends, steps, side="right"))


def first_question(folder: Path, files: Files, steps: int) -> float:
    ends, asked = np.arange(KEPT, steps + KEPT, KEPT), selection([RECORDS // 3])
    began = time.perf_counter()
    found, _ = seen(opened(folder, files, steps), asked, ends)
    taken = time.perf_counter() - began
    assert len(found) == steps * BATCH // RECORDS, "a record comes once an epoch"
    return 1e3 * taken


def subjects(folder: Path, files: Files, steps: int) -> tuple[float, float]:
    """Milliseconds to the first step of a thousand records: at first, and then."""
    draw = np.random.default_rng(1)
    laps = []
    schedule = None
    for _ in range(20):
        asked = selection(draw.choice(RECORDS, SUBJECT, replace=False))
        began = time.perf_counter()
        schedule = schedule or opened(folder, files, steps)
        first = int(schedule.first_visits(asked).min())
        laps.append(1e3 * (time.perf_counter() - began))
        assert first < steps
    return laps[0], median(laps[1:])


def point(schedule: Schedule, steps: int) -> float:
    """Milliseconds a question about one record, of many; median."""
    ends = np.arange(KEPT, steps + KEPT, KEPT)
    seen(schedule, selection(np.arange(0, RECORDS, 1_000)), ends)
    laps = []
    for position in np.random.default_rng(2).choice(RECORDS, ASKED, replace=False):
        asked = selection([position])
        began = time.perf_counter()
        seen(schedule, asked, ends)
        laps.append(1e3 * (time.perf_counter() - began))
    return median(laps)


def recorded_point(folder: Path, files: Files, steps: int) -> float:
    return point(opened(folder, files, steps), steps)


def stable_point(visits: int) -> float:
    spec = ScheduleSpec(
        epochs=visits // RECORDS, batch_size=BATCH, seed=0, shards=1, shard=0, nominal=(RECORDS,)
    )
    schedule = schedule_for(spec, bytes(32))
    return point(schedule, schedule.steps)


def measure(folder: Path, visits: int) -> dict[str, float]:
    logs, result = fresh(write, folder, visits)
    steps = logs[-1].last
    ordered, ordered_seconds, ordered_peak = fresh(compacted, folder, logs, True)
    files, seconds, peak = fresh(compacted, folder, logs, False)
    millions = visits / 1e6
    firsts = [fresh(first_question, folder, files, steps) for _ in range(PROCESSES)]
    many = [fresh(subjects, folder, files, steps) for _ in range(PROCESSES)]
    return {
        "visits": visits,
        **result,
        "bytes": kept(folder, files) / visits,
        "ordered_bytes": kept(folder, ordered) / visits,
        "compact_s": seconds / millions,
        "ordered_compact_s": ordered_seconds / millions,
        "compact_mib": max(peak, ordered_peak),
        "first_ms": median(firsts),
        "warm_ms": fresh(recorded_point, folder, files, steps),
        "stable_ms": fresh(stable_point, visits),
        "subject_ms": median(first for first, _ in many),
        "subject_warm_ms": median(warm for _, warm in many),
    }


def checkpoint_bytes(folder: Path) -> float:
    """Bytes by which the catalogue grows with each checkpoint of a run on a stable schedule."""
    pq.write_table(pa.table({"x": np.arange(CHECKPOINTS)}), folder / "rows.parquet")
    this: Any = load("_counting.py:program", Path(__file__).parent)
    recipe = lineage.Recipe(epochs=4, batch_size=4, min_batch=1, checkpoint_every=1)
    with lineage.Store.create(folder / "store") as store:
        lineage.add_dataset(store, "rows", folder / "rows.parquet")
        catalogue = folder / "store" / "catalogue.db"
        before = catalogue.stat().st_size
        lineage.train(store, this, {"rows": "rows"}, "counter", recipe)
        return (catalogue.stat().st_size - before) / CHECKPOINTS


def fitted(results: list[dict[str, float]], column: str) -> tuple[float, float]:
    """The power of the number of visits that a column grows with, and what it gives for `NEXT`."""
    sizes, values = zip(*((r["visits"], r[column]) for r in results), strict=True)
    line = np.polyfit(np.log(sizes), np.log(values), 1)
    return float(line[0]), float(np.exp(np.polyval(line, np.log(NEXT))))


def figures_of(results: list[dict[str, float]], growth: float) -> list[Figure]:
    *smaller, largest = results
    named = [
        Figure(f"{name}, {largest['visits']:.0e}", largest[column], unit, target)
        for column, (name, unit, target) in MEASURES.items()
    ]
    for result in smaller:
        for column in ("bytes", "ordered_bytes"):
            name, unit, target = MEASURES[column]
            # Of one epoch nothing is saved: it is a permutation.
            target = target if result["visits"] >= 10 * RECORDS else None
            named.append(Figure(f"{name}, {result['visits']:.0e}", result[column], unit, target))
    growing = Figure("a checkpoint in the catalogue, stable schedule", growth, "B", PER_CHECKPOINT)
    named.append(growing)
    for column in GROWING:
        name, unit, _ = MEASURES[column]
        power, extrapolated = fitted(results, column)
        named += [
            Figure(f"exponent of: {name}", power, "of n"),
            Figure(f"{name}, {NEXT:.0e} extrapolated", extrapolated, unit),
        ]
    return named


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--quick", action="store_true", help=f"leave out {SIZES[-1]:.0e} visits")
    options = parser.parse_args()
    results = []
    for visits in SIZES[:-1] if options.quick else SIZES:
        with tempfile.TemporaryDirectory() as folder:
            results.append(measure(Path(folder), visits))
    with tempfile.TemporaryDirectory() as folder:
        growth = checkpoint_bytes(Path(folder))
    finish(
        "recording",
        figures_of(results, growth),
        results,
        options.json,
        records=RECORDS,
        batch=BATCH,
        numpy=np.__version__,
        pyarrow=pa.__version__,
    )


if __name__ == "__main__":
    main()

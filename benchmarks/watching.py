"""Time what watching a torch loop adds to each step of about 5 ms, beside the same loop unwatched.

Two equal networks are trained step by step in turn: one on a watched loader, one on a loader of its
own, both of batches of 256 from a ``TensorDataset``; the two change places after half of the time,
since where a network lies in memory costs more than recording. Figures are medians of differences
between neighbouring steps. One thread computes, as overhead.py does it.

python benchmarks/watching.py [--json out.json]
"""

import argparse
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from report import Figure, finish
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import lineage
from lineage.integrations.torch import observe

RECORDS, FEATURES, WIDTH, BATCH = 100_000, 64, 256, 256
STEPS, WARM = 4_096, 64
STEP = 5_000.0  # µs: what the target is a share of
NOTE, NOTE_P99, SHARE = 5.0, 50.0, 1.0


class Side:
    """A loop under the clock; microseconds a step to load a batch, and to learn from it."""

    def __init__(self) -> None:
        self.model = nn.Sequential(
            nn.Linear(FEATURES, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, WIDTH),
            nn.ReLU(),
            nn.Linear(WIDTH, 10),
        )
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01)
        self.laps: list[tuple[float, float]] = []

    def step(self, batches: Iterator[Any]) -> None:
        began = time.perf_counter_ns()
        x, y = next(batches)
        loaded = time.perf_counter_ns()
        loss = nn.functional.cross_entropy(self.model(x), y)
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.laps.append(((loaded - began) / 1e3, (time.perf_counter_ns() - loaded) / 1e3))


class Notes(deque[Any]):
    """The notes of a log, whose appending is under the clock (µs)."""

    laps: ClassVar[list[float]] = []

    def append(self, note: Any) -> None:
        began = time.perf_counter_ns()
        super().append(note)
        self.laps.append((time.perf_counter_ns() - began) / 1e3)


def again_and_again(loader: Iterable[Any]) -> Iterator[Any]:
    while True:
        yield from loader


def loader_of(data: TensorDataset) -> DataLoader[Any]:
    return DataLoader(data, batch_size=BATCH, shuffle=True)


def measure(store: lineage.Store, folder: Path, steps: int) -> dict[str, float]:
    data = TensorDataset(torch.randn(RECORDS, FEATURES), torch.randint(0, 10, (RECORDS,)))
    pq.write_table(pa.table({"row": np.arange(RECORDS)}), folder / "rows.parquet")
    lineage.add_dataset(store, "rows", folder / "rows.parquet")
    one, other = Side(), Side()
    halves = [half(store, data, *sides, steps=steps // 2) for sides in ((one, other), (other, one))]
    return {column: mean(each[column] for each in halves) for column in halves[0]}


def half(
    store: lineage.Store, data: TensorDataset, ours: Side, own: Side, steps: int
) -> dict[str, float]:
    """One side is watched, and the other on its own."""
    ours.laps, own.laps = [], []
    Notes.laps.clear()
    with (
        patch("storage.exposures.log.deque", Notes),
        observe(store, "rows", "watched", optimizer=ours.optimizer, model=ours.model) as run,
    ):
        watched = again_and_again(run.watch(loader_of(data), order="file"))
        unwatched = again_and_again(loader_of(data))
        others = time.process_time() - time.thread_time()
        for number in range(steps + WARM):
            pair = (ours, watched), (own, unwatched)
            for side, batches in pair if number % 2 else pair[::-1]:
                side.step(batches)
        others = time.process_time() - time.thread_time() - others
        ended = time.perf_counter()
    closing = time.perf_counter() - ended
    return {
        "steps": run.step,
        **split(ours, own),
        **afterwards(run.step, others, closing),
    }


def split(ours: Side, own: Side) -> dict[str, float]:
    """Medians, in microseconds a step."""
    laps = np.array(own.laps[WARM:])
    added = np.array(ours.laps[WARM:]) - laps
    loading, learning = np.median(added, axis=0)
    return {
        "own_step_us": float(np.median(laps.sum(axis=1))),
        "added_us": float(np.median(added.sum(axis=1))),
        "loading_us": float(loading),
        "learning_us": float(learning),
        "note_us": float(np.median(Notes.laps[WARM:])),
        "note_p99_us": float(np.percentile(Notes.laps[WARM:], 99)),
    }


def afterwards(steps: int, others: float, closing: float) -> dict[str, float]:
    """Microseconds a step: what other threads used of a core, and what the end of the run took."""
    return {"background_us": 1e6 * others / steps, "closing_us": 1e6 * closing / steps}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--steps", type=int, default=STEPS, help="about how many steps to time")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with (
        tempfile.TemporaryDirectory() as folder,
        lineage.Store.create(Path(folder, "store")) as store,
    ):
        result = measure(store, Path(folder), options.steps)
    share = 100 * (result["added_us"] + result["background_us"]) / STEP
    figures = [
        Figure("a step, unwatched", result["own_step_us"] / 1e3, "ms"),
        Figure("append a note in the loop", result["note_us"], "µs", NOTE),
        Figure("append a note in the loop, 99 in 100", result["note_p99_us"], "µs", NOTE_P99),
        Figure("added to loading", result["loading_us"], "µs"),
        Figure("added to learning", result["learning_us"], "µs"),
        Figure("on another thread", result["background_us"], "µs"),
        Figure("all of recording, of a step of 5 ms", share, "%", SHARE),
        Figure("publish and compact at the end, a step", result["closing_us"], "µs"),
    ]
    finish("watching", figures, result, options.json, batch=BATCH, torch=torch.__version__)


if __name__ == "__main__":
    main()

"""Time what a run adds to each step of a torch loop, beside the same loop without it.

One program, executed by the real executor, trains two equal networks in turns of 32 steps: one on
the run's batches, one on batches that it gathers itself from arrays it holds.

python benchmarks/overhead.py [--json out.json]
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from report import Figure, finish
from torch import nn

import lineage
from lineage.source import load

SIZES = (1_000, 10_000, 100_000)
BATCH, FEATURES, STEPS, TURN = 64, 64, 4_000, 32
SEED = 0
ADDED, LINEAGE = 15.0, 5.0


class Side:
    """A loop under the clock; nanoseconds a step to draw a batch, gather it, learn from it."""

    def __init__(self, gather: Callable[[Any], tuple[Any, Any]]) -> None:
        self.gather = gather
        self.model = nn.Sequential(nn.Linear(FEATURES, 128), nn.ReLU(), nn.Linear(128, 10))
        self.optimizer = torch.optim.Adam(self.model.parameters())
        self.laps: list[tuple[int, int, int]] = []

    def step(self, batches: Iterator[Any]) -> None:
        began = time.perf_counter_ns()
        batch = next(batches)
        drawn = time.perf_counter_ns()
        x, y = self.gather(batch)
        gathered = time.perf_counter_ns()
        loss = nn.functional.cross_entropy(self.model(torch.from_numpy(x)), torch.from_numpy(y))
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.laps.append((drawn - began, gathered - drawn, time.perf_counter_ns() - gathered))


def rows(count: int) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(SEED)
    x = draw.standard_normal((count, FEATURES)).astype(np.float32)
    return x, draw.integers(0, 10, count)


def shuffled(count: int, epochs: int) -> Iterator[np.ndarray]:
    draw = np.random.default_rng(SEED)
    for _ in range(epochs):
        order = draw.permutation(count)
        for low in range(0, count, BATCH):
            yield order[low : low + BATCH]


@lineage.program
def program(run: lineage.Run) -> None:
    data = run.dataset("rows")
    x, y = rows(len(data))
    ours, own = Side(lambda b: (b["x"], b["y"])), Side(lambda b: (x[b], y[b]))
    run.track(model=ours.model, optimizer=ours.optimizer)
    seeding: list[int] = []
    seed = run.seed

    def timed_seed(step: int) -> None:
        began = time.perf_counter_ns()
        seed(step)
        seeding.append(time.perf_counter_ns() - began)

    run.seed = timed_seed
    batches, indices = run.batches(data), shuffled(len(data), run.config.epochs)
    for turn in range(0, run.steps, TURN):
        for side, source in ((ours, batches), (own, indices)):
            for _ in range(min(TURN, run.steps - turn)):
                side.step(source)
    for _ in batches:
        raise AssertionError("the run has more batches than steps")
    np.savez(run.config.out, ours=ours.laps, own=own.laps, seeding=seeding)


def measure(store: lineage.Store, folder: Path, count: int, steps: int) -> dict[str, float]:
    x, y = rows(count)
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(x.ravel(), FEATURES), "y": y})
    pq.write_table(table, folder / "rows.parquet")
    lineage.add_dataset(store, f"rows-{count}", folder / "rows.parquet")
    an_epoch = -(-count // BATCH)
    recipe = lineage.Recipe(
        epochs=max(6, steps // an_epoch),
        batch_size=BATCH,
        seed=SEED,
        min_batch=1,
        config={"out": str(folder / "laps.npz"), "epochs": max(6, steps // an_epoch)},
    )
    this: Any = load("overhead.py:program", Path(__file__).parent)
    lineage.train(store, this, {"rows": f"rows-{count}"}, f"rows-{count}", recipe)
    with np.load(folder / "laps.npz") as laps:
        return {"records": count, **split(laps["ours"], laps["own"], laps["seeding"], an_epoch)}


def split(ours: Any, own: Any, seeding: Any, an_epoch: int) -> dict[str, float]:
    """Microseconds a step, medians; drawing a whole epoch is apart, spread over its steps."""
    ours, own, seeding = ours / 1e3, own / 1e3, np.median(seeding) / 1e3
    starts = np.arange(len(ours)) % an_epoch == 0
    (drawn, gathered, _), (own_drawn, own_gathered, learned) = (
        np.median(side[~starts], axis=0) for side in (ours, own)
    )
    draw, own_draw = (np.median(side[starts, 0]) / an_epoch for side in (ours, own))
    step, gathering = drawn - own_drawn - seeding, gathered - own_gathered
    return {
        "steps_timed": len(ours),
        "own_step_us": float(learned + own_drawn + own_gathered),
        "step_us": float(step),
        "gathering_us": float(gathering),
        "seeding_us": float(seeding),
        "lineage_us": float(step + gathering),
        "added_us": float(step + gathering + seeding),
        "epoch_draw_us": float(draw - own_draw),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--steps", type=int, default=STEPS, help="about how many steps to time")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        lineage.Store.create(Path(folder, "store")) as store,
    ):
        results = [measure(store, Path(folder), count, options.steps) for count in SIZES]
    figures = []
    for result in results:
        records = f"{result['records']:,} records"
        figures += [
            Figure(f"added to a step, {records}", result["added_us"], "µs", ADDED),
            Figure(f"of which lineage, {records}", result["lineage_us"], "µs", LINEAGE),
            Figure(f"an epoch's draw, a step, {records}", result["epoch_draw_us"], "µs"),
        ]
    finish("overhead", figures, results, options.json, batch=BATCH, torch=torch.__version__)


if __name__ == "__main__":
    main()

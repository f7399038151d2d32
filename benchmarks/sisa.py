"""What forgetting a record of MNIST costs under SISA: in visits against the formula, in seconds.

Visits: the deletion of every one of 60,000 records, each restarted at the last slice-end checkpoint
before it. Seconds: a few deletions really planned and applied, beside training from scratch. Then
what isolation costs in accuracy.

python benchmarks/sisa.py [--json out.json]     reads MNIST from EXPUNGE_DATA, or ../shared/data
"""

import argparse
import gzip
import os
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from report import Figure, finish
from torch import nn

import lineage
from lineage.data.dataset import head
from lineage.schedule import Division, ScheduleSpec, Selection, cells, nominal_cells, schedule_for
from lineage.schedule.sliced import stage_epochs
from lineage.source import load
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.dispatch.worker import Options
from unlearn.plan.cost import batch_points
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

EPOCHS, BATCH = 10, 64
SHARDS, SLICES = (1, 5, 20), (1, 2, 3, 4, 6)
PRICED, PRICED_EPOCHS = (1, 5, 20, 50), 4
TOGETHER = (1, 8, 100)
TOLERANCE = 1.0
SALT = bytes(range(32))
ROWS = 6_000
RECIPE = lineage.Recipe(shards=5, slices=2, epochs=EPOCHS, batch_size=BATCH)


@lineage.program
def program(run: lineage.Run) -> None:
    digits = run.dataset("digits")
    model = nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10))
    optimizer = torch.optim.Adam(model.parameters())
    run.track(model=model, optimizer=optimizer)

    def images(batch: lineage.Batch) -> torch.Tensor:
        return torch.from_numpy(batch["image"].astype(np.float32) / 255)

    def predict(batch: lineage.Batch) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return model(images(batch)).softmax(dim=1).numpy()

    run.predictor(predict)
    for batch in run.batches(digits):
        model.train()
        loss = nn.functional.cross_entropy(model(images(batch)), torch.from_numpy(batch["label"]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def images_of(data: Path, part: str) -> tuple[pa.Array, np.ndarray]:
    """The images of a part of MNIST, as vectors, and their labels."""
    content = {
        kind: gzip.decompress((data / f"mnist-{part}-{kind}-ubyte.gz").read_bytes())
        for kind in ("images-idx3", "labels-idx1")
    }
    pixels = np.frombuffer(content["images-idx3"], np.uint8, offset=16)
    labels = np.frombuffer(content["labels-idx1"], np.uint8, offset=8)
    return pa.FixedSizeListArray.from_arrays(pixels, 784), labels.astype(np.int64)


def register(store: lineage.Store, data: Path, name: str, part: str, count: int) -> None:
    """Take in the first ``count`` images of a part of MNIST, by their row numbers."""
    images, labels = images_of(data, part)
    file = store.path / "mnist.parquet"
    pq.write_table(pa.table({"image": images[:count], "label": labels[:count]}), file)
    lineage.add_dataset(store, name, file, salt=SALT)
    file.unlink()


def share(slices: int) -> float:
    """The mean share of a shard's visits that one deletion repeats, with the rounded epochs."""
    visits = np.array(stage_epochs(EPOCHS, slices)) * np.arange(1, slices + 1)
    return float(visits[::-1].cumsum().mean() / visits.sum())


def deletion_costs(records: Selection, shards: int, slices: int) -> np.ndarray:
    """The visits that forgetting each record alone recomputes, from slice-end checkpoints: (n,)."""
    costs = np.zeros(len(records))
    sizes = nominal_cells(cells(records, SALT, Division(shards, slices)))
    for shard, nominal in enumerate(sizes):
        schedule = schedule_for(
            ScheduleSpec(
                epochs=EPOCHS, batch_size=BATCH, seed=0, shards=shards, shard=shard, nominal=nominal
            ),
            SALT,
        )
        done = np.concatenate(([0], np.cumsum(schedule.sizes(records))))
        first = schedule.first_visits(records)
        mine = np.flatnonzero(first < schedule.steps)
        kept = np.array((0, *schedule.boundaries))
        restart = kept[np.searchsorted(kept, first[mine], side="right") - 1]
        own = np.bincount(schedule.visits(records).rows, minlength=len(records))[mine]
        costs[mine] = done[-1] - done[restart] - own
    return costs


def visits(store: lineage.Store) -> list[dict[str, float]]:
    records = head(store, "mnist").present.records
    full = EPOCHS * len(records)
    results = []
    for shards, slices in product(SHARDS, SLICES):
        measured = deletion_costs(records, shards, slices).mean()
        formula = full / shards * share(slices)
        results.append(
            {
                "shards": shards,
                "slices": slices,
                "full_visits": full,
                "mean_visits": float(measured),
                "formula_visits": formula,
                "off_percent": 100 * abs(float(measured) / formula - 1),
                "times_cheaper": full / float(measured),
            }
        )
    return results


def together(shards: int, draws: int = 2_000) -> list[dict[str, float]]:
    """K deletions in one plan, one slice, against N(1 − (1 − 1/S)^K) − K points."""
    draw, count = np.random.default_rng(0), 60_000
    results = []
    for k in TOGETHER:
        hit = [len(np.unique(draw.integers(0, shards, k))) for _ in range(draws)]
        measured = count * float(np.mean(hit)) / shards - k
        formula = batch_points(count, shards, k)
        results.append(
            {
                "shards": shards,
                "together": k,
                "points": measured,
                "formula_points": formula,
                "times_cheaper": count / measured,
            }
        )
    return results


def seconds(store: lineage.Store, deletions: int) -> list[dict[str, float]]:
    """Real deletions, one after the other: seconds in training loops, and of the whole command."""
    this: Any = load("sisa.py:program", Path(__file__).parent)
    began = time.perf_counter()
    lineage.train(store, this, {"digits": "digits"}, "reader", RECIPE)
    trained = time.perf_counter() - began
    results = []
    for record in np.random.default_rng(0).choice(ROWS, deletions, replace=False):
        request = accept(store, "record", [str(record + 1)], "digits")
        plan_id, plan = make_plan(store, [request.id])
        began = time.perf_counter()
        done = apply(store, plan_id, InProcess(store), Options())
        results.append(
            {
                "visits": plan.visits,
                "full_visits": plan.full_retrain_visits,
                "replay_seconds": done["replay-1"]["seconds"],
                "full_seconds": plan.full_retrain_seconds,
                "apply_seconds": time.perf_counter() - began,
                "train_seconds": trained,
            }
        )
    return results


def accuracy(store: lineage.Store, name: str, recipe: lineage.Recipe) -> float:
    """Train a model on ``mnist``: the share of 10,000 unseen images that it reads right."""
    this: Any = load("sisa.py:program", Path(__file__).parent)
    version = lineage.train(store, this, {"digits": "mnist"}, name, recipe)
    model = lineage.load_model(store, version.id)
    batch = model.batch(head(store, "test"))
    answers = model.predict(batch).argmax(axis=1)
    return float((answers == batch["label"]).mean())


def price(store: lineage.Store, shards: int) -> dict[str, float]:
    """What isolation costs: how well so many shards read."""
    recipe = lineage.Recipe(shards=shards, epochs=PRICED_EPOCHS, batch_size=BATCH)
    return {"shards": shards, "accuracy": accuracy(store, f"accuracy-{shards}", recipe)}


def folder() -> Path | None:
    """Where MNIST's files are; None, and a sentence that says so, where they are not."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    data = Path(os.environ.get("EXPUNGE_DATA") or beside)
    if (data / "mnist-train-images-idx3-ubyte.gz").is_file():
        return data
    print(f"skipped: MNIST is not in {data}; set EXPUNGE_DATA to its folder", file=sys.stderr)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--deletions", type=int, default=9, help="how many to apply for real")
    options = parser.parse_args()
    data = folder()
    if data is None:
        return
    with (
        tempfile.TemporaryDirectory() as place,
        lineage.Store.create(Path(place, "store")) as store,
    ):
        register(store, data, "mnist", "train", 60_000)
        register(store, data, "test", "t10k", 10_000)
        register(store, data, "digits", "train", ROWS)
        counted, timed = visits(store), seconds(store, options.deletions)
        prices = [price(store, shards) for shards in PRICED]
    ratios = {
        name: sum(each[over] for each in timed) / sum(each[under] for each in timed)
        for name, over, under in (
            ("visits", "full_visits", "visits"),
            ("seconds", "full_seconds", "replay_seconds"),
            ("command", "train_seconds", "apply_seconds"),
        )
    }
    finish(
        "sisa",
        [
            Figure(
                f"mean visits off the formula, worst of {len(counted)} topologies",
                max(each["off_percent"] for each in counted),
                "%",
                TOLERANCE,
            ),
            Figure("full / planned, visits, S=5 R=2", ratios["visits"], "×"),
            Figure("full / planned, seconds in the loop, S=5 R=2", ratios["seconds"], "×"),
            Figure("train / apply, whole command, S=5 R=2", ratios["command"], "×"),
        ],
        {
            "visits": counted,
            "together": together(20),
            "seconds": timed,
            "accuracy": prices,
        },
        options.json,
        epochs=EPOCHS,
        batch=BATCH,
        rows_trained=ROWS,
    )


if __name__ == "__main__":
    main()

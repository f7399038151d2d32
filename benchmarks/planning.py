"""Time a plan for 10,000 pending requests over 1e6 records, 20 models of 50 shards, 1e5 nodes.

One run is trained for real; the others are like it, each a shard of a model, and are written into
the catalogue in bulk, as the requests are. Planning is a fresh process's.

python benchmarks/planning.py [--json out.json] [--quick]
"""

import argparse
import resource
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _bulk import Row, Rows, copied, keep, written
from pyroaring import BitMap
from recording import fresh
from report import Figure, finish
from sqlalchemy.orm import Session

import lineage
from lineage.source import load
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.manifests import dump_bitmap
from unlearn.plan.planner import draft

MODELS, SHARDS, CHECKPOINTS = 20, 50, 50
RECORDS, BATCH, EPOCHS = 1_000_000, 100, 5
REQUESTS = 10_000
PARTS = (100, 10, 1)
SECONDS, MEMORY = 5.0, 1024.0
PROCESSES = 3
OWN = {"model", "train", "run", "ckpt", "seg", "mv"}


def build(folder: Path, part: int) -> tuple[Path, list[str], int]:
    """A store with a ``part`` of the records, runs and requests; its requests, its nodes."""
    records, requests = RECORDS // part, REQUESTS // part
    shards = max(SHARDS // part, 1)
    models = MODELS if part <= SHARDS else MODELS * SHARDS // part
    pq.write_table(pa.table({"x": np.arange(records)}), folder / "rows.parquet")
    this: Any = load("_counting.py:program", Path(__file__).parent)
    steps = EPOCHS * (records // shards) // BATCH
    recipe = lineage.Recipe(
        epochs=EPOCHS,
        batch_size=BATCH,
        shards=shards,
        checkpoint_every=max(steps // CHECKPOINTS, 1),
    )
    with lineage.Store.create(folder / "store") as store:
        version = lineage.add_dataset(store, "rows", folder / "rows.parquet")
        lineage.train(store, this, {"rows": "rows"}, "counter", recipe)
        with store.catalogue.write() as session:
            multiply(session, models - 1)
            asked = request(session, version.dataset.id, records, requests)
        with store.catalogue.read() as session:
            nodes = session.query(tables.Checkpoint).count() * 2
            nodes += session.query(tables.ModelVersion).count()
        return store.path, asked, nodes


def multiply(session: Session, times: int) -> None:
    """Write down models that are like the one which is there."""
    everything = {
        table: copied(session, table)
        for table in (
            tables.Model,
            tables.Training,
            tables.Run,
            tables.RunInput,
            tables.Checkpoint,
            tables.Segment,
            tables.ModelVersion,
            tables.ModelMember,
        )
    }
    rows: Rows = {}
    for number in range(times):
        names: dict[str, str] = {}
        for table, originals in everything.items():
            for original in originals:
                keep(rows, table, renamed(original, names, number))
    written(session, rows)


def renamed(row: Row, names: dict[str, str], number: int) -> Row:
    """A row of another model: every id of the first one's is an id of its own."""
    new = {}
    for column, value in row.items():
        kind = value.partition("-")[0] if isinstance(value, str) else ""
        if kind in OWN:
            new[column] = names.setdefault(value, new_id(kind))
    name = {"name": f"counter-{number}"} if "name" in row else {}
    return row | new | name | seeded(row, number)


def seeded(row: Row, number: int) -> Row:
    """The specification of a run with a seed of its own: no two models have the same schedule."""
    if "specification" not in row:
        return {}
    schedule = row["specification"]["schedule"] | {"seed": number + 1}
    return {"specification": row["specification"] | {"schedule": schedule}}


def request(session: Session, dataset: str, records: int, count: int) -> list[str]:
    """Requests for one record each."""
    rows: Rows = {}
    chosen = np.random.default_rng(0).choice(records, count, replace=False)
    now = datetime.now(UTC)
    ids = [new_id("req") for _ in chosen]
    for name, position in zip(ids, chosen.tolist(), strict=True):
        asked = {"id": name, "state": "open", "identity": name, "received_at": now}
        keep(rows, tables.Request, asked)
        positions = {"dataset_id": dataset, "positions": dump_bitmap(BitMap([position]))}
        keep(rows, tables.ForgetSet, {"request_id": name} | positions)
    written(session, rows)
    return ids


def planned(path: Path, requests: list[str]) -> dict[str, float]:
    """Seconds to plan all requests together, in a store that was just opened, and memory."""
    with lineage.Store.open(path) as store:
        began = time.perf_counter()
        plan = draft(store, requests)
        ended = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"plan_s": ended - began, "peak_mib": peak, "tasks": len(plan.tasks)}


def scaled(part: int) -> dict[str, float]:
    """Medians of planning at a ``part`` of the full size."""
    with tempfile.TemporaryDirectory() as folder:
        path, requests, nodes = build(Path(folder), part)
        results = [fresh(planned, path, requests) for _ in range(PROCESSES)]
    middle = {name: median(result[name] for result in results) for name in results[0]}
    return {"requests": len(requests), "nodes": nodes, **middle}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--quick", action="store_true", help="stop at a tenth of the full size")
    options = parser.parse_args()
    results = [scaled(part) for part in (PARTS[:-1] if options.quick else PARTS)]
    small, large = results[0], results[-1]
    more = large["requests"] / small["requests"]
    growth = float(np.log(large["plan_s"] / small["plan_s"]) / np.log(more))
    size = f"{large['requests']:,} requests, {large['nodes']:,} nodes"
    figures = [
        Figure(f"plan for {size}, cold", large["plan_s"], "s", SECONDS),
        Figure(f"memory of that process: {size}", large["peak_mib"], "MiB", MEMORY),
        Figure(f"exponent of growth, from a {more:,.0f}th", growth, ""),
    ]
    settings = {"models": MODELS, "shards": SHARDS, "checkpoints": CHECKPOINTS}
    finish("planning", figures, results, options.json, **settings)


if __name__ == "__main__":
    main()

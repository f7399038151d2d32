"""Time the impact of one record over a provenance graph of about 1e5 nodes, from a cold store.

Runs of a thousand checkpoints each, of which every ten fine-tune one after the other, and a model
version of each. They are written into the catalogue in bulk; the question is a fresh process's.

python benchmarks/impact.py [--json out.json]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from _bulk import Rows, copied, keep, written
from pyroaring import BitMap
from recording import fresh
from report import Figure, finish
from sqlalchemy.orm import Session

import lineage
from lineage.provenance.graph import graph
from lineage.source import load
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from unlearn.impact import impact

RUNS, CHECKPOINTS, CHAIN = 50, 1_000, 10
RECORDS, BATCH, EPOCHS = 1_000, 10, 10
TARGET, PROCESSES = 0.5, 3


def build(folder: Path) -> tuple[Path, str, int]:
    """A store with one real run and many that are like it; its dataset, its number of nodes."""
    pq.write_table(pa.table({"x": np.arange(RECORDS)}), folder / "rows.parquet")
    this: Any = load("_counting.py:program", Path(__file__).parent)
    recipe = lineage.Recipe(epochs=EPOCHS, batch_size=BATCH, min_batch=1)
    with lineage.Store.create(folder / "store") as store:
        version = lineage.add_dataset(store, "rows", folder / "rows.parquet")
        lineage.train(store, this, {"rows": "rows"}, "counter", recipe)
        with store.catalogue.write() as session:
            multiply(session)
        with store.catalogue.read() as session:
            return store.path, version.dataset.id, len(graph(session))


def multiply(session: Session) -> None:
    """Write down runs that are like the one which is there, but for their many checkpoints."""
    run, given, segment, checkpoint, model, member = (
        copied(session, table)[0]
        for table in (
            tables.Run,
            tables.RunInput,
            tables.Segment,
            tables.Checkpoint,
            tables.ModelVersion,
            tables.ModelMember,
        )
    )
    rows: Rows = {}
    last = None
    for number in range(RUNS):
        ids = [new_id("ckpt") for _ in range(CHECKPOINTS)]
        mine = {"run_id": new_id("run")}
        start = last if number % CHAIN else None
        keep(rows, tables.Run, run | {"id": mine["run_id"], "start_id": start})
        keep(rows, tables.RunInput, given | mine)
        for step, name in enumerate(ids):
            keep(rows, tables.Checkpoint, checkpoint | mine | {"id": name, "step": step + 1})
            lap = {"id": new_id("seg"), "checkpoint_id": name, "first_step": step}
            keep(rows, tables.Segment, segment | mine | lap)
        last = ids[-1]
        made = {"id": new_id("mv"), "sequence": number + 2, "place": number + 2}
        keep(rows, tables.ModelVersion, model | made)
        keep(rows, tables.ModelMember, member | {"version_id": made["id"], "checkpoint_id": last})
    written(session, rows)


def asked(path: Path, dataset: str, record: int) -> dict[str, float]:
    """Seconds to open the store, and to the impact of one of its records."""
    began = time.perf_counter()
    with lineage.Store.open(path) as store:
        opened = time.perf_counter()
        found = impact(store, {dataset: BitMap([record])})
        ended = time.perf_counter()
    reached = (found.segments, found.checkpoints, found.versions)
    return {
        "open_s": opened - began,
        "impact_s": ended - opened,
        "reached": sum(map(len, reached)),
    }


def questions(folder: Path) -> Iterator[dict[str, float]]:
    path, dataset, nodes = build(folder)
    for record in range(PROCESSES):
        yield {"nodes": nodes, **fresh(asked, path, dataset, record)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = list(questions(Path(folder)))
    opening, asking = (median(r[column] for r in results) for column in ("open_s", "impact_s"))
    figures = [
        Figure(f"impact over {results[0]['nodes']:,} nodes, cold", asking, "s", TARGET),
        Figure("opening the store", opening, "s"),
    ]
    finish("impact", figures, results, options.json, runs=RUNS, checkpoints=CHECKPOINTS)


if __name__ == "__main__":
    main()

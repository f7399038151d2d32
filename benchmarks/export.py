"""Time exporting a run with all its steps: OpenLineage events, PROV-JSON and PROV-N.

Each export has a process of its own, in which everything is imported, and writes a file. Events are
made and written one at a time; a PROV document is built in memory first.

python benchmarks/export.py [--json out.json]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from recording import fresh
from report import Figure, finish

import lineage
from lineage.export.openlineage import events
from lineage.export.prov import document
from lineage.source import load

RECORDS, EPOCHS, EVERY = 50_000, 10, 500
STEPS = (2_000, 20_000)
TARGET = 10


def trained(folder: Path, steps: int) -> tuple[Path, str]:
    """A store with a run of so many steps, and a checkpoint after each 500 of them."""
    store_path = folder / f"store-{steps}"
    pq.write_table(pa.table({"x": np.arange(RECORDS)}), folder / "rows.parquet")
    this: Any = load("_counting.py:program", Path(__file__).parent)
    size = RECORDS * EPOCHS // steps
    recipe = lineage.Recipe(epochs=EPOCHS, batch_size=size, min_batch=1, checkpoint_every=EVERY)
    with lineage.Store.create(store_path) as store:
        lineage.add_dataset(store, "rows", folder / "rows.parquet")
        lineage.train(store, this, {"rows": "rows"}, "counter", recipe)
        with store.catalogue.read() as session:
            (run,) = session.connection().exec_driver_sql("SELECT id FROM runs").scalars()
    return store_path, run


def as_events(store: lineage.Store, run: str, output: Path) -> None:
    with output.open("w") as file:
        file.writelines(json.dumps(each) + "\n" for each in events(store, run, with_steps=True))


def as_document(form: str, store: lineage.Store, run: str, output: Path) -> None:
    made = document(store, run, with_steps=True)
    output.write_text(str(made.serialize(format=form)))


FORMS: dict[str, Callable[[lineage.Store, str, Path], None]] = {
    "OpenLineage": as_events,
    "PROV-JSON": partial(as_document, "json"),
    "PROV-N": partial(as_document, "provn"),
}


def most_mib() -> float:
    """The most memory this process ever had: what the parent had counts into ``ru_maxrss``."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**10


def exported(form: str, path: Path, run: str) -> dict[str, float]:
    """Processor seconds, bytes and memory of one export; ``before`` is what was in use without."""
    output, before = path / "export", most_mib()
    began = time.process_time()
    with lineage.Store.open(path) as store:
        FORMS[form](store, run, output)
    taken = time.process_time() - began
    return {
        "seconds": taken,
        "bytes": output.stat().st_size,
        "before_mib": before,
        "peak_mib": most_mib(),
    }


def measured(folder: Path) -> Iterator[dict[str, Any]]:
    for steps in STEPS:
        path, run = trained(folder, steps)
        for form in FORMS:
            yield {"form": form, "steps": steps, **fresh(exported, form, path, run)}


def figures(results: list[dict[str, Any]]) -> Iterator[Figure]:
    for each in results:
        name = f"{each['form']}, {each['steps']:,} steps"
        yield Figure(name, each["seconds"], "CPU s", TARGET)
        yield Figure(f"{name}: memory", each["peak_mib"] - each["before_mib"], "MiB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = list(measured(Path(folder)))
    finish("export", [*figures(results)], results, options.json, records=RECORDS, every=EVERY)


if __name__ == "__main__":
    main()

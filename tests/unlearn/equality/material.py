"""Real data as Parquet files with ids, and what can be forgotten of them."""

import gzip
import struct
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

SALT = b"the schedule salt of these tests"
IMAGES, WRITERS = 6_000, 120


@dataclass(frozen=True)
class Material:
    """A dataset as a file, with the columns that name its records and their subjects."""

    name: str
    file: Path
    subject: str
    record: str = "id"

    @property
    def table(self) -> pa.Table:
        """All rows, in the order of the file: row ``n`` gets position ``n``."""
        return _read(self.file)

    def without(self, records: set[str], file: Path, seed: int) -> Path:
        """Write the retained rows to another file, in another order."""
        table = self.table
        kept = table.filter(pc.invert(pc.is_in(table[self.record], pa.array(sorted(records)))))
        pq.write_table(kept.take(np.random.default_rng(seed).permutation(len(kept))), file)
        return file

    def records_of(self, kind: str, names: list[str]) -> set[str]:
        """The record ids that a request for these subjects or records means."""
        table = self.table
        column = self.record if kind == "record" else self.subject
        hit = pc.is_in(table[column].cast(pa.string()), pa.array(names))
        return set(table.filter(hit)[self.record].to_pylist())

    def needles(self, people: list[str]) -> dict[str, bytes]:
        """What would show that rows of these people are somewhere: ids, images, rare numbers."""
        table = self.table
        mine = pc.is_in(table[self.subject].cast(pa.string()), pa.array(people))
        own, others = table.filter(mine), table.filter(pc.invert(mine))
        found = {text: text.encode() for text in own[self.record].to_pylist()}
        if pa.types.is_string(table.schema.field(self.subject).type):
            found |= {person: person.encode() for person in people}
            found |= {pen: pen.encode() for pen in own["pen"].to_pylist()}
        if "pixels" in table.column_names:
            images = np.array(own["pixels"].to_pylist(), np.uint8)
            return found | {f"image {row}": image.tobytes() for row, image in enumerate(images)}
        reals = [name for name in table.column_names if table[name].type == pa.float64()]
        elsewhere = {number for name in reals for number in others[name].to_pylist()}
        numbers = set(own["test_time"].to_pylist()) - elsewhere
        return found | {f"time {number}": struct.pack("<d", number) for number in numbers}


def mnist(source: Path, folder: Path, rows: slice = slice(IMAGES), name: str = "mnist") -> Material:
    """Some images of MNIST's training set.

    It names no writers: a seed assigns 120, and each has a pen, a label that nobody else has.
    """
    images = _idx(source / "mnist-train-images-idx3-ubyte.gz", 16).reshape(-1, 784)[rows]
    numbers = range(60_000)[rows]
    writers = np.random.default_rng(1998).integers(0, WRITERS, 60_000)[rows]
    table = pa.table(
        {
            "id": [f"image-{number:05d}" for number in numbers],
            "writer": [f"writer-{writer:03d}" for writer in writers],
            "pen": [f"pen-{writer:03d}" for writer in writers],
            "digit": _idx(source / "mnist-train-labels-idx1-ubyte.gz", 8)[rows].astype(np.int64),
            "pixels": pa.FixedSizeListArray.from_arrays(images.ravel(), 784),
        }
    )
    pq.write_table(table, folder / f"{name}.parquet")
    return Material(name, folder / f"{name}.parquet", "writer")


def voices(source: Path, folder: Path) -> Material:
    """All voice recordings of Parkinsons Telemonitoring; a record is named by its line."""
    table: Any = pyarrow.csv.read_csv(source / "parkinsons_updrs.csv")
    lines = pa.array([f"recording-{line:05d}" for line in range(len(table))])
    pq.write_table(table.append_column("id", lines), folder / "voices.parquet")
    return Material("voices", folder / "voices.parquet", "subject#")


@cache
def _read(file: Path) -> pa.Table:
    return pq.read_table(file)


def _idx(file: Path, header: int) -> np.ndarray:
    with gzip.open(file) as stream:
        return np.frombuffer(stream.read(), np.uint8, offset=header)

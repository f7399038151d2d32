"""Logs read back, piece by piece."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.exposures.arrays import Counts, runs


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive whole batches from ``first`` on: steps, sizes and fates (b,); records (v,)."""

    first: int
    steps: NDArray[np.uint32]
    sizes: Counts
    applied: NDArray[np.bool_]
    records: NDArray[np.uint32]

    @property
    def batches(self) -> Counts:
        """The number of each batch (b,)."""
        return np.arange(self.first, self.first + len(self.sizes))


def pieces(log: Path, least: int = 1) -> Iterator[Piece]:
    """What a log says, in order, in pieces of at least this many visits, but for the last."""
    file = pq.ParquetFile(log)
    groups: list[int] = []
    waiting = 0
    for number in range(file.metadata.num_row_groups):
        groups.append(number)
        waiting += file.metadata.row_group(number).num_rows
        if waiting >= least:
            yield _piece(file, groups)
            groups, waiting = [], 0
    if groups:
        yield _piece(file, groups)


def last_record(log: Path) -> int:
    """The highest position that a log names."""
    about = pq.ParquetFile(log).metadata
    column = about.schema.names.index("record")
    groups = range(about.num_row_groups)
    highest: int = max(about.row_group(group).column(column).statistics.max for group in groups)
    return highest


def _piece(file: pq.ParquetFile, groups: list[int]) -> Piece:
    """Some row groups; a batch is never in two of them."""
    table = file.read_row_groups(groups, use_threads=False)
    batch, step, applied, record = (column.to_numpy() for column in table.columns)
    starts, sizes = runs(batch)
    return Piece(int(batch[0]), step[starts], sizes, applied[starts], record)

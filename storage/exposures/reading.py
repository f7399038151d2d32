"""Asking a recording: record → batches, batch → records; complete, compacted or not."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from storage.errors import RecordingError
from storage.exposures.arrays import distinct, runs, summed, within
from storage.exposures.files import File, Kind
from storage.exposures.pieces import Piece, pieces
from storage.objects import Objects

Positions = NDArray[np.integer]
"""Positions of records in their dataset, ascending, each once."""

TOGETHER = 16
"""Row groups that are read together where all are: a quarter of a million visits."""

Pairs = tuple[NDArray[np.intp], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class Batches:
    """One entry a batch, in order (b,): its step, its records, and whether the step learned it."""

    step: NDArray[np.int64]
    size: NDArray[np.int64]
    applied: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Found:
    """Visits as pairs (v,): the record ``rows[i]`` of those asked about is in ``batches[i]``.

    Sorted by row, then by batch; a record that a batch holds twice has two pairs.
    """

    rows: NDArray[np.intp]
    batches: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Sorted:
    """A file of visits, open: its row groups begin with these records."""

    file: pq.ParquetFile
    begins: NDArray[np.int64]


class Exposures:
    """An open recording. A file is verified when it is opened, and stays open.

    Raises (every question):
        CorruptObjectError: a file is missing or damaged.
    """

    def __init__(self, objects: Objects, files: Sequence[File]) -> None:
        self._objects = objects
        self._logs = _of(files, Kind.LOG)
        self._sorted = _of(files, Kind.VISITS)
        self._tables = {file.kind: file for file in files}
        self._open: dict[str, _Sorted] = {}

    @cached_property
    def batches(self) -> Batches:
        """Every batch."""
        if Kind.BATCHES in self._tables:
            step, size, applied = self._columns(Kind.BATCHES)
            return Batches(step.astype(np.int64), size.astype(np.int64), applied)
        read = [(piece.steps, piece.sizes, piece.applied) for piece in self._pieces()]
        return Batches(
            _joined([steps for steps, _, _ in read]),
            _joined([sizes for _, sizes, _ in read]),
            _joined([applied for _, _, applied in read]).astype(np.bool_),
        )

    @cached_property
    def records(self) -> NDArray[np.int64]:
        """The position of every record that is visited, ascending."""
        if Kind.FIRSTS in self._tables:
            return self._firsts[0]
        return distinct(_joined([distinct(piece.records) for piece in self._pieces()]))

    def visits(self, positions: Positions) -> Found:
        """Every batch that holds some of these records."""
        pairs = [*self._in_sorted(positions), *self._in_logs(positions)]
        rows = _joined([rows for rows, _ in pairs])
        batches = _joined([batches for _, batches in pairs])
        order = np.argsort(rows, kind="stable")  # of each row, batches came in order
        return Found(rows[order], batches[order])

    def every(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """All visits, piece by piece, as record and batch (v,); by record once compacted.

        Each walk opens the files for itself, so that several threads may walk at once.
        """
        for each in self._sorted:
            file = pq.ParquetFile(self._objects.open(each.object))
            for first in range(0, file.num_row_groups, TOGETHER):
                groups = list(range(first, min(first + TOGETHER, file.num_row_groups)))
                record, gap = _read(file, groups, ["record", "gap"])
                yield record, summed(gap, runs(record)[1])
        for piece in self._pieces():
            yield piece.records.astype(np.int64), np.repeat(piece.batches, piece.sizes)

    def first_steps(self, positions: Positions, never: int) -> NDArray[np.int64]:
        """The step of the first batch that holds each record (n,); ``never`` where none does."""
        firsts = np.full(len(positions), never, np.int64)
        if Kind.FIRSTS in self._tables:
            records, steps = self._firsts
            places = np.minimum(np.searchsorted(records, positions), len(records) - 1)
            known = records[places] == positions
            firsts[known] = steps[places[known]]
        else:
            found = self.visits(positions)
            first, _ = runs(found.rows)
            firsts[found.rows[first]] = self.batches.step[found.batches[first]]
        return firsts

    def between(self, first: int, last: int, *, ordered: bool = True) -> NDArray[np.int64]:
        """The records of batches ``first:last``, one after the other, each batch in its order.

        Where the order need not be ``ordered`` and was not kept, a batch is by position.

        Raises:
            RecordingError: the order was not kept, and is needed.
        """
        found = [*self._sorted_between(first, last, ordered), *self._logged_between(first, last)]
        words = _joined([words for words, _ in found])
        order = np.argsort(words, kind=None if ordered else "stable")
        return _joined([records for _, records in found])[order]

    @cached_property
    def _firsts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        record, step = self._columns(Kind.FIRSTS)
        return record.astype(np.int64), step.astype(np.int64)

    def _columns(self, kind: Kind) -> list[NDArray[Any]]:
        path = self._objects.open(self._tables[kind].object)
        # Not `read_table`, which imports PyArrow's datasets: longer than the whole question takes.
        table = pq.ParquetFile(path).read(use_threads=False)
        return [column.to_numpy() for column in table.columns]

    def _in_sorted(self, positions: Positions) -> Iterator[Pairs]:
        """Row and batch of each visit in the files of visits, file by file."""
        owners = np.searchsorted([each.first for each in self._sorted], positions, side="right") - 1
        for owner in distinct(owners[owners >= 0]):
            mine = np.flatnonzero(owners == owner)
            opened = self._opened(self._sorted[owner])
            groups = np.searchsorted(opened.begins, positions[mine], side="right") - 1
            wanted = distinct(groups[groups >= 0]).tolist()
            if wanted:
                record, gap = _read(opened.file, wanted, ["record", "gap"])
                lows = np.searchsorted(record, positions[mine], side="left")
                counts = np.searchsorted(record, positions[mine], side="right") - lows
                visits = np.repeat(lows, counts) + within(counts)
                yield np.repeat(mine, counts), summed(gap[visits], counts)

    def _in_logs(self, positions: Positions) -> Iterator[Pairs]:
        if not len(positions):
            return
        for piece in self._pieces():
            places = np.searchsorted(positions, piece.records)
            places[places == len(positions)] = 0
            hits = np.flatnonzero(positions[places] == piece.records)
            yield places[hits], np.repeat(piece.batches, piece.sizes)[hits]

    def _sorted_between(self, first: int, last: int, ordered: bool) -> Iterator[Pairs]:
        """A word that sorts visits as they were, and the record of each."""
        for each in self._sorted:
            file = self._opened(each).file
            columns = [name for name in ("record", "gap", "place") if name in file.schema.names]
            if ordered and "place" not in columns:
                raise RecordingError(
                    "the order inside the batches of this recording was not kept",
                    hint="it answers questions, but nothing can be trained again from it",
                )
            for group in range(file.metadata.num_row_groups):
                record, gap, *place = _read(file, [group], columns)
                batch = summed(gap, runs(record)[1])
                inside = (batch >= first) & (batch < last)
                words = batch << 16 | place[0] if place else batch << 16
                yield words[inside], record[inside]

    def _logged_between(self, first: int, last: int) -> Iterator[Pairs]:
        for piece in self._pieces(first, last):
            batch = np.repeat(piece.batches, piece.sizes)
            inside = (batch >= first) & (batch < last)
            words = batch << 16 | within(piece.sizes)
            yield words[inside], piece.records[inside].astype(np.int64)

    def _pieces(self, first: int = 0, last: int = 2**32) -> Iterator[Piece]:
        """The pieces of the logs that may hold batches of ``first:last``."""
        for log in self._logs:
            if log.first < last and log.last > first:
                yield from pieces(self._objects.open(log.object))

    def _opened(self, file: File) -> _Sorted:
        if file.object not in self._open:
            opened = pq.ParquetFile(self._objects.open(file.object))
            about = opened.metadata
            groups = range(about.num_row_groups)
            begins = [about.row_group(group).column(0).statistics.min for group in groups]
            self._open[file.object] = _Sorted(opened, np.array(begins, np.int64))
        return self._open[file.object]


def _read(file: pq.ParquetFile, groups: list[int], names: list[str]) -> list[NDArray[np.int64]]:
    table: pa.Table = file.read_row_groups(groups, columns=names, use_threads=False)
    return [column.to_numpy().astype(np.int64) for column in table.columns]


def _joined(arrays: Sequence[NDArray[np.generic]]) -> NDArray[np.int64]:
    joined: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *arrays])
    return joined


def _of(files: Sequence[File], kind: Kind) -> list[File]:
    return sorted((file for file in files if file.kind is kind), key=lambda file: file.first)

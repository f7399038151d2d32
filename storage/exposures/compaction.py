"""From logs in the order of time to files in the order of records, in bounded memory.

A radix sort in two passes over a temporary file. A visit is one 64-bit word, ``record ‖ batch ‖
place`` (16, 32, 16 bits) with the record counted within its range of positions. The first pass
deals the words of each piece of the logs out to ranges; the second sorts the words of each range,
which is one file.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from storage.exposures.arrays import runs, within
from storage.exposures.files import File, Kind, Writer
from storage.exposures.pieces import Piece, last_record, pieces
from storage.objects import Objects

PIECE = 2**21
"""Visits that are dealt out together, about."""

RANGES = range(2**16)
"""A record within its range takes 16 bits; so does the number of a range."""

VISITS_A_FILE = 2**22
"""Visits of a file, about, where records are visited equally often."""

ROW_GROUP = 2**14
"""Visits of a row group, about: all of a record are in one, which is what a question reads."""

Column = NDArray[np.generic]
Words = NDArray[np.uint64]


def compact(objects: Objects, logs: Sequence[File], *, ordered: bool) -> tuple[File, ...]:
    """Write the files that say what these logs say, sorted by record; returns them.

    The logs are all of a recording, in order, and stay. ``ordered`` keeps each visit's place in its
    batch, without which batches can be told but not trained on again as they were.

    Raises:
        CorruptObjectError: a log is missing or damaged.
    """
    visits = sum(log.visits for log in logs)
    if not visits:
        return ()
    sources = [objects.open(log.object) for log in logs]
    path = objects.temporary()
    try:
        with path.open("w+b") as file:
            records = max(map(last_record, sources)) + 1
            spool = _Spool(file, _bits(visits, records), records)
            steps, *others = _deal(sources, spool)
            batches = _written(objects, Kind.BATCHES, steps, *others)
            return (
                File(Kind.BATCHES, batches, 0, len(steps), visits),
                *_sorted_files(objects, spool, steps, ordered),
            )
    finally:
        path.unlink(missing_ok=True)


def _bits(visits: int, records: int) -> int:
    """Ranges have ``2**bits`` positions: few enough visits a file, and few enough ranges."""
    wanted = max(VISITS_A_FILE * records // visits, 1)
    fewest, most = (records // len(RANGES)).bit_length(), len(RANGES).bit_length() - 1
    return min(max(wanted.bit_length() - 1, fewest), most)


@dataclass
class _Spool:
    """Words in a temporary file: piece after piece, each piece by range."""

    file: BinaryIO
    bits: int
    records: int
    bounds: list[NDArray[np.int64]] = field(default_factory=list)

    def add(self, piece: Piece, first_batch: int) -> None:
        ranges = (piece.records >> np.uint32(self.bits)).astype(np.uint16)
        counts = np.bincount(ranges, minlength=(self.records - 1 >> self.bits) + 1)
        self.bounds.append(np.concatenate(([0], np.cumsum(counts))))
        words = _words(piece, first_batch, np.uint32(2**self.bits - 1))
        self.file.write(words[np.argsort(ranges, kind="stable")].data)

    def ranges(self) -> Iterator[tuple[int, Words]]:
        """The first position of each range that is visited, and its words, in any order."""
        self.file.flush()
        visited = np.any([np.diff(bounds) > 0 for bounds in self.bounds], axis=0)
        for number in np.flatnonzero(visited).tolist():
            yield number << self.bits, self._words_of(number)

    def _words_of(self, number: int) -> Words:
        found = []
        begin = 0
        for bounds in self.bounds:
            low, high, end = bounds[[number, number + 1, -1]].tolist()
            if low < high:
                found.append(os.pread(self.file.fileno(), 8 * (high - low), 8 * (begin + low)))
            begin += end
        return np.frombuffer(b"".join(found), np.uint64)


def _deal(sources: Sequence[Path], spool: _Spool) -> tuple[Column, Column, Column]:
    """The first pass; returns step, size and fate of every batch."""
    steps, sizes, applied = [], [], []
    batch = 0
    for source in sources:
        for piece in pieces(source, PIECE):
            spool.add(piece, batch)
            batch += len(piece.sizes)
            steps.append(piece.steps)
            sizes.append(piece.sizes)
            applied.append(piece.applied)
    return np.concatenate(steps), np.concatenate(sizes), np.concatenate(applied)


def _words(piece: Piece, first_batch: int, mask: np.uint32) -> Words:
    numbers = np.arange(first_batch, first_batch + len(piece.sizes), dtype=np.uint64)
    words: Words = np.repeat(numbers << np.uint64(16), piece.sizes)
    words |= within(piece.sizes).view(np.uint64)
    words |= (piece.records & mask).astype(np.uint64) << np.uint64(48)
    return words


def _sorted_files(objects: Objects, spool: _Spool, steps: Column, ordered: bool) -> Iterator[File]:
    """The second pass: a file of visits a range, and one of the first visits of all."""
    records, firsts = [], []
    for first, words in spool.ranges():
        words = np.sort(words)
        record = (words >> np.uint64(48)).astype(np.uint32) + np.uint32(first)
        batch = (words >> np.uint64(16)).astype(np.uint32)
        place = (words.astype(np.uint16),) if ordered else ()
        starts, _ = runs(record)
        records.append(record[starts])
        firsts.append(steps[batch[starts]])
        gaps = np.diff(batch, prepend=np.uint32(0))
        gaps[starts] = batch[starts]
        digest = _written(objects, Kind.VISITS, record, gaps, *place, starts=starts)
        yield File(Kind.VISITS, digest, first, first + 2**spool.bits, len(words))
    digest = _written(objects, Kind.FIRSTS, np.concatenate(records), np.concatenate(firsts))
    yield File(Kind.FIRSTS, digest, 0, int(records[-1][-1]) + 1, sum(map(len, records)))


def _written(objects: Objects, kind: Kind, *columns: Column, starts: Column | None = None) -> str:
    """A file of these columns, made durable; its row groups begin at some of the starts."""
    length = len(columns[0])
    cuts = np.zeros(1, np.int64)
    if starts is not None:
        places = np.searchsorted(starts, np.arange(0, length, ROW_GROUP))
        cuts = np.unique(starts[places[places < len(starts)]])
    path = objects.temporary()
    try:
        writer = Writer(kind, path, len(columns))
        for low, high in zip(cuts, np.append(cuts[1:], length), strict=True):
            writer.write(*(column[low:high] for column in columns))
        writer.close()
        return objects.put_file(path)
    finally:
        path.unlink(missing_ok=True)

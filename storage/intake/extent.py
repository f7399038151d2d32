"""Typed files that are more than one: every byte of a file must belong to what its footer names.

A reader looks for the footer at the end, so of two files that were joined it sees one, or takes the
bytes of one for the other's. Sources: the Parquet format's README and parquet.thrift; the Arrow
columnar format, "IPC File Format".
"""

import mmap
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from storage.errors import InvalidInputError
from storage.intake.thrift import DamagedThriftError, Struct, read_struct
from storage.intake.typed import FILE_START, batch_messages, is_parquet

_PARQUET = b"PAR1"
_ARROW = b"ARROW1"
_BLOOM_HEADER = 64
"""Bytes that the header of a Bloom filter has at most."""

_MOST_METADATA = 1 << 20
"""Bytes that the metadata of a column have at most, statistics of long texts included."""

Extent = tuple[int, int]
"""A first byte, and the byte after the last."""


def check_extent(path: Path) -> None:
    """Make sure that a Parquet or Arrow file, which can be read, is one file.

    Raises:
        InvalidInputError: it is several, or has bytes that are no part of it.
        DAMAGE: its footer is damaged.
    """
    if not (_is_one_parquet(path) if is_parquet(path) else _is_one_arrow(path)):
        kind = "Parquet" if is_parquet(path) else "Arrow"
        raise InvalidInputError(
            f"{path} holds more than one {kind} file, or bytes that are no part of one",
            hint="take in files that were joined one by one, or write the file anew",
        )


def _is_one_arrow(path: Path) -> bool:
    mapped = pa.memory_map(str(path))
    size = mapped.size()
    first, last = mapped.read_at(len(_ARROW), 0), mapped.read_at(len(_ARROW), size - len(_ARROW))
    if first != _ARROW:
        batch_messages(mapped)
        return bool(mapped.tell() == size and last != _ARROW)
    mapped.seek(FILE_START)
    batch_messages(mapped)
    tail = len(_ARROW) + 4
    footer = int.from_bytes(mapped.read_at(4, size - tail), "little")
    return bool(mapped.tell() == size - tail - footer)


def _is_one_parquet(path: Path) -> bool:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        tail = len(_PARQUET) + 4
        end = len(data) - tail
        footer = end - int.from_bytes(data[end : end + 4], "little")
        try:
            metadata, _ = read_struct(data[footer:end])
            extents = sorted(_extents(metadata, data))
        except (DamagedThriftError, KeyError, TypeError):
            raise pa.ArrowInvalid("the footer is damaged") from None
        gaps = _gaps([(0, len(_PARQUET)), *extents, (footer, footer)])
        # Row groups may be padded to the blocks of a file system.
        padding = not any(any(data[start:stop]) for start, stop in gaps)
        return data[: len(_PARQUET)] == _PARQUET and padding


def _extents(metadata: Struct, data: mmap.mmap) -> Iterator[Extent]:
    """Yield what a footer says is in the file: pages, metadata, indexes and Bloom filters."""
    for group in metadata[4]:
        for chunk in group[1]:
            column = chunk[3]
            start = min(filter(None, (column[9], column.get(11), column.get(10))))
            yield start, start + column[7]
            if chunk[2] >= start + column[7]:  # Arrow's writer left a copy of the metadata there
                yield chunk[2], _end_of_struct(data, chunk[2])
            for place, length in ((4, 5), (6, 7)):
                if place in chunk:
                    yield chunk[place], chunk[place] + chunk[length]
            if 14 in column:
                yield column[14], _bloom_end(column, data)


def _end_of_struct(data: mmap.mmap, start: int) -> int:
    return start + read_struct(data[start : start + _MOST_METADATA])[1]


def _bloom_end(column: Struct, data: mmap.mmap) -> int:
    """Return where a Bloom filter ends; older writers say so only in its own header."""
    start: int = column[14]
    if 15 in column:
        return start + int(column[15])
    header, length = read_struct(data[start : start + _BLOOM_HEADER])
    return start + length + int(header[1])


def _gaps(extents: list[Extent]) -> Iterator[Extent]:
    """Yield what lies between extents that are in order."""
    reached = 0
    for start, stop in extents:
        if start > reached:
            yield reached, start
        reached = max(reached, stop)

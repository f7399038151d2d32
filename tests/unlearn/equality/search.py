"""Looking for bytes in a folder: in its files, and in what they hold once they are decoded."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq


def found(folder: Path, needles: Mapping[str, bytes]) -> dict[str, set[str]]:
    """Which needles are anywhere under a folder: the name of each, and the files that hold it."""
    places: dict[str, set[str]] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        for hay in _decoded(file):
            for name, needle in needles.items():
                if needle in hay:
                    places.setdefault(name, set()).add(str(file.relative_to(folder)))
    return places


def _decoded(file: Path) -> Iterator[bytes]:
    content = file.read_bytes()
    yield content
    if content.startswith(b"PAR1"):
        table = pq.read_table(file)
        yield repr(table.schema.metadata).encode()
        for name in table.column_names:
            yield from _column(table[name].combine_chunks())
    elif content.startswith(b"SQLite format 3"):
        yield from _rows(file)


def _column(column: pa.Array) -> Iterator[bytes]:
    """The cells back to back: numbers as they lie in memory, little endian; text as UTF-8."""
    if pa.types.is_fixed_size_list(column.type) or pa.types.is_list(column.type):
        yield from _column(pc.list_flatten(column))
    elif pa.types.is_string(column.type):
        yield "\n".join(text for text in column.to_pylist() if text is not None).encode()
    elif pa.types.is_fixed_size_binary(column.type) or pa.types.is_binary(column.type):
        yield b"\n".join(cell for cell in column.to_pylist() if cell is not None)
    else:
        yield column.drop_null().to_numpy(zero_copy_only=False).tobytes()


def _rows(file: Path) -> Iterator[bytes]:
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as catalogue:
        tables = catalogue.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            yield b"\n".join(_cells(catalogue.execute(f'SELECT * FROM "{table}"')))


def _cells(rows: Iterable[tuple[object, ...]]) -> Iterator[bytes]:
    for row in rows:
        for cell in row:
            yield cell if isinstance(cell, bytes) else str(cell).encode()

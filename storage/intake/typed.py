"""Typed files from outside, Parquet and Arrow: their batches, checked before anything reads a cell.

One damaged byte may let an offset point out of its buffer, and reading there ends the process. So
every batch is validated in full before it is used; and a file that ends early has no fewer rows
than it says.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

DAMAGE = (pa.ArrowException, OSError, UnicodeDecodeError)
"""What reading a damaged file raises."""

ROWS = 65_536
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
FILE_START = 8
"""The bytes before the first message of an Arrow file."""


def typed_schema(path: Path) -> pa.Schema:
    """Return the columns of a Parquet or Arrow file.

    Raises:
        DAMAGE: it is neither, or damaged; so does `typed_batches`.
    """
    schema = pq.read_schema(path) if is_parquet(path) else _open_arrow(path).schema
    str([(field.name, field.type) for field in schema])  # names are decoded when they are read
    return schema


def typed_batches(path: Path) -> Iterator[pa.RecordBatch]:
    """Read the rows of a Parquet or Arrow file, at most `ROWS` at a time."""
    for batch in _parquet_batches(path) if is_parquet(path) else _arrow_batches(path):
        _validate(batch)
        for start in range(0, batch.num_rows, ROWS):
            yield batch.slice(start, ROWS)


def _validate(batch: pa.RecordBatch) -> None:
    batch.validate()
    for cells in batch.columns:
        # Whether text is UTF-8 is asked later, where the answer can name a row.
        (cells.view(pa.binary()) if pa.types.is_string(cells.type) else cells).validate(full=True)


def is_parquet(path: Path) -> bool:
    """Return True if a file says by its extension that it is Parquet."""
    return path.suffix.lower() == ".parquet"


def _parquet_batches(path: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        rows = 0
        for batch in file.iter_batches(batch_size=ROWS):
            yield batch
            rows += batch.num_rows
        if rows != file.metadata.num_rows:
            raise pa.ArrowInvalid("the file says that it has other rows")


def _open_arrow(path: Path) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    mapped = pa.memory_map(str(path))
    try:
        return pa.ipc.open_file(mapped)
    except pa.ArrowInvalid:
        mapped.seek(0)
        return pa.ipc.open_stream(mapped)


def _arrow_batches(path: Path) -> Iterator[pa.RecordBatch]:
    reader = _open_arrow(path)
    if isinstance(reader, pa.RecordBatchFileReader):
        if reader.num_record_batches != _batches_before_footer(path):
            raise pa.ArrowInvalid("the footer does not name every batch")
        for index in range(reader.num_record_batches):
            yield reader.get_batch(index)
    else:
        yield from reader
        _check_stream_end(path)


def _batches_before_footer(path: Path) -> int:
    mapped = pa.memory_map(str(path))
    mapped.seek(FILE_START)
    return batch_messages(mapped)


def _check_stream_end(path: Path) -> None:
    """A stream that was cut between two batches reads like a whole one, but for its end mark."""
    mapped = pa.memory_map(str(path))
    batch_messages(mapped)
    if mapped.tell() != mapped.size() or mapped.read_at(8, mapped.size() - 8) != _STREAM_END:
        raise pa.ArrowInvalid("the stream does not end where the file does")


def batch_messages(mapped: pa.MemoryMappedFile) -> int:
    """Return how many batches come before the end mark, and leave the file behind that mark."""
    messages = pa.ipc.MessageReader.open_stream(mapped)
    found = 0
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            return found
        found += message.type == "record batch"

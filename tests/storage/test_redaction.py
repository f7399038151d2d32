"""An erased row is nowhere in the new files: no page, dictionary, statistic or footer has it."""

import struct
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from storage.intake import Column, ColumnKind, arrow_schema
from storage.manifests import (
    Chunk,
    find,
    identified,
    read_commitments,
    read_rows,
    redact,
    write_chunks,
)
from storage.objects import Objects

SALT = b"k" * 32
MAGIC = b"\x28\xb5\x2f\xfd"
COLUMNS = (
    Column(name="id", kind=ColumnKind.TEXT),
    Column(name="who", kind=ColumnKind.TEXT),
    Column(name="number", kind=ColumnKind.INTEGER),
    Column(name="real", kind=ColumnKind.REAL),
    Column(name="single", kind=ColumnKind.REAL32),
    Column(name="label", kind=ColumnKind.CATEGORY, categories=("common", "only-theirs")),
    Column(name="image", kind=ColumnKind.VECTOR, element="uint8", length=6),
)
THEIRS: dict[str, Any] = {
    "id": "record-theirs",
    "who": "Ursula Theirs",
    "number": 0x1122334455667788,
    "real": 1234.56789,
    "single": 98.75,
    "label": "only-theirs",
    "image": [201, 202, 203, 204, 205, 206],
}
BYTES = {
    "id": b"record-theirs",
    "who": b"Ursula Theirs",
    "number": struct.pack("<q", THEIRS["number"]),
    "real": struct.pack("<d", THEIRS["real"]),
    "single": struct.pack("<f", THEIRS["single"]),
    "label": b"only-theirs",
    "image": struct.pack("<6i", *THEIRS["image"]),  # Parquet has no smaller integer
}


def frame_end(data: bytes, start: int) -> tuple[int, int]:
    """Where the zstd frame at ``start`` ends, and how long its content is (RFC 8878, 3.1.1)."""
    descriptor = data[start + 4]
    single = descriptor >> 5 & 1
    at = start + 5 + (1 - single) + (0, 1, 2, 4)[descriptor & 3]
    width = (single, 2, 4, 8)[descriptor >> 6]
    size = int.from_bytes(data[at : at + width], "little") + (256 if width == 2 else 0)
    at += width
    for _ in count():
        header = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if header >> 1 & 3 == 1 else header >> 3)
        if header & 1:
            return at + (4 if descriptor & 4 else 0), size
    raise AssertionError


def pages(data: bytes) -> Iterator[bytes]:
    """The content of every compressed page, dictionaries too."""
    start = data.find(MAGIC)
    while start >= 0:
        end, size = frame_end(data, start)
        if size:
            yield pa.Codec("zstd").decompress(data[start:end], size).to_pybytes()
        start = data.find(MAGIC, end)


def everything_in(path: Path) -> bytes:
    """The file as it lies there, and the same with each page decompressed, and what readers see."""
    raw = path.read_bytes()
    with pq.ParquetFile(path) as file:
        seen = f"{file.metadata.to_dict()} {file.schema_arrow.metadata} {file.read().to_pydict()}"
        pages_expected = sum(
            file.metadata.row_group(g).num_columns for g in range(file.metadata.num_row_groups)
        )
    decompressed = list(pages(raw))
    assert len(decompressed) >= pages_expected
    return b"\x00".join([raw, *decompressed, seen.encode()])


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path)


def rows(theirs: int, total: int) -> pa.RecordBatch:
    def other(at: int) -> dict[str, Any]:
        return {
            "id": f"record-{at}",
            "who": f"person-{at % 5}",
            "number": at,
            "real": at / 3,
            "single": float(at),
            "label": "common",
            "image": [at % 100] * 6,
        }

    listed = [THEIRS if at == theirs else other(at) for at in range(total)]
    return pa.RecordBatch.from_pylist(listed, schema=arrow_schema(COLUMNS))


def written(objects: Objects, batch: pa.RecordBatch, first_position: int = 0) -> Chunk:
    [chunk] = write_chunks(
        objects,
        identified(
            [batch],
            first_position=first_position,
            id_columns=("id",),
            subject_columns=("who",),
        ),
        COLUMNS,
        first_position=first_position,
        salt=SALT,
        namespace="voices",
    )
    return chunk


def secrets_of(objects: Objects, chunk: Chunk, row: int) -> list[bytes]:
    """The bytes of one row that only its manifest holds: digest, key, placement, salt."""
    with pq.ParquetFile(objects.open(chunk.manifest)) as file:
        table = file.read().slice(row, 1).to_pylist()[0]
    return [
        table["digest"],
        table["salt"],
        struct.pack("<Q", table["key"]),
        struct.pack("<Q", table["placement"]),
    ]


@pytest.mark.parametrize("total", [1, 400])
def test_no_byte_of_an_erased_row_is_left_in_the_new_files(objects: Objects, total: int) -> None:
    theirs = total // 2
    old = written(objects, rows(theirs, total), first_position=1_000)
    new = redact(objects, old, BitMap([1_000 + theirs]))
    known = secrets_of(objects, old, theirs)
    for before, after, values in (
        (old.data, new.data, list(BYTES.values())),
        (old.manifest, new.manifest, [BYTES["id"], BYTES["who"], *known]),
    ):
        held, holds = everything_in(objects.open(before)), everything_in(objects.open(after))
        for value in values:
            assert value in held, "the search would not see it"
            assert value not in holds
        for value in (THEIRS["number"], THEIRS["real"], THEIRS["single"]):
            assert before == old.manifest or str(value).encode() in held
            assert str(value).encode() not in holds


def test_the_other_rows_and_every_position_and_commitment_stay(objects: Objects) -> None:
    old = written(objects, rows(3, 9), first_position=50)
    new = redact(objects, old, BitMap([53, 55, 7, 4_000_000_000]))
    assert (new.first_position, new.rows) == (50, 9)
    assert np.array_equal(read_commitments(objects, [new]), read_commitments(objects, [old]))
    with pq.ParquetFile(objects.open(new.manifest)) as file:
        table = file.read()
    assert table.column("position").to_pylist() == list(range(50, 59))
    for name in ("record", "subjects", "digest", "key", "placement", "salt"):
        gone = [at for at, value in enumerate(table.column(name).to_pylist()) if value is None]
        assert gone == [3, 5]
    before, after = (read_rows(objects, [chunk], COLUMNS) for chunk in (old, new))
    stay = [0, 1, 2, 4, 6, 7, 8]
    for name, values in before.items():
        assert np.array_equal(values[stay], after[name][stay])
    assert old.data in objects
    assert old.manifest in objects
    assert find(objects, [new], subjects=["Ursula Theirs"])["Ursula Theirs"].tolist() == []


def test_erasing_nothing_of_a_chunk_returns_the_chunk(objects: Objects) -> None:
    chunk = written(objects, rows(0, 4), first_position=10)
    assert redact(objects, chunk, BitMap([9, 14])) == chunk


@pytest.mark.no_cover
@given(st.sets(st.integers(0, 7)), st.sets(st.integers(0, 7)))
def test_erasing_twice_is_erasing_once_and_the_order_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, first: set[int], second: set[int]
) -> None:
    objects = Objects(tmp_path_factory.mktemp("redact"))
    chunk = written(objects, rows(2, 8))
    together = redact(objects, chunk, BitMap(first | second))
    step = redact(objects, redact(objects, chunk, BitMap(first)), BitMap(second))
    assert step == together
    assert redact(objects, together, BitMap(first)) == together


def test_the_name_of_the_old_file_confirms_no_guess_at_its_rows(
    objects: Objects, tmp_path_factory: pytest.TempPathFactory
) -> None:
    old = written(objects, rows(0, 1))
    guessed = written(Objects(tmp_path_factory.mktemp("guess")), rows(0, 1))
    assert guessed.data != old.data
    assert guessed.manifest != old.manifest

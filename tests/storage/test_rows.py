import struct
from hashlib import blake2b, sha256
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidInputError
from storage.ids import record_ids
from storage.rows import (
    cell_text,
    commit_rows,
    keys_of,
    record_digests,
    subject_digests,
)

SALT = b"k" * 32
FORMATS = {"int64": "<q", "float": "<f", "double": "<d", "bool": "<B"}
TYPES: dict[str, tuple[pa.DataType, st.SearchStrategy[Any]]] = {
    "bool": (pa.bool_(), st.booleans()),
    "int64": (pa.int64(), st.integers(-(2**63), 2**63 - 1)),
    "float": (pa.float32(), st.floats(width=32)),
    "double": (pa.float64(), st.floats()),
    "string": (pa.string(), st.text(max_size=5)),
    "bytes": (pa.list_(pa.uint8(), 3), st.lists(st.integers(0, 255), min_size=3, max_size=3)),
    "shorts": (pa.list_(pa.int16(), 2), st.lists(st.integers(-9, 9), min_size=2, max_size=2)),
    "floats": (pa.list_(pa.float64(), 2), st.lists(st.floats(), min_size=2, max_size=2)),
}
ELEMENTS = {"bytes": "<B", "shorts": "<h", "floats": "<d"}
NULLS = {"bytes": 8 + 3, "shorts": 8 + 4, "floats": 8 + 16, "string": 8}


def number(form: str, value: float) -> bytes:
    if value != value:
        return bytes.fromhex({"<f": "0000c07f", "<d": "000000000000f87f"}[form])
    return struct.pack(form, value)


def cell(kind: str, value: Any) -> bytes:
    if value is None:
        return b"\x00" + bytes(NULLS.get(kind) or struct.calcsize(FORMATS[kind]))
    if kind == "string":
        return b"\x01" + struct.pack("<Q", len(value.encode())) + value.encode()
    if kind in ELEMENTS:
        elements = b"".join(number(ELEMENTS[kind], x) for x in value)
        return b"\x01" + struct.pack("<Q", len(value)) + elements
    return b"\x01" + number(FORMATS[kind], value)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[tuple[Any, ...]]]:
    kinds = draw(st.lists(st.sampled_from(sorted(TYPES)), min_size=1, max_size=5))
    row = st.tuples(*(st.none() | TYPES[kind][1] for kind in kinds))
    return kinds, draw(st.lists(row, min_size=1, max_size=6))


def batch_of(kinds: list[str], rows: list[tuple[Any, ...]]) -> pa.RecordBatch:
    columns = [pa.array([row[at] for row in rows], TYPES[kind][0]) for at, kind in enumerate(kinds)]
    return pa.record_batch(columns, names=[f"c{at}" for at in range(len(kinds))])


def salts_of(rows: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(rows).integers(0, 256, (rows, 16), dtype=np.uint8)


@given(tables())
def test_a_commitment_is_the_hash_of_the_salt_and_the_documented_bytes(
    table: tuple[list[str], list[tuple[Any, ...]]],
) -> None:
    kinds, rows = table
    salts = salts_of(len(rows))
    expected = [
        sha256(salt.tobytes() + b"".join(map(cell, kinds, row))).digest()
        for salt, row in zip(salts, rows, strict=True)
    ]
    assert [c.tobytes() for c in commit_rows(batch_of(kinds, rows), salts)] == expected


@given(tables(), st.data())
def test_slices_and_parquet_give_the_same_commitments(
    tmp_path_factory: pytest.TempPathFactory,
    table: tuple[list[str], list[tuple[Any, ...]]],
    data: st.DataObject,
) -> None:
    batch, salts = batch_of(*table), salts_of(len(table[1]))
    whole = commit_rows(batch, salts)
    start = data.draw(st.integers(0, len(salts)))
    assert np.array_equal(commit_rows(batch.slice(start), salts[start:]), whole[start:])
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    pq.write_table(pa.Table.from_batches([batch]), path)
    again = pq.read_table(path).combine_chunks().to_batches()[0]
    assert np.array_equal(commit_rows(again, salts), whole)


def test_the_first_commitment_ever_published_does_not_change() -> None:
    batch = pa.record_batch({"age": [72, None], "note": ["é", ""], "flag": [True, False]})
    salts = np.zeros((2, 16), dtype=np.uint8)
    encoded = "01" + "4800000000000000" + "01" + "0200000000000000" + "c3a9" + "0101"
    assert commit_rows(batch, salts)[0].tobytes() == (
        sha256(bytes(16) + bytes.fromhex(encoded)).digest()
    )


def test_no_rows_have_no_commitments() -> None:
    empty = pa.record_batch({"x": pa.array([], pa.int64())})
    assert commit_rows(empty, np.empty((0, 16), dtype=np.uint8)).shape == (0, 32)


def test_every_nan_is_one_nan_and_the_zeros_differ() -> None:
    other_nan = struct.unpack("<d", bytes.fromhex("010000000000f8ff"))[0]
    values = np.array([np.nan, other_nan, 0.0, -0.0])
    batch = pa.record_batch({"x": values})
    committed = commit_rows(batch, np.zeros((4, 16), dtype=np.uint8))
    assert np.array_equal(committed[0], committed[1])
    assert not np.array_equal(committed[2], committed[3])


@pytest.mark.parametrize(
    "cells",
    [pa.array([1], pa.int32()), pa.array([{"a": 1}]), pa.array([["x"]], pa.list_(pa.string(), 1))],
)
def test_a_type_outside_the_encoding_is_refused(cells: Any) -> None:
    batch = pa.record_batch({"x": cells})
    with pytest.raises(InvalidInputError, match=r"column 'x' has type .* row/1 does not know"):
        commit_rows(batch, np.zeros((1, 16), dtype=np.uint8))


@given(st.lists(st.text(max_size=9), max_size=5), st.binary(min_size=1, max_size=64))
def test_digests_are_keyed_blake2b_of_the_id(ids: list[str], salt: bytes) -> None:
    expected = [
        blake2b(i.encode(), digest_size=32, key=salt, person=b"expunge-record").digest()
        for i in ids
    ]
    for given_ids in (ids, pa.array(ids, pa.string())):
        digests = record_digests(given_ids, salt)
        assert [digest.tobytes() for digest in digests] == expected
        assert keys_of(digests).tolist() == [int.from_bytes(d[:8], "big") for d in expected]


def test_a_subject_is_another_in_another_namespace_and_never_a_record() -> None:
    one = subject_digests(["7"], SALT, namespace="voices")
    expected = blake2b(b"voices\x007", digest_size=32, key=SALT, person=b"expunge-subject")
    assert one.tobytes() == expected.digest()
    assert one.tobytes() != subject_digests(["7"], SALT, namespace="staff").tobytes()
    assert one.tobytes() != record_digests(["7"], SALT).tobytes()
    with pytest.raises(InvalidInputError, match="NUL"):
        subject_digests(["7"], SALT, namespace="voices\x007")


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (pa.array([7, -1], pa.int64()), ["7", "-1"]),
        (pa.array([7.0, 5.6431, 1e300, 1e-5]), ["7", "5.6431", "1e+300", "1e-05"]),
        (pa.array([0.1, 16777216.0], pa.float32()), ["0.1", "16777216"]),
        (pa.array([float("inf"), float("nan"), None]), ["inf", "nan", None]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["07", ""]), ["07", ""]),
    ],
)
def test_a_cell_has_one_text_whatever_its_type(cells: Any, texts: list[str | None]) -> None:
    assert cell_text(cells).to_pylist() == texts


@given(st.lists(st.tuples(st.text(max_size=4), st.text(max_size=4)), unique=True, max_size=20))
def test_different_composite_ids_stay_different(rows: list[tuple[str, str]]) -> None:
    batch = pa.record_batch(
        [pa.array([row[at] for row in rows], pa.string()) for at in (0, 1)], names=["a", "b"]
    )
    assert len(set(record_ids(batch, ["a", "b"]).to_pylist())) == len(rows)


def test_commitments_survive_an_unaligned_file(tmp_path: Path) -> None:
    batch = batch_of(["bool", "string", "bytes"], [(True, "a", [1, 2, 3]), (None, None, None)] * 9)
    path = tmp_path / "rows.arrow"
    with pa.ipc.new_file(path, batch.schema) as writer:
        writer.write_batch(batch.slice(1, 11))
    with pa.ipc.open_file(path) as reader:
        again = reader.get_batch(0)
    salts = salts_of(18)
    assert np.array_equal(commit_rows(again, salts[1:12]), commit_rows(batch, salts)[1:12])

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from storage.errors import CorruptObjectError
from storage.intake import Column, ColumnKind, arrow_schema, inspect
from storage.manifests import (
    Chunk,
    find,
    identified,
    read_commitments,
    read_index,
    read_names,
    read_rows,
    redact,
    write_chunks,
)
from storage.objects import Objects
from storage.rows import commit_rows, keys_of, record_digests, subject_digests

SALT = b"k" * 32
COLUMNS = (
    Column(name="id", kind=ColumnKind.TEXT),
    Column(name="who", kind=ColumnKind.INTEGER),
    Column(name="x.y", kind=ColumnKind.REAL, nullable=True),
)


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    # A path that readers with globs or partition names would misread.
    return Objects(tmp_path / "a=1 [x]*" / "objects")


def people(rows: int, start: int = 0) -> pa.RecordBatch:
    at = range(start, start + rows)
    return pa.record_batch(
        [
            pa.array([f"r{n}" for n in at]),
            pa.array([n % 3 for n in at]),
            pa.array([None if n % 4 == 3 else n / 8 for n in at], pa.float64()),
        ],
        schema=arrow_schema(COLUMNS),
    )


def chunked(
    objects: Objects,
    batches: list[pa.RecordBatch],
    columns: tuple[Column, ...] = COLUMNS,
    *,
    first_position: int = 0,
    id_columns: tuple[str, ...] = ("id",),
    subject_columns: tuple[str, ...] = ("who",),
) -> list[Chunk]:
    return list(
        write_chunks(
            objects,
            identified(
                batches,
                first_position=first_position,
                id_columns=id_columns,
                subject_columns=subject_columns,
            ),
            columns,
            first_position=first_position,
            salt=SALT,
            namespace="voices",
        )
    )


def manifest(objects: Objects, chunk: Chunk) -> pa.Table:
    with pq.ParquetFile(objects.open(chunk.manifest)) as file:
        return file.read()


@pytest.mark.parametrize("name", ["adult.csv", "parkinsons_updrs.csv"])
def test_a_real_file_comes_back_row_by_row(objects: Objects, data: Path, name: str) -> None:
    intake = inspect(data / name, id_columns=(), subject_columns=())
    chunks = chunked(
        objects, list(intake.batches(5_000)), intake.columns, id_columns=(), subject_columns=()
    )
    assert sum(chunk.rows for chunk in chunks) == intake.rows
    arrays = read_rows(objects, chunks, intake.columns)
    table = csv.read_csv(data / name)
    for column in intake.columns:
        values: Any = arrays[column.name]
        if column.kind is ColumnKind.CATEGORY:
            values = np.array(column.categories)[values]
        assert values.tolist() == table.column(column.name).to_pylist()


def test_the_manifest_holds_what_is_documented(objects: Objects) -> None:
    batches = [people(5), people(4, start=5)]
    chunks = chunked(objects, batches, first_position=100)
    assert [(chunk.first_position, chunk.rows) for chunk in chunks] == [(100, 5), (105, 4)]
    table = pa.concat_tables([manifest(objects, chunk) for chunk in chunks])
    assert table.schema.names == [
        "position",
        "record",
        "subjects",
        "digest",
        "key",
        "placement",
        "salt",
        "commitment",
    ]
    ids = [f"r{n}" for n in range(9)]
    subjects = [str(n % 3) for n in range(9)]
    digests = record_digests(ids, SALT)
    salts = np.array([list(salt) for salt in table.column("salt").to_pylist()], dtype=np.uint8)
    assert table.column("position").to_pylist() == list(range(100, 109))
    assert table.column("record").to_pylist() == ids
    assert table.column("subjects").to_pylist() == [[subject] for subject in subjects]
    assert table.column("digest").to_pylist() == [digest.tobytes() for digest in digests]
    assert table.column("key").to_pylist() == keys_of(digests).tolist()
    assert table.column("placement").to_pylist() == (
        keys_of(subject_digests(subjects, SALT, namespace="voices")).tolist()
    )
    assert len(np.unique(salts, axis=0)) == 9
    rows = pa.Table.from_batches(batches).combine_chunks().to_batches()[0]
    assert np.array_equal(read_commitments(objects, chunks), commit_rows(rows, salts))
    assert table.column("commitment").to_pylist() == [
        commitment.tobytes() for commitment in commit_rows(rows, salts)
    ]


def test_without_id_columns_the_row_number_counts_on_through_later_files(objects: Objects) -> None:
    first = chunked(objects, [people(2), people(1)], id_columns=())
    later = chunked(objects, [people(2)], id_columns=(), first_position=3)
    records = [manifest(objects, c).column("record").to_pylist() for c in first + later]
    assert records == [["1", "2"], ["3"], ["4", "5"]]


def test_several_subjects_keep_their_order_and_the_first_places(objects: Objects) -> None:
    [chunk] = chunked(objects, [people(3)], subject_columns=("who", "id"))
    table = manifest(objects, chunk)
    assert table.column("subjects").to_pylist() == [["0", "r0"], ["1", "r1"], ["2", "r2"]]
    placement = keys_of(subject_digests(["0", "1", "2"], SALT, namespace="voices"))
    assert table.column("placement").to_pylist() == placement.tolist()
    assert find(objects, [chunk], subjects=["r1", "1"])["r1"].tolist() == [1]


def test_a_record_without_a_subject_is_placed_by_its_own_key(objects: Objects) -> None:
    chunks = chunked(objects, [people(4)], subject_columns=())
    index = read_index(objects, chunks)
    assert np.array_equal(index.placement, index.keys)
    assert manifest(objects, chunks[0]).column("subjects").to_pylist() == [[]] * 4


@pytest.mark.parametrize("subject_columns", [("who",), ()])
def test_the_index_skips_erased_rows_and_its_tiebreak_still_fits(
    objects: Objects, subject_columns: tuple[str, ...]
) -> None:
    chunks = chunked(objects, [people(4), people(4, start=4)], subject_columns=subject_columns)
    chunks = [redact(objects, chunk, BitMap([1, 6])) for chunk in chunks]
    index = read_index(objects, chunks)
    assert index.positions.tolist() == [0, 2, 3, 4, 5, 7]
    expected = record_digests([f"r{n}" for n in index.positions], SALT)
    assert np.array_equal(index.keys, keys_of(expected))
    assert (index.positions.dtype, index.keys.dtype) == (np.int64, np.uint64)
    rows = np.array([5, 0, 3, 3])
    assert index.tiebreak(rows) == [digest.tobytes() for digest in expected[rows]]
    assert index.tiebreak(np.array([], dtype=np.int64)) == []


def test_nothing_was_written_reads_as_nothing(objects: Objects) -> None:
    assert read_index(objects, []).positions.shape == (0,)
    assert read_commitments(objects, []).shape == (0, 32)
    assert read_rows(objects, [], COLUMNS)["who"].dtype == np.int64
    assert find(objects, [], records=["a"])["a"].tolist() == []


@given(
    rows=st.lists(st.tuples(st.text(max_size=2), st.text(max_size=2)), min_size=1, max_size=12),
    asked=st.lists(st.text(max_size=2), max_size=4),
    erased=st.sets(st.integers(0, 11)),
    cut=st.integers(0, 12),
)
def test_find_gives_every_position_of_an_id_and_no_other(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[str, str]],
    asked: list[str],
    erased: set[int],
    cut: int,
) -> None:
    objects = Objects(tmp_path_factory.mktemp("find"))
    columns = (Column(name="a", kind=ColumnKind.TEXT), Column(name="b", kind=ColumnKind.TEXT))
    batch = pa.record_batch(
        [pa.array([row[at] for row in rows]) for at in (0, 1)], schema=arrow_schema(columns)
    )
    parts = [part for part in (batch.slice(0, cut), batch.slice(cut)) if part.num_rows]
    chunks = chunked(objects, parts, columns, id_columns=("a",), subject_columns=("b", "a"))
    chunks = [redact(objects, chunk, BitMap(erased)) for chunk in chunks]
    asked = [*asked, rows[0][0], rows[-1][1]]
    left = [(at, row) for at, row in enumerate(rows) if at not in erased]
    for found, of in (
        (find(objects, chunks, records=asked), lambda row: row[:1]),
        (find(objects, chunks, subjects=asked), lambda row: row),
    ):
        assert {name: at.tolist() for name, at in found.items()} == {
            name: [at for at, row in left if name in of(row)] for name in asked
        }


KINDS = (
    (Column(name="c", kind=ColumnKind.BOOL), [True, False], np.bool_, False),
    (Column(name="c", kind=ColumnKind.BOOL, nullable=True), [True, None], np.float64, np.nan),
    (Column(name="c", kind=ColumnKind.INTEGER), [7, 2**60 + 1], np.int64, 0),
    (Column(name="c", kind=ColumnKind.INTEGER, nullable=True), [7, None], np.float64, np.nan),
    (Column(name="c", kind=ColumnKind.INTEGER, nullable=True), [2**60 + 1, 0], np.float64, np.nan),
    (Column(name="c", kind=ColumnKind.REAL), [0.5, None], np.float64, np.nan),
    (Column(name="c", kind=ColumnKind.REAL32), [0.5, 0.25], np.float32, np.nan),
    (Column(name="c", kind=ColumnKind.TEXT), ["a", None], np.object_, None),
)


@pytest.mark.parametrize(("column", "cells", "dtype", "nothing"), KINDS)
def test_the_type_of_an_array_follows_from_the_declaration_alone(
    objects: Objects, column: Column, cells: list[Any], dtype: type, nothing: Any
) -> None:
    batch = pa.record_batch([pa.array(cells, column.arrow_type)], names=["c"])
    [chunk] = chunked(objects, [batch], (column,), id_columns=(), subject_columns=())
    before = read_rows(objects, [chunk], (column,))["c"]
    after = read_rows(objects, [redact(objects, chunk, BitMap([0]))], (column,))["c"]
    assert before.dtype == after.dtype == dtype
    for value, cell in zip(before, cells, strict=True):
        np.testing.assert_equal(value, nothing if cell is None else np.array([cell], dtype)[0])
    np.testing.assert_equal(after[0], nothing)
    np.testing.assert_equal(after[1], before[1])


def test_categories_read_as_their_codes(objects: Objects) -> None:
    column = Column(name="c", kind=ColumnKind.CATEGORY, categories=("b", None, "a"))
    batch = pa.record_batch([pa.array(["a", None, "b"])], names=["c"])
    chunks = chunked(objects, [batch], (column,), id_columns=(), subject_columns=())
    codes = read_rows(objects, chunks, (column,))["c"]
    assert (codes.dtype, codes.tolist()) == (np.int32, [2, -1, 0])
    narrower = column.model_copy(update={"categories": ("b", None)})
    with pytest.raises(CorruptObjectError, match="label in column 'c' that is not declared"):
        read_rows(objects, chunks, (narrower,))


@pytest.mark.parametrize("element", ["uint8", "int16", "float32", "float64"])
def test_vectors_read_as_rows_of_a_matrix(objects: Objects, element: str) -> None:
    column = Column(name="v", kind=ColumnKind.VECTOR, element=element, length=3)
    vectors = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    batch = pa.record_batch([pa.array(vectors, column.arrow_type)], names=["v"])
    chunks = chunked(objects, [batch.slice(1)], (column,), id_columns=(), subject_columns=())
    matrix = read_rows(objects, chunks, (column,))["v"]
    assert (matrix.dtype, matrix.tolist()) == (np.dtype(element), vectors[1:])
    chunks = [redact(objects, chunks[0], BitMap([0]))]
    assert read_rows(objects, chunks, (column,))["v"].tolist() == [[0, 0, 0], [7, 8, 9]]


def test_only_the_columns_asked_for_are_read_whatever_their_names(objects: Objects) -> None:
    names = ["v", "v.list", "", 'quo"te', "Jitter(%)", "a.b"]
    columns = tuple(Column(name=name, kind=ColumnKind.INTEGER) for name in names)
    batch = pa.record_batch([pa.array([at]) for at in range(6)], schema=arrow_schema(columns))
    chunks = chunked(objects, [batch], columns, id_columns=(), subject_columns=())
    for at, column in enumerate(columns):
        assert {n: a.tolist() for n, a in read_rows(objects, chunks, (column,)).items()} == {
            column.name: [at]
        }


def test_the_same_rows_and_salts_give_the_same_objects(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = chunked(objects, [people(5)])
    assert chunked(objects, [people(5)])[0].data != fresh[0].data
    monkeypatch.setattr(os, "urandom", bytes)
    assert chunked(objects, [people(5)]) == chunked(objects, [people(5)])


def test_a_failed_write_leaves_no_temporary_file(objects: Objects) -> None:
    other = pa.record_batch({"id": ["a"], "who": [1], "x.y": ["not a number"]})
    with pytest.raises(pa.ArrowInvalid):
        chunked(objects, [other])
    assert list(objects.root.glob("tmp/*")) == []


def test_a_damaged_manifest_is_named(objects: Objects) -> None:
    [chunk] = chunked(objects, [people(3)])
    place = objects.open(chunk.manifest)
    place.write_bytes(place.read_bytes()[:-1] + b"x")
    for read in (read_index, read_commitments):
        with pytest.raises(CorruptObjectError, match=chunk.manifest):
            read(objects, [chunk])


def test_names_are_read_at_the_positions_that_are_asked_for(objects: Objects) -> None:
    chunks = chunked(objects, [people(5), people(4, start=5), people(2, start=9)])
    chunks[0] = redact(objects, chunks[0], BitMap([2]))
    read = read_names(objects, chunks, np.array([0, 3, 4, 6], np.int64))
    assert [row for batch in read for row in batch.to_pylist()] == [
        {"position": n, "record": f"r{n}", "subjects": [str(n % 3)]} for n in (0, 3, 4, 6)
    ]
    assert list(read_names(objects, chunks, np.array([], np.int64))) == []

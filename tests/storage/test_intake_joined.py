"""Typed files that were joined: one file is read as a whole, and two are refused."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from storage.errors import InvalidInputError
from storage.intake import inspect

tables = st.builds(
    lambda numbers, width: pa.table({"n": numbers, "t": [f"{n}" * width for n in numbers]}),
    st.lists(st.integers(-(2**40), 2**40), min_size=1, max_size=40, unique=True),
    st.integers(1, 60),
)
"""Tables of a number and a text; a text may be long, so few rows may take more bytes than many."""


def parquet(path: Path, table: pa.Table, **options: Any) -> None:
    pq.write_table(table, path, row_group_size=7, **options)


def arrow(path: Path, table: pa.Table, **_: Any) -> None:
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


def stream(path: Path, table: pa.Table, **_: Any) -> None:
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)


WRITERS: dict[str, Callable[..., None]] = {"parquet": parquet, "arrow": arrow, "ipc": stream}
PARQUET = st.fixed_dictionaries(
    {
        "write_page_index": st.booleans(),
        "use_dictionary": st.booleans(),
        "compression": st.sampled_from(["none", "zstd", "snappy"]),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
    }
)


def content(path: Path, kind: str, table: pa.Table, **options: Any) -> bytes:
    WRITERS[kind](path, table, **options)
    return path.read_bytes()


def refusal(path: Path, whole: bytes) -> str:
    path.write_bytes(whole)
    with pytest.raises(InvalidInputError) as refused:
        inspect(path, id_columns=("n",), subject_columns=())
    assert refused.value.hint
    return refused.value.message


fixed = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)


@pytest.mark.parametrize("kind", WRITERS)
@fixed
@given(one=tables, other=tables, options=PARQUET)
def test_two_files_that_were_joined_are_refused_and_one_is_read(
    tmp_path: Path, kind: str, one: pa.Table, other: pa.Table, options: dict[str, Any]
) -> None:
    path = tmp_path / f"t.{kind}"
    first, second = content(path, kind, one, **options), content(path, kind, other)
    for whole, table in ((first, one), (second, other)):
        path.write_bytes(whole)
        assert inspect(path, id_columns=("n",), subject_columns=()).rows == table.num_rows
    word = "Parquet" if kind == "parquet" else "Arrow"
    assert f"holds more than one {word} file" in refusal(path, first + second)


@pytest.mark.parametrize("kind", WRITERS)
@fixed
@given(table=tables, more=st.binary(min_size=1, max_size=40), cut=st.integers(1, 200))
def test_bytes_that_are_no_part_of_a_file_are_refused(
    tmp_path: Path, kind: str, table: pa.Table, more: bytes, cut: int
) -> None:
    path = tmp_path / f"t.{kind}"
    whole = content(path, kind, table)
    for joined in (more + whole, whole + more, whole[:-cut] + whole):
        assert (
            "holds more than one" in (found := refusal(path, joined)) or "cannot be read" in found
        )


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
def test_what_a_reader_of_footers_takes_for_one_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"t.{kind}"
    table = pa.table({"n": range(20)})
    whole = content(path, kind, table)
    path.write_bytes(whole + whole)
    read = pq.read_table(path) if kind == "parquet" else pa.ipc.open_file(path).read_all()
    assert read.num_rows == 20  # and forty were written
    assert "holds more than one" in refusal(path, path.read_bytes())


def test_indexes_and_bloom_filters_of_other_writers_are_parts_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    rows = "select i as n, (i % 7)::varchar as t from range(5000) r(i)"
    duckdb.sql(f"copy ({rows}) to '{path}' (format parquet, row_group_size 2048)")
    assert inspect(path, id_columns=("n",), subject_columns=()).rows == 5000
    parquet(path, pa.table({"n": range(5000)}), bloom_filter_options={"n": {"ndv": 100}})
    assert inspect(path, id_columns=("n",), subject_columns=()).rows == 5000

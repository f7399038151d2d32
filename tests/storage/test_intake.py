from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from storage.errors import InvalidInputError
from storage.ids import record_ids
from storage.intake import MOST_CATEGORIES, Column, ColumnKind, Intake, conform, inspect
from storage.rows import commit_rows


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8", newline="")
    return path


def taken(path: Path, text_columns: tuple[str, ...] = (), ids: tuple[str, ...] = ()) -> Intake:
    return inspect(path, id_columns=ids, subject_columns=(), text_columns=text_columns)


def kinds(intake: Intake) -> dict[str, str]:
    return {column.name: column.kind.value for column in intake.columns}


def cells(intake: Intake, name: str) -> list[Any]:
    return [cell for batch in intake.batches() for cell in batch.column(name).to_pylist()]


def test_the_voices_come_in_with_their_own_kinds(data: Path) -> None:
    path = data / "parkinsons_updrs.csv"
    intake = inspect(path, id_columns=(), subject_columns=("subject#",))
    assert intake.rows == 5_875
    found = kinds(intake)
    assert [name for name in found if found[name] == "integer"] == ["subject#", "age", "sex"]
    assert set(found.values()) == {"integer", "real"}
    direct = csv.read_csv(path)
    for name in direct.column_names:
        assert cells(intake, name) == direct.column(name).to_pylist()


def test_the_census_comes_in_with_sorted_categories(data: Path) -> None:
    intake = taken(data / "adult.csv")
    assert intake.rows == 32_561
    by_name = {column.name: column for column in intake.columns}
    assert by_name["sex"].categories == ("Female", "Male")
    assert by_name["income-per-year"].categories == ("<=50K", ">50K")
    assert [n for n, kind in kinds(intake).items() if kind == "integer"] == [
        "age",
        "fnlwgt",
        "education-num",
        "capital-gain",
        "capital-loss",
        "hours-per-week",
    ]


@pytest.mark.parametrize("name", ["adult.csv", "parkinsons_updrs.csv"])
def test_one_table_has_the_same_rows_in_every_format(data: Path, tmp_path: Path, name: str) -> None:
    table = csv.read_csv(data / name).slice(0, 300)
    narrow = pa.table(
        {
            name: column.dictionary_encode()
            if pa.types.is_string(column.type)
            else column.cast(pa.int32())
            if pa.types.is_integer(column.type)
            else column
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    )
    csv.write_csv(table, tmp_path / "t.csv")
    pq.write_table(narrow, tmp_path / "t.parquet", row_group_size=77)
    for extension, opener in (("arrow", pa.ipc.new_file), ("ipc", pa.ipc.new_stream)):
        with opener(tmp_path / f"t.{extension}", narrow.schema) as writer:
            writer.write_table(narrow, max_chunksize=50)
    intakes = [taken(path) for path in sorted(tmp_path.iterdir())]
    assert len(intakes) == 4
    assert len({intake.columns for intake in intakes}) == 1
    salts = np.zeros((300, 16), dtype=np.uint8)
    commitments = {commit_rows(next(i.batches(300)), salts).tobytes() for i in intakes}
    assert len(commitments) == 1


@pytest.mark.parametrize(
    ("column", "kind", "values"),
    [
        (["1", "-2", "+3", " 4 "], "integer", [1, -2, 3, 4]),
        (["1", "2.5", ".5", "1e-3", "inf"], "real", [1.0, 2.5, 0.5, 0.001, float("inf")]),
        (["1", "", "NA"], "integer", [1, None, None]),
        (["1.5", "nan", "null"], "real", [1.5, None, None]),
        (["9223372036854775807", "0"], "integer", [2**63 - 1, 0]),
        (["9223372036854775808", "0"], "real", [2.0**63, 0.0]),
        (["True", "false", "NA"], "bool", [True, False, None]),
        (["true", "maybe", "NA"], "category", ["true", "maybe", "NA"]),
        (["b", "", "a"], "category", ["b", None, "a"]),
        (["0x1f", "0x20"], "category", ["0x1f", "0x20"]),
        (["NA", "NA"], "real", [None, None]),
    ],
)
def test_the_cells_of_a_csv_column_decide_its_kind(
    tmp_path: Path, column: list[str], kind: str, values: list[Any]
) -> None:
    rows = "".join(f"{cell},x\n" for cell in column)
    intake = taken(written(tmp_path / "t.csv", f"a,b\n{rows}"))
    assert kinds(intake)["a"] == kind
    assert cells(intake, "a") == values
    assert intake.columns[0].nullable == (None in values)


def test_quotes_line_breaks_odd_names_and_a_byte_order_mark_are_kept(tmp_path: Path) -> None:
    text = '\ufeff"Jitter(%)","a ""b""\n","",x.y\r\n1,"two\nlines",é,4\r\n'
    intake = taken(written(tmp_path / "t.CSV", text))
    assert list(kinds(intake)) == ["Jitter(%)", 'a "b"\n', "", "x.y"]
    assert next(intake.batches()).to_pylist()[0]['a "b"\n'] == "two\nlines"


def test_more_labels_than_a_category_can_have_are_text(tmp_path: Path) -> None:
    rows = "".join(f"w{at},w{at % 1_000}\n" for at in range(1_001))
    intake = taken(written(tmp_path / "t.csv", f"many,few\n{rows}"))
    assert kinds(intake) == {"many": "text", "few": "category"}
    assert len(intake.columns[1].categories) == 1_000


def test_columns_that_name_people_are_never_categories_and_may_mix(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", "id,person,zip\n007,a,1\n8,b,x\n9,7,2\n")
    intake = inspect(path, id_columns=("id",), subject_columns=("person",), text_columns=("zip",))
    assert kinds(intake) == {"id": "text", "person": "text", "zip": "text"}
    assert cells(intake, "id") == ["007", "8", "9"]
    assert cells(intake, "zip") == ["1", "x", "2"]


@pytest.mark.parametrize("count", [1, 300, 1_001])
def test_case_text_stays_text_at_any_number_of_values(tmp_path: Path, count: int) -> None:
    rows = "".join(f"t{at},t{at}\n" for at in range(count))
    intake = taken(written(tmp_path / "t.csv", f"text,label\n{rows}"), text_columns=("text",))
    label = "category" if count <= MOST_CATEGORIES else "text"
    assert kinds(intake) == {"text": "text", "label": label}
    assert intake.columns[0].categories == ()
    more = written(tmp_path / "more.csv", "text,label\nnew,new\n")
    grown = conform(more, intake.columns, id_columns=(), subject_columns=())
    assert kinds(grown) == {"text": "text", "label": label}


def test_an_id_of_a_csv_file_is_its_cell_and_that_of_a_typed_file_is_the_shortest_text(
    tmp_path: Path,
) -> None:
    table = pa.table({"n": pa.array([7, 8], pa.int16()), "t": [5.5, 6.0], "s": ["a", "b"]})
    pq.write_table(table, tmp_path / "t.parquet")
    written(tmp_path / "t.csv", "n,t,s\n7,5.50,a\n8,6.0,b\n")
    expected = {
        "t.parquet": ['["7","5.5","a"]', '["8","6","b"]'],
        "t.csv": ['["7","5.50","a"]', '["8","6.0","b"]'],
    }
    for name, ids in expected.items():
        batch = next(taken(tmp_path / name, ids=("n", "t", "s")).batches())
        assert record_ids(batch, ["n", "t", "s"]).to_pylist() == ids


def test_arrow_types_become_kinds(tmp_path: Path) -> None:
    table = pa.table(
        {
            "flag": [True, None],
            "byte": pa.array([1, 2], pa.uint8()),
            "half": pa.array([1.5, None], pa.float32()),
            "price": pa.array([None, None], pa.decimal128(5, 2)),
            "nothing": pa.nulls(2),
            "day": pa.array([0, 1], pa.date32()),
            "at": pa.array([0, 1], pa.timestamp("s")),
            "large": pa.array(["a", "b"], pa.large_string()),
            "image": pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.uint8(), 3)),
        }
    )
    pq.write_table(table, tmp_path / "t.parquet")
    intake = taken(tmp_path / "t.parquet")
    assert kinds(intake) == {
        "flag": "bool",
        "byte": "integer",
        "half": "real32",
        "price": "real",
        "nothing": "real",
        "day": "category",
        "at": "category",
        "large": "category",
        "image": "vector",
    }
    assert [c.name for c in intake.columns if c.nullable] == ["flag", "half", "price", "nothing"]
    assert intake.columns[-1].element == "uint8"
    assert intake.columns[-1].length == 3
    assert cells(intake, "day") == ["1970-01-01", "1970-01-02"]
    assert cells(intake, "image") == [[1, 2, 3], [4, 5, 6]]
    as_text = taken(tmp_path / "t.parquet", text_columns=("byte", "large"))
    assert [as_text.columns[place].kind.value for place in (1, 7)] == ["text", "text"]


@given(st.lists(st.integers(0, 9), max_size=6), st.integers(1, 12))
def test_batches_have_the_size_asked_for_and_keep_the_order(
    tmp_path_factory: pytest.TempPathFactory, groups: list[int], size: int
) -> None:
    path = tmp_path_factory.mktemp("intake") / "t.arrow"
    schema = pa.schema([("n", pa.int64())])
    total = sum(groups)
    with pa.ipc.new_file(path, schema) as writer:
        for at, rows in enumerate(groups):
            start = sum(groups[:at])
            writer.write_batch(pa.record_batch([pa.array(range(start, start + rows))], schema))
    if total == 0:
        with pytest.raises(InvalidInputError, match="has no rows"):
            taken(path)
        return
    batches = list(taken(path).batches(size))
    assert all(batch.num_rows == size for batch in batches[:-1])
    assert 0 < batches[-1].num_rows <= size
    assert [n for batch in batches for n in batch.column("n").to_pylist()] == list(range(total))


def test_a_later_file_appends_labels_and_moves_no_code(tmp_path: Path) -> None:
    first = taken(written(tmp_path / "a.csv", "x,colour\n1.5,red\n2,blue\n"))
    assert first.columns[1].categories == ("blue", "red")
    erased = first.columns[1].model_copy(update={"categories": (None, "red")})
    second = conform(
        written(tmp_path / "b.csv", "colour,x\namber,7\nred,\nblue,3\n"),
        (first.columns[0], erased),
        id_columns=(),
        subject_columns=(),
    )
    assert second.columns[1].categories == (None, "red", "amber", "blue")
    assert second.columns[0] == first.columns[0]
    assert next(second.batches()).to_pydict() == {
        "x": [7.0, None, 3.0],
        "colour": ["amber", "red", "blue"],
    }


def test_whole_numbers_and_short_reals_fit_a_column_of_reals(tmp_path: Path) -> None:
    columns = (Column(name="x", kind=ColumnKind.REAL),)
    for cells_given in (pa.array([1, 2]), pa.array([1, 2], pa.float32()), pa.nulls(2)):
        pq.write_table(pa.table({"x": cells_given}), tmp_path / "t.parquet")
        intake = conform(tmp_path / "t.parquet", columns, id_columns=(), subject_columns=())
        assert next(intake.batches()).schema.field("x").type == pa.float64()


@pytest.mark.parametrize(
    "fields",
    [
        {"kind": "vector"},
        {"kind": "vector", "element": "text", "length": 3},
        {"kind": "vector", "element": "uint8", "length": 0},
        {"kind": "vector", "element": "uint8", "length": 3, "nullable": True},
        {"kind": "real", "element": "uint8", "length": 3},
        {"kind": "text", "categories": ["a"]},
    ],
)
def test_a_column_that_contradicts_itself_cannot_be_made(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Column(name="x", **fields)


def test_columns_survive_json() -> None:
    for column in (
        Column(name="v", kind=ColumnKind.VECTOR, element="float32", length=4),
        Column(name="c", kind=ColumnKind.CATEGORY, categories=("a", None), nullable=True),
    ):
        assert Column.model_validate_json(column.model_dump_json()) == column

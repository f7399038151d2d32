"""Every way a file can be wrong: one clear sentence, with row numbers and never a value."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InvalidInputError
from storage.intake import Column, ColumnKind, conform, inspect

SECRET = "Ursula"


def refusal(path: Path, **named: tuple[str, ...]) -> InvalidInputError:
    roles: dict[str, tuple[str, ...]] = {"id_columns": (), "subject_columns": (), **named}
    with pytest.raises(InvalidInputError) as caught:
        inspect(path, **roles)
    assert SECRET not in str(caught.value) + caught.value.hint
    assert caught.value.hint
    assert {p.name for p in path.parent.iterdir()} <= {path.name}
    return caught.value


def file(tmp_path: Path, content: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def parquet(tmp_path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", b"", "is empty"),
        ("t.csv", b"\n\n", "cannot be read as csv"),
        ("t.csv", b"a,b\n", "has no rows"),
        ("t.csv", b"a,b,a\n1,2,3\n", "more than one column named 'a'"),
        ("t.csv", b"a,\xff\n1,2\n", "the header of .* is not UTF-8"),
        ("t.csv", b"a,b\n1,Ursula\n\n2,\xff\n", "row 2 of .* is not UTF-8 in column 'b'"),
        ("t.csv", b'a,b\n1,2\n3,"x\ny"\n\n4\n', "row 3 of .* has 1 cells, the header 2"),
        ("t.csv", b"a,b\n1,2,Ursula\n", "row 1 of .* has 3 cells, the header 2"),
        ("t.parquet", b"PAR1 no", "cannot be read as parquet"),
        ("t.arrow", b"ARROW1 no", "cannot be read as arrow"),
        ("t.xlsx", b"PK", "extension that is not read"),
        ("t", b"a\n1\n", "extension that is not read"),
    ],
)
def test_a_file_that_cannot_be_read_says_why(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    assert_matches(refusal(file(tmp_path, content, name)), message)


def assert_matches(error: InvalidInputError, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        raise error


def test_a_ragged_row_far_into_a_file_is_named(tmp_path: Path) -> None:
    rows = "x" * 40 + ",y\n"
    text = "a,b\n" + rows * 250_000 + "Ursula\n"
    error = refusal(file(tmp_path, text))
    assert error.fields == {"row": 250_001}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert_matches(refusal(tmp_path / "absent.csv"), r"there is no file .*absent\.csv")


def test_a_truncated_parquet_or_arrow_file_is_refused(tmp_path: Path) -> None:
    whole = parquet(tmp_path, a=list(range(1_000))).read_bytes()
    assert_matches(refusal(file(tmp_path, whole[:-20], "t.parquet")), "cannot be read as parquet")
    (tmp_path / "t.parquet").unlink()
    batch = pa.record_batch({"a": list(range(1_000))})
    with pa.ipc.new_stream(tmp_path / "t.ipc", batch.schema) as writer:
        writer.write_batch(batch)
    whole = (tmp_path / "t.ipc").read_bytes()
    assert_matches(refusal(file(tmp_path, whole[:-2_000], "t.ipc")), "cannot be read as ipc")


@pytest.mark.parametrize("role", ["id_columns", "subject_columns", "text_columns"])
def test_a_column_that_is_not_there_gets_an_offer(tmp_path: Path, role: str) -> None:
    path = file(tmp_path, "subject#,age\n1,2\n")
    error = refusal(path, **{role: ("subject",)})
    assert_matches(error, "has no column 'subject'")
    assert error.hint == "did you mean 'subject#'?"
    assert refusal(path, **{role: ("zzz",)}).hint == "see its header"


def test_two_rows_with_one_id_are_both_named(tmp_path: Path) -> None:
    path = file(tmp_path, "id,x\nUrsula,1\nb,2\nc,3\nb,4\nUrsula,5\n")
    error = refusal(path, id_columns=("id",))
    assert_matches(error, "rows 2 and 4 of .* have the same id")
    assert error.fields == {"rows": (2, 4)}
    composite = refusal(file(tmp_path, "a,b\n1,2\n1,3\n1,2\n"), id_columns=("a", "b"))
    assert composite.fields == {"rows": (1, 3)}


@pytest.mark.parametrize(("role", "word"), [("id_columns", "id"), ("subject_columns", "subject")])
@pytest.mark.parametrize("blank", [None, "", float("nan")])
def test_a_blank_id_or_subject_is_refused_by_row(
    tmp_path: Path, role: str, word: str, blank: object
) -> None:
    first = 1.5 if isinstance(blank, float) else SECRET
    path = parquet(tmp_path, who=[first, blank], x=[1, 2])
    assert_matches(refusal(path, **{role: ("who",)}), f"row 2 of .* has no {word} in column 'who'")
    if not isinstance(blank, float):
        (tmp_path / "t.parquet").unlink()
        path = file(tmp_path, "who,x\nUrsula,1\n,2\n")
        assert_matches(refusal(path, **{role: ("who",)}), f"row 2 of .* has no {word}")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["1", "2", SECRET, "x"], "row 3 is text, row 1 is a number"),
        ([SECRET, "NA", "", "4"], "row 4 is a number, row 1 is text"),
    ],
)
def test_a_csv_column_of_numbers_and_text_is_refused_with_the_remedy(
    tmp_path: Path, rows: list[str], message: str
) -> None:
    path = file(tmp_path, "age,y\n" + "".join(f"{row},1\n" for row in rows))
    error = refusal(path)
    assert_matches(error, f"column 'age' of .* mixes numbers and text: {message}")
    assert error.hint == "--text 'age' takes the whole column as text"
    inspect(path, id_columns=(), subject_columns=(), text_columns=("age",))


def test_mixing_is_noticed_across_the_blocks_of_a_large_file(tmp_path: Path) -> None:
    text = "a,b\n" + ("1," + "x" * 60 + "\n") * 200_000 + "Ursula,y\n"
    assert refusal(file(tmp_path, text)).fields == {"row": 200_001}


@pytest.mark.parametrize(
    ("cells", "named"),
    [
        (pa.array([{"a": 1}]), "struct<a: int64>"),
        (pa.array([[1, 2]]), "list<element: int64>"),
        (pa.array([["a"]], pa.list_(pa.string(), 1)), "fixed_size_list"),
        (pa.array([b"x"]), "binary"),
        (pa.array([[(1, 2)]], pa.map_(pa.int64(), pa.int64())), "map"),
        (pa.array([1], pa.duration("s")), "duration"),
    ],
)
def test_a_type_without_a_kind_is_named(tmp_path: Path, cells: Any, named: str) -> None:
    assert_matches(refusal(parquet(tmp_path, x=cells)), f"column 'x' of .* has type {named}")


def test_a_vector_names_nobody_and_has_no_gaps(tmp_path: Path) -> None:
    pair = pa.list_(pa.float32(), 2)
    path = parquet(tmp_path, v=pa.array([[1, 2]], pair))
    assert_matches(refusal(path, id_columns=("v",)), "holds vectors and cannot name")
    assert_matches(refusal(path, text_columns=("v",)), "which is not taken in")
    path = parquet(tmp_path, v=pa.array([[1, 2], [1, None]], pair))
    assert_matches(refusal(path), "row 2 of .* has a gap in column 'v'")
    path = parquet(tmp_path, v=pa.array([[1, 2], [3, 4], None], pair))
    assert_matches(refusal(path), "row 3 of .* has no value in column 'v'")


def test_a_number_beyond_64_bits_is_refused_by_row(tmp_path: Path) -> None:
    path = parquet(tmp_path, n=pa.array([1, 2, 2**63, 4, 5, 6], pa.uint64()))
    assert_matches(refusal(path), "row 3 of .* has a value out of range in column 'n'")


def test_text_that_is_not_utf8_is_refused_in_parquet_too(tmp_path: Path) -> None:
    bad = pa.array([b"fine", b"\xff"]).view(pa.string())
    assert_matches(refusal(parquet(tmp_path, t=bad)), "row 2 of .* out of range in column 't'")


def test_a_file_that_changes_between_looking_and_reading_is_refused(tmp_path: Path) -> None:
    path = file(tmp_path, "a\n1\n2\n")
    intake = inspect(path, id_columns=(), subject_columns=())
    file(tmp_path, "a\n1\n2\n3\n")
    with pytest.raises(InvalidInputError, match="changed while it was read"):
        list(intake.batches())


INTEGER = Column(name="n", kind=ColumnKind.INTEGER)
VECTOR = Column(name="n", kind=ColumnKind.VECTOR, element="uint8", length=2)


@pytest.mark.parametrize(
    ("column", "content", "message"),
    [
        (INTEGER, "n,m\n1,2\n", "has a column 'm' that was not declared"),
        (INTEGER, "m\n1\n", "lacks the declared column 'n'"),
        (INTEGER, "n,\n1,\n", "has a column '' that was not declared"),
        (INTEGER, "n\n1\n1.5\n", "row 2 of .* has another kind of value in column 'n'"),
        (INTEGER, "n\n1\nUrsula\n", "row 2 of .* has another kind .* which is declared integer"),
        (INTEGER, "n\n1\nNA\n", "row 2 of .* has no value in column 'n'"),
        (INTEGER, "n\n1\n9999999999999999999\n", "row 2 of .* has a value out of range"),
        (VECTOR, "n\n1\n", "column 'n' of .* was declared vector"),
    ],
)
def test_a_later_csv_that_does_not_fit_is_refused(
    tmp_path: Path, column: Column, content: str, message: str
) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        conform(file(tmp_path, content), (column,), id_columns=(), subject_columns=())
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "cells"),
    [
        ("integer", [1.5]),
        ("integer", ["1"]),
        ("real", ["1"]),
        ("real32", [1.5]),
        ("text", [1]),
        ("category", [True]),
        ("bool", [1]),
        ("vector", [1]),
    ],
)
def test_a_later_parquet_of_another_type_is_refused(
    tmp_path: Path, kind: str, cells: list[object]
) -> None:
    column = VECTOR if kind == "vector" else Column(name="n", kind=ColumnKind(kind))
    with pytest.raises(InvalidInputError, match=f"was declared {kind}"):
        conform(parquet(tmp_path, n=cells), (column,), id_columns=(), subject_columns=())


def test_a_later_file_keeps_the_rules_of_ids(tmp_path: Path) -> None:
    check: Callable[[str], object] = lambda text: conform(  # noqa: E731
        file(tmp_path, text), (INTEGER,), id_columns=("n",), subject_columns=()
    )
    for text, message in (
        ("n\n1\n1\n", "rows 1 and 2 .* same id"),
        ("n\n1\n07\n", "row 2 of .* has an id that the column would write otherwise"),
    ):
        with pytest.raises(InvalidInputError, match=message):
            check(text)

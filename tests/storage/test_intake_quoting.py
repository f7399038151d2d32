"""Files whose quotes or delimiters could be read two ways; Python's ``csv`` is the other reader."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidInputError
from storage.intake import inspect, quoting

PIECES = st.sampled_from(['"', '"', ",", "\n", "\r\n", "\r", "a", "b", " ", "7", ";"])


def refusal(tmp_path: Path, text: str) -> InvalidInputError:
    (tmp_path / "t.csv").write_bytes(text.encode())
    with pytest.raises(InvalidInputError) as caught:
        inspect(tmp_path / "t.csv", id_columns=(), subject_columns=())
    return caught.value


@pytest.mark.parametrize(
    ("text", "row", "message"),
    [
        ('id,x\na,1\n"b,2\nc,3\nd,4\n', 2, "has a quoted cell that does not end"),
        ('id,x\na,1\n"b,2\nc,3\n"d",4\ne,5\n', 2, "has text after the end of a quoted cell"),
        ('id,x\n"a"b,1\n', 1, "has text after the end of a quoted cell"),
        ('id,x\n\n"q\nr",0\na,"1', 2, "has a quoted cell that does not end"),
        ('id,x\r\na"b,1\r\nc,"2\r\n', 2, "has a quoted cell that does not end"),
        ('"id,x\na,1\n', 0, "the header of"),
    ],
)
def test_a_quote_that_swallows_rows_is_refused(
    tmp_path: Path, text: str, row: int, message: str
) -> None:
    error = refusal(tmp_path, text)
    assert message in error.message
    assert error.fields == {"row": row}


@pytest.mark.parametrize(
    ("header", "word"), [("id;x", "semicolons"), ("id\tx", "tabs"), ("id|x", "bars")]
)
def test_another_delimiter_is_named(tmp_path: Path, header: str, word: str) -> None:
    error = refusal(tmp_path, f"{header}\n1;2,5\n")
    assert f"is divided by {word}" in error.message
    assert "commas" in error.hint


def test_a_nul_character_is_refused(tmp_path: Path) -> None:
    assert "NUL" in refusal(tmp_path, "id,x\na\0,1\n").message
    assert "NUL" in refusal(tmp_path, "\0".join("id,x\na,1\n")).message


def test_names_that_are_ours_are_refused(tmp_path: Path) -> None:
    for name in ("__record", "__subjects"):
        assert f"named {name!r}" in refusal(tmp_path, f"id,{name}\na,1\n").message


def test_quotes_at_the_border_of_two_blocks_are_those_of_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quoting, "_BLOCK", 3)
    text = '\ufeff"id","x"\r\n"a""b","two\nlines"\r\n"""","c, d"\r\n'
    (tmp_path / "t.csv").write_bytes(text.encode())
    (batch,) = inspect(tmp_path / "t.csv", id_columns=("id",), subject_columns=()).batches()
    assert batch.to_pylist() == [{"id": 'a"b', "x": "two\nlines"}, {"id": '"', "x": "c, d"}]


def test_a_field_that_no_block_holds_is_read_or_refused_by_one_sentence(tmp_path: Path) -> None:
    field = "y" * (20 << 20)
    error = refusal(tmp_path, f"id,x\na,1\nb,{field}\n")
    assert error.message.endswith("cannot be read as csv")
    (tmp_path / "t.csv").write_text(f"id,x\na,{field[: 9 << 20]}\n")
    intake = inspect(tmp_path / "t.csv", id_columns=("id",), subject_columns=())
    assert [len(each) for each in next(intake.batches())["x"].to_pylist()] == [9 << 20]


@given(st.lists(PIECES, max_size=24).map("".join), st.integers(1, 5) | st.just(1 << 20))
def test_a_file_has_the_rows_and_cells_that_python_reads(
    tmp_path_factory: pytest.TempPathFactory, body: str, block: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "quotes.csv"
    path.write_bytes(f"id,x\n{body}".encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quoting, "_BLOCK", block)
        try:
            intake = inspect(path, id_columns=(), subject_columns=(), text_columns=("id", "x"))
        except InvalidInputError:
            return
    expected = list(csv.reader(io.StringIO(f"id,x\n{body}", newline=""), strict=True))
    rows = [[cell or None for cell in row] for row in expected[1:] if row]
    taken = [[*row.values()] for batch in intake.batches() for row in batch.to_pylist()]
    assert taken == rows
    assert intake.rows == len(rows)


@given(st.lists(st.tuples(*[st.text(st.characters(exclude_categories=["Cs"]))] * 2), min_size=1))
def test_what_python_writes_is_taken_in(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]]
) -> None:
    path = tmp_path_factory.getbasetemp() / "written.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("id", "x"), *rows])
    if any("\0" in cell for row in rows for cell in row):
        return
    intake = inspect(path, id_columns=(), subject_columns=(), text_columns=("id", "x"))
    taken = [tuple(row.values()) for batch in intake.batches() for row in batch.to_pylist()]
    assert taken == [tuple(cell or None for cell in row) for row in rows]

import json
from datetime import UTC, datetime

import pytest
from pydantic import BaseModel

from unlearn.cli.output import JsonOutput, TableOutput, text_of


class Part(BaseModel):
    name: str
    size: int | None = None


class Whole(BaseModel):
    id: str
    parts: tuple[Part, ...] = ()
    steps: tuple[int, ...] = ()
    nested: dict[str, dict[str, int]] = {}
    absent: str | None = None
    ratio: float = 0.5
    made_at: datetime = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)


@pytest.fixture
def table(capsys):
    def printed(answer):
        TableOutput().one(answer) if isinstance(answer, BaseModel) else TableOutput().many(answer)
        return capsys.readouterr().out

    return printed


def test_a_line_a_field_and_nothing_about_what_is_absent(table):
    lines = table(Whole(id="run-1")).splitlines()
    assert lines[0].split() == ["id", "run-1"]
    assert "made    2024-02-29 12:30:00 UTC" in lines
    assert not any("absent" in line for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_a_list_of_things_is_a_table_of_its_own(table):
    text = table(Whole(id="x", parts=(Part(name="a", size=1000), Part(name="b"))))
    rows = [line.split() for line in text.partition("\nparts\n")[2].splitlines()]
    assert rows == [["name", "size"], ["a", "1,000"], ["b", "–"]]


def test_what_has_parts_is_a_table_of_its_own(table):
    text = table(Whole(id="x", nested={"first": {"a": 1, "b": 2}}))
    assert text.partition("\nnested\n")[2].split(maxsplit=1) == ["first", "a: 1, b: 2\n"]


def test_long_lists_say_how_long_they_are(table):
    assert "0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, … (20 in all)" in table(
        Whole(id="x", steps=tuple(range(20)))
    )


def test_names_are_printed_as_they_are_however_long(table):
    name = "[bold]not markup[/bold] :smile: " + "x" * 300
    assert name in table([Part(name=name)])


def test_a_digest_is_whole_alone_and_by_its_beginning_in_a_column(table):
    digest = "0123456789abcdef" * 4
    assert digest in table(Part(name=digest))
    assert table([Part(name=digest)]).split() == ["name", "0123456789ab…"]


def test_a_column_that_is_empty_everywhere_is_left_out(table):
    assert table([Part(name="a"), Part(name="b")]).split() == ["name", "a", "b"]


def test_json_is_one_document_that_every_reader_takes(capsys):
    JsonOutput().one(Whole(id="é", ratio=float("nan")))
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (document["id"], document["ratio"]) == ("é", None)
    assert document["made_at"] == "2024-02-29T12:30:00Z"


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (True, "yes"), (1234567, "1,234,567"), (0.123456, "0.1235"), ((), "–")],
)
def test_values_are_written_for_people(value, text):
    assert text_of(value) == text


@pytest.mark.parametrize("mark", ["\x1b[2J", "\u202e", "\u2066", "\x9b", "\n", "\r", "\u2028"])
def test_a_terminal_obeys_no_name(table, capsys, mark):
    escaped = mark.encode("unicode_escape").decode()
    shown = [table(Part(name=f"a{mark}b")), table([Part(name=f"a{mark}b")])]
    shown.append(table(Whole(id="x", nested={f"a{mark}b": {"c": 1}})))
    TableOutput().error("failed", f"a{mark}b", f"a{mark}b")
    shown.append(capsys.readouterr().err)
    for text in shown:
        assert f"a{mark}b" not in text
        assert f"a{escaped}b"[:5] in text
    JsonOutput().one(Part(name=f"a{mark}b"))
    assert json.loads(capsys.readouterr().out)["name"] == f"a{mark}b"

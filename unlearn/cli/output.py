"""How answers are printed: as tables for people, or as one JSON document for programs.

Standard output is the answer and nothing else. An answer is a frozen pydantic model.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from unlearn.cli.answer_stream import write_answer
from unlearn.cli.visible import say, visible

if TYPE_CHECKING:
    from pydantic import BaseModel
    from rich.console import RenderableType

    from lineage.provenance.sql import Answer

MOST_ITEMS = 12
"""Longer lists are shown in tables by their beginning and their length; JSON has them whole."""

NARROW = 24
"""The width of ids and times; what is wider is a sentence or a list."""

DIGEST = re.compile(r"\b([0-9a-f]{12})[0-9a-f]{52}\b")

UNBOUNDED = 100_000
"""The width of tables: nothing is cut. A narrow terminal breaks lines, and copies them whole."""


class Output(ABC):
    """Where an answer goes."""

    @abstractmethod
    def one(self, answer: "BaseModel", *, whole: bool = False) -> None:
        """Print a single answer."""

    @abstractmethod
    def many(self, answers: Sequence["BaseModel"]) -> None:
        """Print a list of answers of one type."""

    @abstractmethod
    def drawing(self, form: str, text: str) -> None:
        """Print a picture of a graph, in a form such as ``dot``."""

    @abstractmethod
    def matrix(self, answer: "Answer", shown: int) -> None:
        """Print the columns and rows that answer a statement; of a table, so many are shown."""

    @abstractmethod
    def error(self, code: str, message: str, hint: str) -> None:
        """Report what went wrong and what to do next."""


class JsonOutput(Output):
    """One JSON document on standard output, also for an error."""

    def one(self, answer: "BaseModel", *, whole: bool = False) -> None:
        """An object."""
        _print_json(answer)

    def many(self, answers: Sequence["BaseModel"]) -> None:
        """An array of objects."""
        _print_json(answers)

    def drawing(self, form: str, text: str) -> None:
        """An object of ``form`` and ``text``."""
        _print_json({"form": form, "text": text})

    def matrix(self, answer: "Answer", shown: int) -> None:
        """An object of ``columns`` and ``rows``, all of them, written as they are read."""
        columns = [{"name": column.name, "type": column.type} for column in answer.columns]
        write_answer(f'{{\n  "columns": {_json(columns)},\n  "rows": [', newline=False)
        before = "\n    "
        for rows in answer.rows():
            write_answer(before + ",\n    ".join(map(_json, rows)), newline=False)
            before = ",\n    "
        write_answer("\n  ]\n}" if answer.count else "]\n}")

    def error(self, code: str, message: str, hint: str) -> None:
        """An object of ``code``, ``message`` and ``hint`` under ``error``."""
        _print_json({"error": {"code": code, "message": message, "hint": hint}})


class TableOutput(Output):
    """Tables on standard output; errors on standard error."""

    def one(self, answer: "BaseModel", *, whole: bool = False) -> None:
        """A line a field, then a table for each list of things and for what has parts.

        Fields that are None have a line only if the answer is to be ``whole``.
        """
        fields = fields_of(answer)
        if whole:
            fields = {name: "none" if value is None else value for name, value in fields.items()}
        drawn = [_grid({name: value for name, value in fields.items() if not _is_apart(value)})]
        for name, value in fields.items():
            if _is_apart(value):
                table = _grid(fields_of(value)) if _is_thing(value) else _rows(value)
                drawn += [f"\n{visible(_label(name))}", table]
        _print_tables(drawn)

    def many(self, answers: Sequence["BaseModel"]) -> None:
        """A line an answer."""
        if answers:
            _print_tables([_rows(answers)])
        else:
            say("there is none")

    def drawing(self, form: str, text: str) -> None:
        """The text, line by line."""
        write_answer(visible(text, lines=True))

    def matrix(self, answer: "Answer", shown: int) -> None:
        """A line a row, in the columns that were asked for; what is left out is said."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for column in answer.columns:
            table.add_column(_plain(column.name))
        for row in islice(chain.from_iterable(answer.rows()), shown):
            table.add_row(*(_plain(text_of(cell)) for cell in row))
        _print_tables([table])
        if answer.count > shown:
            say(f"shown are {shown:,} of {answer.count:,} rows: --limit N shows more, --json all")

    def error(self, code: str, message: str, hint: str) -> None:
        """A sentence, and a hint below."""
        say(f"error: {message}")
        if hint:
            say(f"hint: {hint}")


def _json(content: object) -> str:
    """JSON in one line; bytes are base64, what is no number is null."""
    from pydantic_core import to_json

    return to_json(content, inf_nan_mode="null", bytes_mode="base64").decode()


def _print_json(content: object) -> None:
    from pydantic_core import to_json

    write_answer(to_json(content, indent=2, inf_nan_mode="null").decode())


def _print_tables(drawn: Sequence["RenderableType"]) -> None:
    """Print tables without the spaces that pad their last columns."""
    from rich.console import Console

    console = Console(width=UNBOUNDED, markup=False, highlight=False, emoji=False)
    with console.capture() as captured:
        for each in drawn:
            console.print(each)
    write_answer("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))


def fields_of(thing: Any) -> dict[str, Any]:
    """The fields of a model or mapping."""
    return {str(name): value for name, value in dict(thing).items()}


def _is_thing(value: object) -> bool:
    from pydantic import BaseModel

    return isinstance(value, BaseModel | Mapping)


def _has_parts(value: Any) -> bool:
    """Whether a field is a thing with fields that are more than a word."""
    parts = (list, tuple, Mapping)
    return _is_thing(value) and any(isinstance(x, parts) for x in fields_of(value).values())


def _is_apart(value: Any) -> bool:
    """Whether a field deserves a table of its own."""
    things = isinstance(value, list | tuple) and bool(value) and _is_thing(value[0])
    return things or _has_parts(value)


def _grid(fields: Mapping[str, object]) -> "RenderableType":
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column()
    for name, value in fields.items():
        if value is not None:
            grid.add_row(_plain(_label(name)), _plain(text_of(value)))
    return grid


def _rows(things: Sequence[Any]) -> "RenderableType":
    """A line a thing; what has parts and what is empty everywhere has no column."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    rows = [fields_of(thing) for thing in things]
    names = [
        name
        for name in rows[0]
        if not any(_is_apart(row[name]) for row in rows)
        and any(row[name] not in (None, "", (), [], {}) for row in rows)
    ]
    columns = {name: [_shortened(text_of(row[name])) for row in rows] for name in names}
    # Sentences last: where a terminal breaks long lines, the columns before them stay in line.
    widths = {name: max(map(len, cells)) for name, cells in columns.items()}
    ordered = sorted(columns, key=lambda name: widths[name] if widths[name] > NARROW else 0)
    for name in ordered:
        table.add_column(_plain(_label(name)))
    for number in range(len(rows)):
        table.add_row(*(_plain(columns[name][number]) for name in ordered))
    return table


def _label(name: str) -> str:
    return name.removesuffix("_at").replace("_", " ")


def _plain(text: str) -> "RenderableType":
    """Text that is no markup and that no terminal obeys, whatever it holds."""
    from rich.text import Text

    return Text(visible(text))


def _shortened(text: str) -> str:
    """A digest by its beginning: a column has no room for more."""
    return DIGEST.sub(r"\1…", text)


def text_of(value: Any) -> str:
    """A value in a cell of a table.

    >>> text_of(True), text_of(12345), text_of(()), text_of({"a": 1})
    ('yes', '12,345', '–', 'a: 1')
    """
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case datetime():
            return f"{value:%Y-%m-%d %H:%M:%S} UTC"
        case str():
            return str(value)
        case list() | tuple():
            return _joined([text_of(item) for item in value])
    return _joined([f"{key}: {text_of(item)}" for key, item in fields_of(value).items()])


def _joined(items: list[str]) -> str:
    if not items:
        return "–"
    shown = ", ".join(items[:MOST_ITEMS])
    return shown if len(items) <= MOST_ITEMS else f"{shown}, … ({len(items):,} in all)"

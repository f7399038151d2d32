"""Carrying out a statement in a DuckDB that reaches nothing but the views, within limits."""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb

from lineage.provenance.sql.complaints import explained
from lineage.provenance.sql.statement import Statement, checked
from lineage.provenance.sql.view import Column, Part, Stream, View, schema_of
from lineage.provenance.sql.views import VIEWS
from lineage.store import Store

MEMORY = 1024
"""Mebibytes that a statement may take."""

TIMEOUT = 60.0
"""Seconds that a statement may take."""

FETCHED = 10_000
"""Rows of an answer that are in Python together."""

_SETTINGS: dict[str, str | bool | int | float | list[str]] = {
    "allow_community_extensions": False,
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_access": False,
    "errors_as_json": True,
    "python_enable_replacements": False,
    "temp_directory": "",
}
_SESSION = ("TimeZone = 'UTC'", "enable_progress_bar = false", "lock_configuration = true")
_ANSWER = "CREATE TEMP TABLE answer AS\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, which the engine holds while it is open."""

    columns: tuple[Column, ...]
    count: int
    _connection: duckdb.DuckDBPyConnection

    def rows(self) -> Iterator[list[tuple[Any, ...]]]:
        """The rows in their order, some together, as Python's values."""
        # DuckDB gives times with a zone to programs that have pytz; the session's zone is UTC.
        names = ", ".join(
            f"{_name(column.name)}::TIMESTAMP"
            if column.type == "TIMESTAMP WITH TIME ZONE"
            else _name(column.name)
            for column in self.columns
        )
        found = self._connection.execute(f"SELECT {names} FROM answer")
        while rows := found.fetchmany(FETCHED):
            yield rows


@contextmanager
def query(
    store: Store, text: str, *, memory: int = MEMORY, timeout: float = TIMEOUT
) -> Iterator[Answer]:
    """Ask one SELECT over the views; its answer is complete, and can be read inside the block.

    Args:
        memory: mebibytes that the engine may take; it writes nothing to disk.
        timeout: seconds; a function that computes one value is not interrupted in it.

    Raises:
        StatementError: it is not one SELECT over the views, or cannot be carried out.
        LimitError: it took too much time or memory.
        CorruptObjectError: a file that a view is drawn from is missing or damaged.
    """
    settings = _SETTINGS | {"memory_limit": f"{memory}MiB"}
    with (
        duckdb.connect(":memory:", config=settings) as connection,
        explained(memory, timeout, begun=len(_ANSWER)),
    ):
        for setting in _SESSION:
            connection.execute(f"SET {setting}")
        statement = checked(connection, text, {view.name for view in VIEWS})
        named = [view for view in VIEWS if view.name in statement.views]
        streams = _shown(connection, store, named)
        columns = _carried_out(connection, statement, streams, timeout)
        ((count,),) = connection.execute("SELECT count(*) FROM answer").fetchall()
        yield Answer(columns, count, connection)


def _shown(
    connection: duckdb.DuckDBPyConnection, store: Store, views: Collection[View]
) -> list[Stream]:
    """Make views of streams, of which none is opened before a statement reads it."""
    streams = []
    with store.catalogue.read() as session:
        for view in views:
            empty = Part({}, schema_of(view.columns), lambda: iter(()))
            parts = list(view.parts(store, session)) or [empty]
            shown = []
            for number, part in enumerate(parts):
                streams.append(Stream(part))
                connection.register(f"{view.name}/{number}", streams[-1])
                shown.append(_selected(view, part, number))
            connection.execute(f"CREATE VIEW {_name(view.name)} AS {' UNION ALL '.join(shown)}")
    return streams


def _selected(view: View, part: Part, number: int) -> str:
    """A part with its constants: where a statement asks for others, it is not even opened."""
    columns = [
        f"{_text(part.constants[name])} AS {_name(name)}" if name in part.constants else _name(name)
        for name, *_ in view.columns
    ]
    return f"SELECT {', '.join(columns)} FROM {_name(f'{view.name}/{number}')}"


def _carried_out(
    connection: duckdb.DuckDBPyConnection,
    statement: Statement,
    streams: Collection[Stream],
    timeout: float,
) -> tuple[Column, ...]:
    try:
        _within(connection, _ANSWER + statement.text, timeout)
    except duckdb.Error:
        for stream in streams:
            if stream.failure is not None:
                raise stream.failure from None
        raise
    described = connection.execute("DESCRIBE answer").fetchall()
    return tuple(Column(name, kind) for name, kind, *_ in described)


def _within(connection: duckdb.DuckDBPyConnection, statement: str, seconds: float) -> None:
    """Carry a statement out on a thread: DuckDB itself does not always hear the keyboard.

    Raises:
        TimeoutError: it was interrupted because its time was over.
    """
    with ThreadPoolExecutor(1, "expunge-sql") as worker:
        carried = worker.submit(connection.execute, statement)
        try:
            carried.result(seconds)
        except BaseException:
            while not carried.done():  # again and again, for it may not have begun
                connection.interrupt()
                wait([carried], 0.1)
            raise


def _name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"

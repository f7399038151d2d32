"""What a view is: declared columns, and parts whose rows are drawn while a statement reads them."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pyarrow as pa
from sqlalchemy.orm import Session

from lineage.store import Store

_ARROW: Mapping[str, pa.DataType] = {
    "VARCHAR": pa.string(),
    "VARCHAR[]": pa.list_(pa.string()),
    "BIGINT": pa.int64(),
    "DOUBLE": pa.float64(),
    "BOOLEAN": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us"),
}


class Column(NamedTuple):
    """A column of a view or of an answer; ``type`` is DuckDB's, a TIMESTAMP is in UTC."""

    name: str
    type: str
    about: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Some rows of a view, which have equal texts in some columns: the ``constants``.

    ``draw`` gives the other columns, of ``schema``, anew whenever it is called: for each time that
    a statement reads the part, if it does.
    """

    constants: Mapping[str, str]
    schema: pa.Schema
    draw: Callable[[], Iterator[pa.RecordBatch]]


@dataclass(frozen=True, slots=True)
class View:
    """A named table; ``parts`` reads from a session what it must to say where its rows are."""

    name: str
    about: str
    columns: tuple[Column, ...]
    parts: Callable[[Store, Session], Iterable[Part]]


def schema_of(columns: Iterable[Column]) -> pa.Schema:
    """The Arrow schema of declared columns."""
    return pa.schema([(column.name, _ARROW[column.type]) for column in columns])


@dataclass
class Stream:
    """A part as DuckDB reads it: by the Arrow C stream interface, a new stream a scan.

    ``failure`` is what drawing ended in, of which DuckDB passes on a text.
    """

    part: Part
    failure: BaseException | None = None

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        """A capsule over the part's rows, none of which is drawn yet."""
        reader = pa.RecordBatchReader.from_batches(self.part.schema, self._drawn())
        return reader.__arrow_c_stream__(requested_schema)

    def _drawn(self) -> Iterator[pa.RecordBatch]:
        try:
            yield from self.part.draw()
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

"""Writing many rows of the catalogue at once, as copies of those that are there."""

from typing import Any

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from storage.catalogue import tables

Row = dict[str, Any]
Rows = dict[type[tables.Base], list[Row]]


def copied(session: Session, table: type[tables.Base]) -> list[Row]:
    """The columns of every row of a table."""
    columns = [column.key for column in table.__table__.columns]
    return [
        {name: getattr(row, name) for name in columns} for row in session.scalars(select(table))
    ]


def keep(rows: Rows, table: type[tables.Base], row: Row) -> None:
    """Note a row that is to be written."""
    rows.setdefault(table, []).append(row)


def written(session: Session, rows: Rows) -> None:
    """Write the rows, a table after the other."""
    for table, each in rows.items():
        session.execute(insert(table), each)

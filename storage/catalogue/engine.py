"""Opening the catalogue: SQLite in a file by default, any SQLAlchemy URL otherwise."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    create_engine,
    event,
    insert,
    inspect,
    select,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from storage.catalogue.tables import Base
from storage.errors import SchemaVersionError

HEAD = "0010"
"""The newest migration: what the declared tables are."""

VERSION = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Where Alembic keeps the migration that a schema is of; it makes the same table."""

# DELETE and not WAL: linked SQLite versions before 3.51.3 can corrupt a WAL database that several
# connections write. secure_delete: what is erased must not linger in free pages.
PRAGMAS = (
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
    "PRAGMA busy_timeout = 60000",
)


class Catalogue:
    """The relational tables of a store.

    ``read`` and ``write`` give a session inside one short transaction; ``write`` takes the write
    lock at its start, so two writers queue instead of failing half-way.
    """

    def __init__(self, url: str | URL) -> None:
        self.engine = create_engine(url)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writer = self.engine.execution_options(expunge_write=True)

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and must change nothing."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes land together at the end of the block, or not at all."""
        with Session(self._writer, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def migrate(engine: Engine) -> None:
    """Bring the schema up to this version, or refuse a store written by a newer one.

    An empty catalogue gets the declared tables at once: the way there would be as long as history.

    Raises:
        SchemaVersionError: the store's revision is unknown here.
    """
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with (
        engine.execution_options(expunge_write=True).connect() as connection,
        _references_unenforced(connection),
        connection.begin(),
    ):
        found = _revision(connection)
        if found is None:
            Base.metadata.create_all(connection, checkfirst=False)
            VERSION.create(connection)
            connection.execute(insert(VERSION).values(version_num=HEAD))
        elif found != HEAD:  # another process may have been first
            _upgrade(connection, found)


@contextmanager
def _references_unenforced(connection: Connection) -> Iterator[None]:
    """Let a migration make a table again that other tables refer to.

    SQLite takes that for the deletion of every row, and heeds this setting only between
    transactions.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    raw = connection.connection.cursor()
    raw.execute("PRAGMA foreign_keys = OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys = ON")
        raw.close()


def _revision(connection: Connection) -> str | None:
    """The migration that a schema is of; None: there are no tables yet."""
    if not inspect(connection).has_table(VERSION.name):
        return None
    return connection.scalar(select(VERSION.c.version_num))


def _upgrade(connection: Connection, found: str) -> None:
    # Most processes find the schema as it should be: they are spared the import.
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found not in known:
        raise SchemaVersionError(
            f"this store's schema is {found!r}, which this version of expunge does not know",
            hint="a newer expunge wrote it: upgrade with `pip install -U expunge`",
            revision=found,
        )
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _prepare_sqlite(connection: DBAPIConnection, _record: ConnectionPoolEntry) -> None:
    # The driver must not begin transactions on its own: see "Serializable isolation" in
    # SQLAlchemy's pysqlite documentation.
    raw: Any = connection
    raw.isolation_level = None
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(pragma)
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("expunge_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")

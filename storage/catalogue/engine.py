"""Opening the catalogue: SQLite in a file by default, any SQLAlchemy URL otherwise."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
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

from storage.catalogue.failures import BUSY_SECONDS, is_bare, place_of, reported
from storage.catalogue.tables import Base
from storage.errors import DamagedStoreError, SchemaVersionError

HEAD = "0012"
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
    f"PRAGMA busy_timeout = {BUSY_SECONDS * 1000}",  # first: the others may meet a lock
    "PRAGMA journal_mode = DELETE",
    "PRAGMA synchronous = FULL",
    "PRAGMA foreign_keys = ON",
    "PRAGMA secure_delete = ON",
)


class Catalogue:
    """The relational tables of a store.

    ``read`` and ``write`` give a session inside one short transaction. ``write`` holds the write
    lock from the beginning of its block to its end: what the block looks at, in the catalogue or
    among the files of the store, no other writer and no sweep changes meanwhile. Two writers queue.
    """

    def __init__(self, url: str | URL) -> None:
        # Parameters of a statement may be ids or cell values: no message may show them.
        self.engine = create_engine(url, hide_parameters=True)
        if self.engine.dialect.name == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        self._writer = self.engine.execution_options(expunge_write=True)
        self._writing = threading.local()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that sees one consistent state and must change nothing.

        Raises:
            UnavailableError: the catalogue is locked for too long, or the disk fails.
            DamagedStoreError: it is damaged.
        """
        with (
            reported(self.engine),
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session whose changes land together at the end of the block, or not at all.

        Raises:
            UnavailableError: the catalogue is locked for too long or read-only, or the disk fails.
            DamagedStoreError: it is damaged.
        """
        if getattr(self._writing, "here", False):
            # It would wait for its own lock, for a minute, and fail.
            raise RuntimeError("a write inside the block of another write of this thread")
        with (
            reported(self.engine),
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            session.connection()  # sessions connect late, and the block may look at files first
            self._writing.here = True
            try:
                yield session
            finally:
                self._writing.here = False

    def close(self) -> None:
        """Let go of every connection."""
        self.engine.dispose()


def create_schema(engine: Engine) -> None:
    """Make the declared tables in a catalogue that holds nothing.

    The way there through all migrations would be as long as history.
    """
    with (
        reported(engine),
        engine.execution_options(expunge_write=True).connect() as connection,
        connection.begin(),
    ):
        Base.metadata.create_all(connection, checkfirst=False)
        VERSION.create(connection)
        connection.execute(insert(VERSION).values(version_num=HEAD))


def migrate(engine: Engine, keys: Mapping[str, str] = MappingProxyType({})) -> None:
    """Bring the schema up to this version, or refuse a store written by a newer one.

    ``keys`` are the digests of the store's keys, by name: an older schema does not have them.

    Raises:
        DamagedStoreError: there is no schema, or the file is damaged.
        SchemaVersionError: the store's revision is unknown here.
    """
    with reported(engine):
        # Looked at before SQLite opens it, which would make the file where it is missing.
        found = None if is_bare(engine) else _found(engine)
        if found is None:
            raise DamagedStoreError(
                f"the catalogue {place_of(engine)} is empty",
                hint="restore it from a backup of the store",
            )
        if found != HEAD:
            _migrate(engine, keys)


def _found(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return _revision(connection)


def _migrate(engine: Engine, keys: Mapping[str, str]) -> None:
    with (
        engine.execution_options(expunge_write=True).connect() as connection,
        _references_unenforced(connection),
        connection.begin(),
    ):
        found = _revision(connection)
        if found is not None and found != HEAD:  # another process may have been first
            _upgrade(connection, found, keys)


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


def _upgrade(connection: Connection, found: str, keys: Mapping[str, str]) -> None:
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
    config.attributes["keys"] = keys
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

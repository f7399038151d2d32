"""What SQLite reports of a lock, a disk or a damaged file, as one sentence and what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError

from storage.errors import DamagedStoreError, StorageError, UnavailableError

BUSY_SECONDS = 60
"""How long a reader or writer waits for another process."""

_REPORTS: dict[int, tuple[type[StorageError], str, str]] = {
    sqlite3.SQLITE_BUSY: (
        UnavailableError,
        f"is locked: another process has been using it for more than {BUSY_SECONDS} seconds",
        "wait until it is done, then run the same command again",
    ),
    sqlite3.SQLITE_READONLY: (
        UnavailableError,
        "cannot be written: the file, its folder or the filesystem is read-only",
        "make it writable for its owner, then run the same command again",
    ),
    sqlite3.SQLITE_FULL: (
        UnavailableError,
        "cannot be written: the disk is full",
        "make room, then run the same command again",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        UnavailableError,
        "cannot be opened, or its journal beside it cannot be made",
        "check that its folder is there and writable, then run the same command again",
    ),
    sqlite3.SQLITE_IOERR: (
        UnavailableError,
        "cannot be read or written: the disk reports an error",
        "check the disk, then run the same command again",
    ),
    sqlite3.SQLITE_CORRUPT: (
        DamagedStoreError,
        "is damaged",
        "restore it from a backup of the store",
    ),
    sqlite3.SQLITE_NOTADB: (
        DamagedStoreError,
        "cannot be read: it is no SQLite database",
        "restore it from a backup of the store",
    ),
}
_REPORTS[sqlite3.SQLITE_LOCKED] = _REPORTS[sqlite3.SQLITE_BUSY]
_REPORTS[sqlite3.SQLITE_PERM] = _REPORTS[sqlite3.SQLITE_READONLY]


def place_of(engine: Engine) -> str:
    """Return where a catalogue is: the path of its file, or the URL without its password."""
    return engine.url.database or engine.url.render_as_string()


@contextmanager
def reported(engine: Engine) -> Iterator[None]:
    """Turn what SQLite reports inside the block into an error of this package.

    What it reports of a statement, such as a violated constraint, passes as it is.

    Raises:
        UnavailableError: the file is locked or read-only, or the disk is full or fails.
        DamagedStoreError: the file is damaged or is no database.
    """
    try:
        yield
    except DatabaseError as error:
        code = getattr(error.orig, "sqlite_errorcode", None)
        found = _REPORTS.get(code & 0xFF) if code is not None else None  # the rest is detail
        if found is None:
            raise
        raise _error_of(engine, found) from error
    except UnicodeDecodeError as error:
        # The driver could not read what SQLite says, which quotes the damage.
        if not bytes(error.object).startswith(b"malformed database schema"):
            raise
        raise _error_of(engine, _REPORTS[sqlite3.SQLITE_CORRUPT]) from error


def _error_of(engine: Engine, report: tuple[type[StorageError], str, str]) -> StorageError:
    kind, what, hint = report
    return kind(f"the catalogue {place_of(engine)} {what}", hint=hint)


def is_bare(engine: Engine) -> bool:
    """Return True if a catalogue is an SQLite file that holds nothing."""
    database = engine.url.database
    if engine.dialect.name != "sqlite" or not database or database == ":memory:":
        return False
    return not Path(database).is_file() or Path(database).stat().st_size == 0

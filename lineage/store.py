"""One object that opens a store: catalogue, objects and keys together."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL

from storage.catalogue import Catalogue, migrate
from storage.errors import NotFoundError
from storage.keys import Keys
from storage.objects import Objects

CATALOGUE = "catalogue.db"
DEFAULT_PATH = Path(".expunge")


def default_path() -> Path:
    """``EXPUNGE_STORE``, or ``./.expunge``."""
    return Path(os.environ.get("EXPUNGE_STORE") or DEFAULT_PATH)


def _utc_now() -> datetime:
    return datetime.now(UTC)


class Store:
    """A store on disk: ``catalogue.db``, ``objects/`` and ``keys/``.

    ``clock`` tells the time of everything that is written; tests inject their own.
    """

    def __init__(self, path: Path, clock: Callable[[], datetime] = _utc_now) -> None:
        self.path = path.resolve()
        self.clock = clock
        database = str(self.path / CATALOGUE)
        self.catalogue = Catalogue(URL.create("sqlite", database=database))
        self.objects = Objects(self.path / "objects")
        self.keys = Keys(self.path / "keys")

    @classmethod
    def create(cls, path: Path, clock: Callable[[], datetime] = _utc_now) -> "Store":
        """Make a store, or open the one that is there."""
        if (path / CATALOGUE).is_file():
            return cls.open(path, clock)
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = cls(path, clock)
        # The secret first: a catalogue without it must never exist, since no fence would match.
        if "store" not in store.keys:
            store.keys.create("store")
        migrate(store.catalogue.engine)
        return store

    @classmethod
    def open(cls, path: Path | None = None, clock: Callable[[], datetime] = _utc_now) -> "Store":
        """Open the store at ``path`` (default: `default_path`), and migrate it to this version.

        Raises:
            NotFoundError: there is no store.
            SchemaVersionError: a newer version wrote it.
        """
        path = path or default_path()
        if not (path / CATALOGUE).is_file():
            raise NotFoundError(
                f"there is no store at {path}",
                hint="make one with `expunge init`, or name another with --store or EXPUNGE_STORE",
            )
        store = cls(path, clock)
        migrate(store.catalogue.engine)
        return store

    def close(self) -> None:
        """Let go of the catalogue's connections."""
        self.catalogue.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

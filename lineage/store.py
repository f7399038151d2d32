"""One object that opens a store: catalogue, objects and keys together."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from storage.catalogue import Catalogue, migrate
from storage.errors import NotFoundError
from storage.keys import Keys
from storage.objects import Objects

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
        self.catalogue = Catalogue(f"sqlite:///{self.path / 'catalogue.db'}")
        self.objects = Objects(self.path / "objects")
        self.keys = Keys(self.path / "keys")

    @classmethod
    def create(cls, path: Path, clock: Callable[[], datetime] = _utc_now) -> "Store":
        """Make a store, or open and migrate the one that is there."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = cls(path, clock)
        migrate(store.catalogue.engine)
        if "store" not in store.keys:
            store.keys.create("store")
        return store

    @classmethod
    def open(cls, path: Path, clock: Callable[[], datetime] = _utc_now) -> "Store":
        """Open the store at ``path``.

        Raises:
            NotFoundError: there is no store.
            SchemaVersionError: a newer version wrote it.
        """
        if not (path / "catalogue.db").is_file():
            raise NotFoundError(
                f"there is no store at {path}",
                hint="make one with `expunge init`, or name another with --store or EXPUNGE_STORE",
            )
        return cls.create(path, clock)

    def close(self) -> None:
        """Let go of the catalogue's connections."""
        self.catalogue.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

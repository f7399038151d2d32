"""One object that opens a store: catalogue, objects and keys together."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL

from storage.catalogue import Catalogue, create_schema, migrate
from storage.errors import DamagedStoreError, NotFoundError
from storage.folders import sync_folder
from storage.keys import Keys, digests_in
from storage.objects import Objects

CATALOGUE = "catalogue.db"
CREATING = "creating"
"""The file that stands in the folder of a store while it is made, and its catalogue's beginning."""

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
        self.catalogue = _catalogue(self.path / CATALOGUE)
        self.objects = Objects(self.path / "objects")
        self.keys = Keys(self.path / "keys", self.catalogue)

    @classmethod
    def create(cls, path: Path, clock: Callable[[], datetime] = _utc_now) -> "Store":
        """Make a store, or open the one that is there.

        One whose making was interrupted is made again from its beginning.

        Raises:
            DamagedStoreError: keys or objects of a store are there, and no catalogue.
        """
        if not (path / CATALOGUE).is_file():
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _creating(path):
                if not (path / CATALOGUE).is_file():  # another process may have been first
                    _make(path)
        return cls.open(path, clock)

    @classmethod
    def open(cls, path: Path | None = None, clock: Callable[[], datetime] = _utc_now) -> "Store":
        """Open the store at ``path`` (default: `default_path`), and migrate it to this version.

        Raises:
            NotFoundError: there is no store.
            DamagedStoreError: its catalogue is empty, damaged or missing.
            SchemaVersionError: a newer version wrote it.
        """
        path = path or default_path()
        if not (path / CATALOGUE).is_file():
            _require_nothing_of_a_store(path)
            raise NotFoundError(
                f"there is no store at {path}",
                hint="make one with `expunge init`, or name another with --store or EXPUNGE_STORE",
            )
        store = cls(path, clock)
        migrate(store.catalogue.engine, digests_in(store.keys.root))
        if (mark := path / CREATING).exists():  # its making was interrupted at the last moment
            mark.unlink(missing_ok=True)
        return store

    def close(self) -> None:
        """Let go of the catalogue's connections."""
        self.catalogue.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()


@contextmanager
def _creating(path: Path) -> Iterator[None]:
    """Hold the right to make a store; the file of this name stays where the block is interrupted.

    So what an interrupted making left is told from what is left of a store.
    """
    _require_nothing_of_a_store(path)
    mark = path / CREATING
    descriptor = os.open(mark, os.O_WRONLY | os.O_CREAT, 0o600)
    try:
        sync_folder(path)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
        mark.unlink(missing_ok=True)
    finally:
        os.close(descriptor)


def _make(path: Path) -> None:
    """Make the parts of a store; its catalogue gets its name last, and makes a store of them."""
    path.chmod(0o700)
    beginning = path / f"{CREATING}.db"
    for leftover in (beginning, Path(f"{beginning}-journal"), *(path / "keys").glob("*")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(beginning, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    catalogue = _catalogue(beginning)
    create_schema(catalogue.engine)
    # A catalogue without the secret must never exist: no fence would match.
    with catalogue.write() as session:
        keys = Keys(path / "keys", catalogue)
        keys.root.chmod(0o700)
        keys.keep(session, "store", os.urandom(32))
    catalogue.close()
    beginning.rename(path / CATALOGUE)
    sync_folder(path)


def _require_nothing_of_a_store(path: Path) -> None:
    """Refuse a folder with keys or objects and no catalogue: they would match nothing in a new one.

    Raises:
        DamagedStoreError: it is one, and not what an interrupted making left.
    """
    keys = [each.name for each in (path / "keys").glob("*") if not each.name.startswith(".")]
    objects = any((path / "objects").glob("??/*"))
    unfinished = (path / CREATING).exists() and set(keys) <= {"store"} and not objects
    if (keys or objects) and not unfinished and not (path / CATALOGUE).exists():
        raise DamagedStoreError(
            f"the store at {path} has {'objects' if objects else 'keys'}, and no catalogue",
            hint=f"restore {path / CATALOGUE} from a backup of the store",
        )


def _catalogue(file: Path) -> Catalogue:
    return Catalogue(URL.create("sqlite", database=str(file.resolve())))

"""What ``doctor`` looks at: catalogue, objects, keys, and where the packages come from."""

import sqlite3
import stat
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

import lineage
import storage
import unlearn
from lineage.data.part import salt_name
from lineage.store import CATALOGUE, Store
from storage.catalogue import tables
from storage.errors import DamagedStoreError, ExpungeError
from unlearn.audit.commitments import differences
from unlearn.audit.completeness import missing_rows
from unlearn.audit.counts import faults_of_objects, faults_of_rows
from unlearn.audit.purges import faults_of_purges
from unlearn.audit.states import faults_of_states
from unlearn.erase import referenced
from unlearn.erase import sweep as destroy_unused

DISTRIBUTION = "expunge"
PACKAGES = (storage, lineage, unlearn)
PRAGMAS = {"journal_mode": "delete", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1"}
"""What each SQLite setting must be."""


class Examination(BaseModel):
    """What was found; ``problems`` are sentences, and there are none in a healthy store.

    ``orphaned`` objects are referred to by nothing: writers that crashed left them, or purges.
    ``temporaries`` are half-written files, and secrets that nothing was made with.
    """

    model_config = ConfigDict(frozen=True)

    store: str
    healthy: bool
    problems: tuple[str, ...]
    schema_revision: str
    sqlite: str
    pragmas: Mapping[str, str]
    referenced: int
    missing: tuple[str, ...]
    damaged: tuple[str, ...]
    orphaned: int
    temporaries: int
    swept: int
    packages: Mapping[str, str]


def examine(store: Store, *, sweep: bool) -> Examination:
    """Look at everything; ``sweep`` then destroys what crashed writers left, if all is sound.

    Raises:
        DamagedStoreError: a value in the catalogue cannot be read at all.
    """
    try:
        return _examined(store, sweep=sweep)
    except (ValueError, TypeError, LookupError, OperationalError) as error:
        if isinstance(error, ExpungeError):
            raise
        raise DamagedStoreError(
            f"the catalogue of {store.path} is damaged: a value in it cannot be read "
            f"({type(error).__name__})",
            hint="restore it from a backup of the store",
        ) from error


def _examined(store: Store, *, sweep: bool) -> Examination:
    with store.catalogue.read() as session:
        used = set(referenced(session))
        pragmas = {name: str(session.scalar(text(f"PRAGMA {name}"))) for name in PRAGMAS}
        revision = str(session.scalar(text("SELECT version_num FROM alembic_version")))
        catalogue = list(_catalogue_problems(session, pragmas))
        keys = list(_key_problems(store, session))
        stated = [] if catalogue else list(_stated(store, session))
    stated += [] if catalogue else faults_of_objects(store)
    missing = {digest for digest in used if digest not in store.objects}
    damaged = {digest for digest in used - missing if not store.objects.verify(digest)}
    with store.catalogue.read() as session:
        used = set(referenced(session))  # again: a purge may have taken some away meanwhile
    doubts = [
        *catalogue,
        *stated,
        *(f"object {each} is missing" for each in sorted(missing & used)),
        *(f"object {each} is damaged" for each in sorted(damaged & used)),
    ]
    # What a damaged store refers to no more may be what it ought to refer to, or mend it.
    swept = destroy_unused(store) if sweep and not doubts and not keys else 0
    with store.catalogue.read() as session:
        drafts = len(store.keys.leftovers(session))
    problems = (
        *doubts,
        *keys,
        *(["nothing was swept: mend the store first"] if sweep and (doubts or keys) else []),
        *_mode_problems(store),
        *_package_problems(),
    )
    return Examination(
        store=str(store.path),
        healthy=not problems,
        problems=problems,
        schema_revision=revision,
        sqlite=sqlite3.sqlite_version,
        pragmas=pragmas,
        referenced=len(used),
        missing=tuple(sorted(missing & used)),
        damaged=tuple(sorted(damaged & used)),
        orphaned=sum(digest not in used for digest in store.objects),
        temporaries=drafts + len(list((store.objects.root / "tmp").glob("*"))),
        swept=swept,
        packages={package.__name__: _folder(package.__file__) for package in PACKAGES},
    )


def _stated(store: Store, session: Session) -> Iterator[str]:
    """What the ledger and other rows say otherwise."""
    yield from differences(session)
    yield from faults_of_rows(session)
    yield from missing_rows(session)
    yield from faults_of_states(session)
    yield from faults_of_purges(store, session)


def _catalogue_problems(session: Session, pragmas: Mapping[str, str]) -> Iterator[str]:
    for name, expected in PRAGMAS.items():
        if pragmas[name] != expected:
            yield f"SQLite's {name} is {pragmas[name]}, not {expected}"
    for finding in session.scalars(text("PRAGMA integrity_check")):
        if finding != "ok":
            yield f"the catalogue is damaged: {finding}"
    for row in session.execute(text("PRAGMA foreign_key_check")):
        yield f"a row of {row[0]} refers to a row of {row[2]} that is not there"


def _key_problems(store: Store, session: Session) -> Iterator[str]:
    """The secrets that are damaged or gone; a salt that belongs to no dataset is none of them."""
    yield from store.keys.problems(session)
    used = ("store", *(salt_name(each) for each in session.scalars(select(tables.Dataset.id))))
    recorded = store.keys.recorded(session)
    for name in used:
        if name not in recorded:
            yield f"the catalogue has no digest of the secret {name!r}"


def _mode_problems(store: Store) -> Iterator[str]:
    secret = (store.path / CATALOGUE, *sorted(store.keys.root.iterdir()))
    for path, mode in (
        (store.path, 0o700),
        (store.keys.root, 0o700),
        *((p, 0o600) for p in secret),
    ):
        found = stat.S_IMODE(path.stat().st_mode)
        if found & 0o077:
            yield (
                f"{path} has mode {found:04o}: others than its owner may use it; "
                f"set it by chmod {mode:o}"
            )


def _package_problems() -> Iterator[str]:
    """The import names are common: other distributions on the index have them too."""
    homes = {_folder(package.__file__) for package in PACKAGES}
    if len(homes) > 1:
        yield f"the three packages come from different places: {', '.join(sorted(homes))}"
    try:
        files = distribution(DISTRIBUTION).files or []
    except PackageNotFoundError:
        yield f"the distribution {DISTRIBUTION!r} is not installed here"
        return
    for file in files:
        if str(file) in {f"{package.__name__}/__init__.py" for package in PACKAGES}:
            installed = Path(str(file.locate())).resolve().parent.parent
            if str(installed) not in homes:
                yield f"{file.parts[0]} is not imported from {installed}, where it is installed"


def _folder(file: str | None) -> str:
    """The folder that holds a package."""
    return str(Path(str(file)).resolve().parent.parent)

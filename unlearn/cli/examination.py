"""What ``doctor`` looks at: catalogue, objects, keys, and where the packages come from."""

import sqlite3
import stat
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select, text
from sqlalchemy.orm import Session

import lineage
import storage
import unlearn
from lineage.store import Store
from storage.catalogue import tables
from unlearn.erase import referenced
from unlearn.erase import sweep as destroy_unused

DISTRIBUTION = "expunge"
PACKAGES = (storage, lineage, unlearn)
PRAGMAS = {"journal_mode": "delete", "synchronous": "2", "foreign_keys": "1", "secure_delete": "1"}
"""What each SQLite setting must be."""


class Examination(BaseModel):
    """What was found; ``problems`` are sentences, and there are none in a healthy store.

    ``orphaned`` objects are referred to by nothing: writers that crashed left them, or purges.
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
    """Look at everything; ``sweep`` first destroys what crashed writers left."""
    swept = destroy_unused(store) if sweep else 0
    with store.catalogue.read() as session:
        used = set(referenced(session))
        pragmas = {name: str(session.scalar(text(f"PRAGMA {name}"))) for name in PRAGMAS}
        revision = str(session.scalar(text("SELECT version_num FROM alembic_version")))
        catalogue = list(_catalogue_problems(session, pragmas))
        salts = [f"salt-{each}" for each in session.scalars(select(tables.Dataset.id))]
    missing = tuple(sorted(digest for digest in used if digest not in store.objects))
    damaged = tuple(sorted(d for d in used - set(missing) if not store.objects.verify(d)))
    problems = (
        *catalogue,
        *(f"object {digest} is missing" for digest in missing),
        *(f"object {digest} is damaged" for digest in damaged),
        *_key_problems(store, salts),
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
        missing=missing,
        damaged=damaged,
        orphaned=sum(digest not in used for digest in store.objects),
        temporaries=len(list((store.objects.root / "tmp").glob("*"))),
        swept=swept,
        packages={package.__name__: _folder(package.__file__) for package in PACKAGES},
    )


def _catalogue_problems(session: Session, pragmas: Mapping[str, str]) -> Iterator[str]:
    for name, expected in PRAGMAS.items():
        if pragmas[name] != expected:
            yield f"SQLite's {name} is {pragmas[name]}, not {expected}"
    for finding in session.scalars(text("PRAGMA integrity_check")):
        if finding != "ok":
            yield f"the catalogue is damaged: {finding}"
    for row in session.execute(text("PRAGMA foreign_key_check")):
        yield f"a row of {row[0]} refers to a row of {row[2]} that is not there"


def _key_problems(store: Store, salts: list[str]) -> Iterator[str]:
    for name in ("store", *salts):
        if name not in store.keys:
            yield f"the secret {name!r} is not among the keys"
    for path in (store.keys.root, *sorted(store.keys.root.iterdir())):
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            yield f"{path} has mode {mode:04o}: others than its owner may use it"


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

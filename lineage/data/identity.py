"""From the id of a person or a record to positions; ids live in the manifests and nowhere else."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa
from pyroaring import BitMap
from sqlalchemy import Row, select

from lineage.data import fences
from lineage.data.mapping import recorded_into
from lineage.data.version import Version, chunks_of
from lineage.errors import AmbiguousIdError, UnknownIdError
from lineage.names import near
from lineage.store import Store
from storage import manifests
from storage.catalogue import tables
from storage.errors import InvalidInputError, NotFoundError
from storage.ids import IdColumn

Positions = dict[str, BitMap]
"""Dataset id → positions."""


def union(*several: Positions) -> Positions:
    """All of these positions."""
    found: Positions = {}
    for each in several:
        for dataset, rows in each.items():
            found[dataset] = found.get(dataset, BitMap()) | rows
    return found


@dataclass(frozen=True, slots=True)
class Erased:
    """An id that a request covers whose work is done, or that is fenced while it is being done."""

    request_id: str
    state: str
    date: datetime


@dataclass(frozen=True, slots=True)
class Identified:
    """Where the records of some ids are, together, and what ``erased`` records of the same ids.

    An id may be gone from one namespace or dataset, by one of several requests, and be in another.
    """

    positions: Positions
    erased: Mapping[str, tuple[Erased, ...]]

    @property
    def erasures(self) -> tuple[Erased, ...]:
        """Every erasure of every id."""
        return tuple(each for several in self.erased.values() for each in several)


def identify(
    store: Store, kind: str, names: Sequence[str], within: str | None = None
) -> Identified:
    """Where ``subject`` or ``record`` ids are, in one pass over the datasets.

    Raises:
        UnknownIdError: no dataset has one of them, and none ever had.
        AmbiguousIdError, NotFoundError: as `resolve`.
    """
    found = resolve(store, kind, names, within)
    erased = _erased(store, kind, found, within)
    require_known(kind, names, {name for name in found if found[name] or name in erased})
    together: Positions = {}
    for positions in found.values():
        for dataset, rows in positions.items():
            together.setdefault(dataset, BitMap()).update(rows)
    return Identified(together, erased)


def _erased(
    store: Store, kind: str, found: Mapping[str, Positions], within: str | None
) -> dict[str, tuple[Erased, ...]]:
    """Return what erased each id in the namespaces or datasets where nothing of it is left."""
    with store.catalogue.read() as session:
        scopes = {each.id: scope_of(each, kind) for each in session.scalars(select(tables.Dataset))}
    there = {name: {scopes[each] for each in positions} for name, positions in found.items()}
    return {
        name: tuple(gone)
        for name, fenced in _fenced(store, kind, found, within).items()
        if (gone := [each for scope, each in fenced.items() if scope not in there[name]])
    }


def require_known(kind: str, names: Sequence[str], known: set[str]) -> None:
    """Refuse ids that are not among the known ones.

    Raises:
        UnknownIdError: it names their places among ``names``.
    """
    missing = [number for number, name in enumerate(names, 1) if name not in known]
    if missing:
        raise UnknownIdError(kind, missing, len(names))


def resolve(
    store: Store, kind: str, names: Sequence[str], within: str | None
) -> dict[str, Positions]:
    """Where the ``subject`` or ``record`` of each id is: id → dataset id → positions.

    ``within`` names the namespace of subjects, or the dataset of records, to look in. Without it,
    records are looked for where they came in: what transforms made of them has the same ids. Ids
    that are nowhere map to nothing.

    Raises:
        InvalidInputError: an id is no text.
        NotFoundError: there is no namespace or dataset ``within``; near names are offered.
        AmbiguousIdError: without ``within``, an id is in several namespaces or datasets, which may
            be different people.
    """
    _require_texts(kind, names)
    if within is not None:
        _require_scope(store, kind, within)
    found: dict[str, Positions] = {name: {} for name in names}
    scopes: dict[str, set[str]] = {name: set() for name in names}
    for dataset, chunks in _datasets(store, made=kind == "subject" or within is not None):
        scope = scope_of(dataset, kind)
        if within is not None and scope != within:
            continue
        hits = manifests.find(store.objects, chunks, **{f"{kind}s": list(found)})
        for name, positions in hits.items():
            if len(positions):
                found[name][dataset.id] = BitMap(positions.tolist())
                scopes[name].add(scope)
    _require_one_scope(kind, names, scopes)
    return found


def _require_scope(store: Store, kind: str, within: str) -> None:
    """Raise if no dataset has this namespace, or for records this name."""
    with store.catalogue.read() as session:
        scopes = {scope_of(each, kind) for each in session.scalars(select(tables.Dataset))}
    if within not in scopes:
        noun = "namespace" if kind == "subject" else "dataset"
        raise NotFoundError(
            f"there is no {noun} {within!r}", hint=near(within, scopes, "dataset list")
        )


def _require_one_scope(
    kind: str, names: Sequence[str], scopes: Mapping[str, Collection[str]]
) -> None:
    mixed = [number for number, name in enumerate(names, 1) if len(scopes[name]) > 1]
    if mixed:
        several = {scope for number in mixed for scope in scopes[names[number - 1]]}
        raise AmbiguousIdError(kind, mixed, len(names), sorted(several))


def id_columns(version: Version) -> tuple[IdColumn, ...]:
    """Return the columns that name the records of a version; rows without any are numbered.

    Rows that a transform made have the ids of the rows they came from, whatever columns those had.
    """
    names = version.dataset.id_columns
    types = {column.name: column.arrow_type for column in version.columns}
    if not names:
        with version.store.catalogue.read() as session:
            derived = bool(recorded_into(session, version.dataset.id))
        if not derived:
            return (IdColumn("row number", pa.int64()),)
        names, types = ["id"], {"id": pa.string()}
    texts = {name for name in names if types[name] == pa.string()}
    unsure = manifests.ambiguous_types(version.store.objects, version.chunks if texts else ())
    return tuple(
        IdColumn(name, types[name], unsure if name in texts else frozenset()) for name in names
    )


def _require_texts(kind: str, names: Sequence[object]) -> None:
    for number, name in enumerate(names, 1):
        if not isinstance(name, str) or not _is_utf8(name):
            raise InvalidInputError(
                f"{kind} {number} of {len(names)} is no text",
                hint="give ids as text, as the file has them",
                number=number,
            )


def _is_utf8(name: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in name)


def scope_of(dataset: tables.Dataset, kind: str) -> str:
    """What a subject id (its namespace) or a record id (its dataset) is unique in."""
    return dataset.namespace if kind == "subject" else dataset.name


def erasures(
    store: Store, kind: str, names: Iterable[str], within: str | None
) -> dict[str, Erased]:
    """The newest request that fenced each id, where one did."""
    fenced = _fenced(store, kind, names, within)
    return {name: list(each.values())[-1] for name, each in fenced.items()}


def _fenced(
    store: Store, kind: str, names: Iterable[str], within: str | None
) -> dict[str, dict[str, Erased]]:
    """Return what fenced each id: namespace or dataset → the newest request, in order of time."""
    with store.catalogue.read() as session:
        datasets = session.scalars(select(tables.Dataset)).all()
        rows = session.execute(
            select(
                tables.Suppression.fingerprint,
                tables.Suppression.created_at,
                tables.Request.id,
                tables.Request.state,
                tables.Request.closed_at,
            )
            .join(tables.Request, tables.Request.id == tables.Suppression.request_id)
            .where(tables.Suppression.lifted_at.is_(None))
            .order_by(tables.Suppression.created_at)
        )
        fenced = {row.fingerprint: row for row in rows}
    scopes = {within} if within is not None else {scope_of(each, kind) for each in datasets}
    found: dict[str, dict[str, Erased]] = {}
    for name in names if fenced else ():
        marks = {fences.fingerprint(store, kind, scope, name): scope for scope in scopes}
        hits = sorted(marks.keys() & fenced.keys(), key=lambda mark: fenced[mark].created_at)
        if hits:
            found[name] = {marks[mark]: _erasure(fenced[mark]) for mark in hits}
    return found


def _erasure(row: Row[str, datetime, str, str, datetime | None]) -> Erased:
    return Erased(row.id, row.state, row.closed_at or row.created_at)


def _datasets(
    store: Store, *, made: bool
) -> list[tuple[tables.Dataset, tuple[manifests.Chunk, ...]]]:
    """Every dataset and its chunks; with ``made``, also those that transforms make."""
    with store.catalogue.read() as session:
        outputs = select(tables.DatasetVersion.dataset_id).join(
            tables.Transform, tables.Transform.output_id == tables.DatasetVersion.id
        )
        wanted = select(tables.Dataset).order_by(tables.Dataset.name)
        if not made:
            wanted = wanted.where(tables.Dataset.id.not_in(outputs))
        return [(each, chunks_of(session, each.id, 2**62)) for each in session.scalars(wanted)]

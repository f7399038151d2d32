"""From the id of a person or a record to positions; ids live in the manifests and nowhere else."""

from dataclasses import dataclass
from datetime import datetime

from pyroaring import BitMap
from sqlalchemy import select

from lineage.data import fences
from lineage.data.version import chunks_of
from lineage.errors import AmbiguousIdError
from lineage.store import Store
from storage import manifests
from storage.catalogue import tables

Positions = dict[str, BitMap]
"""Dataset id → positions."""


@dataclass(frozen=True, slots=True)
class Erased:
    """An id that a request covers whose work is done, or that is fenced while it is being done."""

    request_id: str
    state: str
    date: datetime


def resolve(store: Store, kind: str, names: list[str], within: str | None) -> dict[str, Positions]:
    """Where the ``subject`` or ``record`` of each id is: id → dataset id → positions.

    ``within`` names the namespace of subjects, or the dataset of records, to look in. Without it,
    records are looked for where they came in: what transforms made of them has the same ids. Ids
    that are nowhere map to nothing.

    Raises:
        AmbiguousIdError: without ``within``, an id is in several namespaces or datasets, which may
            be different people.
    """
    found: dict[str, Positions] = {name: {} for name in names}
    scopes: dict[str, set[str]] = {name: set() for name in names}
    for dataset, chunks in _datasets(store, made=kind == "subject" or within is not None):
        scope = scope_of(dataset, kind)
        if within is not None and scope != within:
            continue
        hits = manifests.find(store.objects, chunks, **{f"{kind}s": names})
        for name, positions in hits.items():
            if len(positions):
                found[name][dataset.id] = BitMap(positions.tolist())
                scopes[name].add(scope)
    mixed = {scope for those in scopes.values() if len(those) > 1 for scope in those}
    if mixed:
        what = "namespaces" if kind == "subject" else "datasets"
        option = "--namespace" if kind == "subject" else "--dataset"
        raise AmbiguousIdError(
            f"this {kind} is in several {what}: {', '.join(sorted(mixed))}",
            hint=f"choose one with {option}",
        )
    return found


def scope_of(dataset: tables.Dataset, kind: str) -> str:
    """What a subject id (its namespace) or a record id (its dataset) is unique in."""
    return dataset.namespace if kind == "subject" else dataset.name


def erasure(store: Store, kind: str, name: str, within: str | None) -> Erased | None:
    """The request that fenced an id, if one did."""
    with store.catalogue.read() as session:
        datasets = session.scalars(select(tables.Dataset)).all()
        scopes = {within} if within is not None else {scope_of(each, kind) for each in datasets}
        marks = [fences.fingerprint(store, kind, scope, name) for scope in scopes]
        row = session.execute(
            select(tables.Request.id, tables.Request.state, tables.Suppression.created_at)
            .join(tables.Suppression, tables.Suppression.request_id == tables.Request.id)
            .where(
                tables.Suppression.fingerprint.in_(marks), tables.Suppression.lifted_at.is_(None)
            )
            .order_by(tables.Suppression.created_at.desc())
        ).first()
        if row is None:
            return None
        closed = session.get_one(tables.Request, row[0]).closed_at
    return Erased(row[0], row[1], closed or row[2])


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

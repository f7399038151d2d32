"""Rows whose ids are forgotten in another namespace or dataset: perhaps of the same people.

A fence holds in one namespace, or for records in one dataset, because the same id may be somebody
else's in another. Where nobody said so, because the namespace is only the dataset's name, that
such rows were added is said aloud. Ids that number rows say nothing, and are passed over.
"""

import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from sqlalchemy import select

from lineage.counted import counted
from lineage.data.fences import fingerprint, some_rows
from lineage.store import Store
from storage.catalogue.tables import Dataset, Suppression
from storage.rows import Rows

Fence = tuple[str, str, str]
"""The kind of an id, the namespace or dataset that it is fenced in, and the request's id."""


@dataclass(frozen=True, slots=True)
class Namesakes:
    """The numbers of rows, from 1, whose ids these ``fences`` have in other scopes."""

    rows: tuple[int, ...]
    fences: frozenset[Fence]


def namesakes(
    store: Store, dataset: Dataset, rows: Iterable[Rows], *, subjects: bool, records: bool
) -> Namesakes:
    """Find rows of a dataset whose ``subjects``, ``records`` or both are forgotten elsewhere."""
    with store.catalogue.read() as session:
        raised = session.scalars(select(Suppression).where(Suppression.lifted_at.is_(None)))
        fences = {each.fingerprint: (each.kind, each.scope, each.request_id) for each in raised}
    own = {("subject", dataset.namespace), ("record", dataset.name)}
    asked = {"subject"} if subjects else set()
    asked |= {"record"} if records else set()
    scopes = {(kind, scope) for kind, scope, _ in fences.values() if kind in asked} - own

    found: dict[int, set[Fence]] = {}
    for number, ids in enumerate(_ids(rows) if scopes else (), 1):
        marks = (
            fingerprint(store, kind, scope, name) for kind, scope in scopes for name in ids[kind]
        )
        if hits := {fences[mark] for mark in marks if mark in fences}:
            found[number] = hits
    return Namesakes(tuple(found), frozenset().union(*found.values()))


def tell(dataset: Dataset, found: Namesakes) -> None:
    """Say on standard error which rows were added although their ids are forgotten elsewhere."""
    if not found.rows:
        return
    nouns = {"subject": "namespace", "record": "dataset"}
    scopes = sorted({f"{nouns[kind]} {scope!r}" for kind, scope, _ in found.fences})
    requests = sorted({request for _, _, request in found.fences})
    print(
        f"warning: added {counted(len(found.rows), 'row')} ({some_rows(found.rows)}) to dataset "
        f"{dataset.name!r} with ids that are forgotten in {', '.join(scopes)} by "
        f"{', '.join(requests)}. If they are of the same people, forget them here too, with a "
        "request of their own",
        file=sys.stderr,
    )


def _ids(rows: Iterable[Rows]) -> Iterator[dict[str, list[str]]]:
    """Yield the ids of each row by their kind."""
    for part in rows:
        for record, people in zip(part.records.to_pylist(), part.subjects.to_pylist(), strict=True):
            yield {"record": [record], "subject": people}

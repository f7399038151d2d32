"""Fences: what was asked to be forgotten may not be registered again, nor enter a new run.

A suppressed id is kept as a fingerprint, ``BLAKE2b-256(key=store secret, kind ‖ scope ‖ id)``: it
answers whether an id that someone shows us was erased, and lists nobody. The scope of a subject is
its namespace, that of a record its dataset.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.counted import counted
from lineage.data.version import Version
from lineage.errors import FencedError
from lineage.store import Store
from storage.catalogue.tables import ForgetSet, Request, Suppression
from storage.manifests import load_bitmap
from storage.rows import Rows

SHOWN_ROWS = 5


def fingerprint(store: Store, kind: str, scope: str, identifier: str) -> str:
    """The fingerprint of a ``subject`` in a namespace or of a ``record`` in a dataset (hex)."""
    message = "\0".join((kind, scope, identifier)).encode()
    return blake2b(message, digest_size=32, key=store.keys.get("store")).hexdigest()


def suppressions(session: Session) -> dict[str, str]:
    """Every fence in force: fingerprint → id of the request that raised it."""
    rows = session.execute(
        select(Suppression.fingerprint, Suppression.request_id).where(
            Suppression.lifted_at.is_(None)
        )
    )
    return {row.fingerprint: row.request_id for row in rows}


def forgotten(session: Session, dataset_id: str) -> BitMap:
    """Positions of a dataset named by any accepted request that was not cancelled."""
    sets = session.scalars(
        select(ForgetSet.positions)
        .join(Request, Request.id == ForgetSet.request_id)
        .where(ForgetSet.dataset_id == dataset_id, Request.state != "cancelled")
    )
    return BitMap.union(BitMap(), *(load_bitmap(data) for data in sets))


def erased(session: Session, dataset_id: str) -> BitMap:
    """Positions of a dataset named by a request that is done: their rows are no more."""
    sets = session.scalars(
        select(ForgetSet.positions)
        .join(Request, Request.id == ForgetSet.request_id)
        .where(ForgetSet.dataset_id == dataset_id, Request.state == "done")
    )
    return BitMap.union(BitMap(), *(load_bitmap(data) for data in sets))


def check_rows(
    store: Store,
    fences: Mapping[str, str],
    rows: Iterable[Rows],
    dataset: str,
    namespace: str,
) -> None:
    """Refuse rows of a dataset, whose subjects are of a namespace, that are fenced.

    Raises:
        FencedError: some rows are of an erased or restricted subject or record.
    """
    if not fences:
        return
    found: list[int] = []
    requests: set[str] = set()
    number = 0
    for part in rows:
        for record, people in zip(part.records.to_pylist(), part.subjects.to_pylist(), strict=True):
            number += 1
            marks = [fingerprint(store, "record", dataset, record)]
            marks += [fingerprint(store, "subject", namespace, person) for person in people]
            hits = {fences[mark] for mark in marks if mark in fences}
            if hits:
                found.append(number)
                requests |= hits
    if found:
        are = counted(len(found), f"row ({some_rows(found)}) is", f"rows ({some_rows(found)}) are")
        raise FencedError(
            f"{are} of subjects or records being forgotten or already erased by "
            f"{', '.join(sorted(requests))}; nothing was added",
            hint="take these rows out of the file",
            rows=found,
            requests=sorted(requests),
        )


def some_rows(numbers: Sequence[int]) -> str:
    """Return the first of some numbers of rows.

    >>> some_rows([3, 7]), some_rows(range(1, 10))
    ('row 3, 7', 'row 1, 2, 3, 4, 5 …')
    """
    return f"row {', '.join(map(str, numbers[:SHOWN_ROWS]))}" + (
        " …" if len(numbers) > SHOWN_ROWS else ""
    )


def check_unchanged(session: Session, fences: Mapping[str, str]) -> None:
    """Refuse where a fence was raised after rows were checked against these.

    Raises:
        FencedError: one was.
    """
    if suppressions(session).keys() - fences.keys():
        raise FencedError(
            "a request to forget was accepted while rows were being added; nothing was added",
            hint="run the same command again",
        )


def check_versions(store: Store, versions: Iterable[Version]) -> None:
    """Refuse dataset versions that still hold rows which are to be forgotten.

    Raises:
        FencedError: some do; their heads do not.
    """
    with store.catalogue.read() as session:
        for version in versions:
            barred = forgotten(session, version.dataset.id) - version.deleted
            barred.remove_range(version.row.rows, 2**32)
            if barred:
                raise FencedError(
                    f"{len(barred)} rows of dataset version {version.id} are being forgotten",
                    hint=f"use the newest version of dataset {version.dataset.name!r}",
                    version=version.id,
                )

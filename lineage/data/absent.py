"""Requests whose rows a derived version lacks: what it is made of is to be thought without them.

Rows leave a version when their request is accepted, before any transform is executed again. Later
it can be told from nothing else that its runs had no part of them.
"""

from collections.abc import Iterable, Iterator

from pyroaring import BitMap
from sqlalchemy import select, true
from sqlalchemy.orm import Session

from lineage.data.identity import Positions, union
from lineage.data.mapping import maker
from lineage.data.retained import live, taken_out
from storage.catalogue.tables import DatasetVersion, ForgetSet, Request
from storage.manifests import load_bitmap


def requests(session: Session, state: str | None = None) -> list[Positions]:
    """Return what each request names, or each in a ``state``."""
    found = (
        select(ForgetSet.request_id, ForgetSet.dataset_id, ForgetSet.positions)
        .join(Request, Request.id == ForgetSet.request_id)
        .where(true() if state is None else Request.state == state)
    )
    named: dict[str, Positions] = {}
    for request_id, dataset, rows in session.execute(found):
        named.setdefault(request_id, {})[dataset] = load_bitmap(rows)
    return list(named.values())


def absent(session: Session, version: DatasetVersion, named: Iterable[Positions]) -> Positions:
    """Return all that those of some requests name whose rows were taken out of a version.

    Rows may also have been taken out of what it was made of. It holds no row of these requests.
    """
    behind = [(each, taken_out(session, each)) for each in _derived(session, version)]
    nothing = BitMap()
    return union(
        *(
            rows
            for rows in named
            if any(rows.get(each.dataset_id, nothing) & gone for each, gone in behind)
            and not any(rows.get(each.dataset_id, nothing) & live(each) for each, _ in behind)
        )
    )


def _derived(session: Session, version: DatasetVersion) -> Iterator[DatasetVersion]:
    """The version and those that it was made of, where a transform made them."""
    made = maker(session, version)
    if made is not None:
        yield version
        for each in made.input_ids:
            yield from _derived(session, session.get_one(DatasetVersion, each))

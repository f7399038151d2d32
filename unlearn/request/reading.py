"""Reading requests: which are open, and what they ask to forget."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.manifests import load_bitmap
from unlearn.errors import RequestError

AT_ONCE = 10_000
"""How many values a query names; SQLite takes no more than some thirty thousand."""


def batches(names: Sequence[str]) -> Iterator[Sequence[str]]:
    """These names in parts that a query can take."""
    return (names[first : first + AT_ONCE] for first in range(0, len(names), AT_ONCE))


class Open(NamedTuple):
    """An open request: when it came, and by when it must be done, if anything says so."""

    id: str
    received_at: datetime
    due_at: datetime | None


def open_requests(session: Session, request_ids: Sequence[str]) -> list[Open]:
    """These requests, each once, in the order given; all of them must be open.

    Raises:
        NotFoundError: one does not exist.
        RequestError: one is done or cancelled.
    """
    names, request = list(dict.fromkeys(request_ids)), tables.Request
    columns = select(request.id, request.received_at, request.due_at, request.state)
    known = {
        row.id: row
        for some in batches(names)
        for row in session.connection().execute(columns.where(request.id.in_(some)))
    }
    for name in names:
        if name not in known:
            raise NotFoundError(f"there is no request {name}", hint="see `expunge request list`")
        if known[name].state != "open":
            raise RequestError(
                f"request {name} is {known[name].state}", hint="see `expunge request list`"
            )
    return [Open(*known[name][:3]) for name in names]


def forget_sets(session: Session, request_ids: Sequence[str]) -> Positions:
    """The positions that these requests name: dataset id → positions."""
    asked = tables.ForgetSet
    sets: dict[str, list[BitMap]] = {}
    for some in batches(request_ids):
        found = select(asked.dataset_id, asked.positions).where(asked.request_id.in_(some))
        for dataset, positions in session.execute(found):
            sets.setdefault(dataset, []).append(load_bitmap(positions))
    return {dataset: BitMap.union(*each) for dataset, each in sets.items()}

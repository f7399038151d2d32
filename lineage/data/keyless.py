"""Rows whose key is gone: they were erased, with somebody or beside somebody.

A row of a transform is erased with anybody who had a part in it, though others, who stay, had one
too.
"""

from collections.abc import Iterator
from datetime import datetime

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.store import Store
from storage import manifests
from storage.catalogue import tables


def keyless(
    store: Store, session: Session, records: Positions, since: datetime | None = None
) -> Iterator[tuple[str, BitMap]]:
    """Yield those of the records (dataset id → positions) that have no key any more.

    Only redacted chunks have such; ``since`` looks at those alone that were redacted from then on.
    """
    redacted = select(tables.Redaction.chunk_id)
    if since is not None:
        redacted = redacted.where(tables.Redaction.created_at >= since)
    chunks = select(tables.Chunk).where(
        tables.Chunk.id.in_(redacted), tables.Chunk.dataset_id.in_(list(records))
    )
    for row in session.scalars(chunks):
        first, after = row.first_position, row.first_position + row.rows
        asked = records[row.dataset_id] & BitMap(range(first, after))
        if asked:
            chunk = manifests.Chunk(first, row.rows, row.manifest, row.data)
            kept = manifests.read_index(store.objects, (chunk,)).positions
            yield row.dataset_id, asked - BitMap(kept.tolist())

"""Commitments: an append-only sequence of (kind, digest, time).

An entry is written in the transaction of the row it commits to, so neither exists without the
other. The digest is SHA-256 over the RFC 8785 canonical JSON of what the row says.
"""

import hashlib
from collections.abc import Mapping
from datetime import datetime

import rfc8785
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.catalogue.tables import Commitment


def json_digest(content: Mapping[str, object]) -> str:
    """SHA-256 (hex) of canonical JSON.

    >>> json_digest({"b": 1, "a": 2}) == json_digest({"a": 2, "b": 1})
    True
    """
    return hashlib.sha256(rfc8785.dumps(dict(content))).hexdigest()  # type: ignore[arg-type]


def commit(
    session: Session, kind: str, row_id: str, content: Mapping[str, object], now: datetime
) -> str:
    """Append the commitment to ``content`` inside the caller's transaction; returns its digest."""
    digest = json_digest({"kind": kind, "id": row_id, "content": dict(content)})
    session.add(Commitment(kind=kind, row_id=row_id, digest=digest, created_at=now))
    return digest


def revision(session: Session, *kinds: str) -> int:
    """The number of the newest commitment (of these kinds): it rises whenever the graph changes."""
    newest = select(func.max(Commitment.sequence))
    return session.scalar(newest.where(Commitment.kind.in_(kinds)) if kinds else newest) or 0

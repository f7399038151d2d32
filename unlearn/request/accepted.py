"""What a request to forget is answered with."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from lineage.data.identity import Erased
from storage.catalogue import tables


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request that covers some ids: a new one, one that waits, or one whose work is done.

    ``state`` is ``open`` or ``done``; ``date`` is when it was received, or was done. An open one
    must be done by ``due_at``.
    """

    request_id: str
    state: str
    date: datetime
    due_at: datetime | None = None

    @property
    def id(self) -> str:
        """The request's typed id, ``req-…``."""
        return self.request_id

    @classmethod
    def waiting(cls, request: tables.Request) -> Self:
        """An open request."""
        return cls(request.id, request.state, request.received_at, request.due_at)

    @classmethod
    def erased(cls, by: Erased) -> Self:
        """A request whose work is done."""
        return cls(by.request_id, by.state, by.date)

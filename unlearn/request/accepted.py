"""What a request to forget is answered with: a receipt; and what its withdrawal is."""

from dataclasses import dataclass
from datetime import datetime
from typing import Self

from lineage.data.identity import Erased
from storage.catalogue import tables
from unlearn.errors import RequestError


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

    @classmethod
    def waiting(cls, request: tables.Request) -> Self:
        """An open request."""
        return cls(request.id, request.state, request.received_at, request.due_at)

    @classmethod
    def erased(cls, by: Erased) -> Self:
        """A request whose work is done."""
        return cls(by.request_id, by.state, by.date)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The ``requests`` that cover the ids that were given, each once, in the order of the ids.

    There is one for each subject, new or from before. Records that are asked for together are one
    request; those that earlier requests cover stay with these.
    """

    requests: tuple[Accepted, ...]

    @property
    def request_ids(self) -> tuple[str, ...]:
        """The ids of the requests."""
        return tuple(each.request_id for each in self.requests)

    @property
    def open_ids(self) -> tuple[str, ...]:
        """The ids of the requests that wait for a plan."""
        return tuple(each.request_id for each in self.requests if each.state == "open")

    @property
    def only(self) -> Accepted:
        """The one request.

        Raises:
            RequestError: there are several.
        """
        if len(self.requests) > 1:
            raise RequestError(
                f"this receipt has {len(self.requests)} requests",
                hint="read request_ids or requests",
            )
        return self.requests[0]

    @property
    def request_id(self) -> str:
        """The id of the one request, as `only`."""
        return self.only.request_id

    @property
    def id(self) -> str:
        """The same as ``request_id``."""
        return self.only.request_id

    @property
    def state(self) -> str:
        """``open`` while a request is; ``done`` if all are."""
        return "open" if self.open_ids else "done"

    @property
    def due_at(self) -> datetime | None:
        """By when the first of the open requests must be done."""
        return min((each.due_at for each in self.requests if each.due_at), default=None)


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """What became of a cancelled request.

    The rows of the datasets to ``derive`` come back only when these are derived again. ``restored``
    are versions that were published again in place of interim ones; ``interim`` are those of
    cancelled plans that stay in use, because other requests wait.
    """

    derive: tuple[str, ...]
    restored: tuple[str, ...]
    interim: tuple[str, ...]

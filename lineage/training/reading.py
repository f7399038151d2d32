"""Reading rows of a run only where it is known what they are read for.

A row that reaches a program is learned from at a step, fitted on, measured, or looked at to draw an
order: each leaves a trace that questions and plans find. So rows can be read only inside one of
these blocks, in the process that opened it. Everywhere else reading is refused by name.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from operator import index
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from lineage.errors import UnattributedReadError


@dataclass(slots=True)
class DueItem:
    """An item of a loader whose step is known: it may read the row of its own number alone.

    ``read`` are the rows that it read, and ``fault`` says what it may not have read.
    """

    row: int
    read: list[int] = field(default_factory=list)
    fault: str = ""

    def check(self) -> str:
        """Return what is wrong with what the item read, in a sentence; empty if nothing is."""
        if not self.fault and set(self.read) != {self.row}:
            read = ", ".join(map(str, sorted(set(self.read)))) or "none"
            self.fault = f"item {self.row} of the loader's dataset read these rows: {read}"
        return self.fault


@dataclass(frozen=True, slots=True)
class _Open:
    """What may be read now: rows of one dataset, all where ``rows`` is None; or a due item's."""

    process: int
    alias: str
    rows: NDArray[np.bool_] | None = None
    item: DueItem | None = None


class Permit:
    """Says which rows of a run may be read now. It is shared by all that read for the run.

    A worker process gets a copy, which allows nothing that was allowed to its parent.
    """

    def __init__(self, scheduled: str | None) -> None:
        self._scheduled = scheduled
        self._open: _Open | None = None

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Return itself: a copied dataset reads under the permit of its run."""
        return self

    @contextmanager
    def item(self, row: int) -> Iterator[DueItem]:
        """Allow a due item to read its own row in this block."""
        assert self._scheduled is not None
        due = DueItem(row)
        with self._opened(_Open(os.getpid(), self._scheduled, item=due)):
            yield due

    @contextmanager
    def rows(self, alias: str, rows: NDArray[np.bool_] | None = None) -> Iterator[None]:
        """Allow to read some present rows of a dataset in this block; all, where none are named."""
        with self._opened(_Open(os.getpid(), alias, rows)):
            yield

    def require(self, alias: str, row: int) -> None:
        """Raise if a row may not be read now.

        Raises:
            UnattributedReadError: nothing says what it is read for.
        """
        now = self._open
        if now is None or now.process != os.getpid():
            raise self._refusal(alias, row, "outside of what a step, a fit or a measure reads")
        if now.item is not None:
            self._of_item(now.item, alias, row)
        elif now.alias != alias:
            raise self._refusal(alias, row, f"where only rows of {now.alias!r} are read")
        elif now.rows is not None and not now.rows[row]:
            raise self._refusal(alias, row, "by the fit of a shard that it is not in")

    def _of_item(self, due: DueItem, alias: str, row: int) -> None:
        if alias != self._scheduled:
            refused = self._refusal(alias, row, f"by item {due.row} of the loader's dataset")
            due.fault = refused.message
            raise refused
        due.read.append(row)
        if row != due.row:
            raise UnattributedReadError(due.check())

    def _refusal(self, alias: str, row: int, where: str) -> UnattributedReadError:
        learn = "learn from rows inside `loaded`, in this item's own __getitem__; "
        if alias != self._scheduled:
            learn = f"to learn from its rows train on {alias!r}; "
        return UnattributedReadError(
            f"row {row} of dataset {alias!r} is read {where}, so no step can be named for it",
            hint=f"{learn}run.fit fits on rows, run.evaluate measures them in its own process",
        )

    @contextmanager
    def _opened(self, what: _Open) -> Iterator[None]:
        before, self._open = self._open, what
        try:
            yield
        finally:
            self._open = before


@dataclass(frozen=True, slots=True)
class Loading:
    """What a process needs to load batches of a run: it is copied into worker processes."""

    seed: Callable[[int], None]
    permit: Permit


@dataclass(frozen=True, slots=True)
class RowReader:
    """The present rows of a dataset, each a dictionary of NumPy values, as far as they are due.

    Its length is nominal, as everything is that a program may know of rows beforehand.
    """

    permit: Permit
    alias: str
    length: int
    columns: Mapping[str, NDArray[np.generic]]

    def __len__(self) -> int:
        """The nominal number of records."""
        return self.length

    def __getitem__(self, row: SupportsIndex) -> dict[str, Any]:
        """Read a row.

        Raises:
            UnattributedReadError: it is read where nothing says what for.
        """
        number = index(row)
        self.permit.require(self.alias, number)
        return {name: column[number] for name, column in self.columns.items()}


class Lent:
    """The columns of rows that a program may read until ``close``."""

    __slots__ = ("_alias", "_column", "_until")

    def __init__(
        self, column: Callable[[str], NDArray[np.generic]], alias: str, until: str
    ) -> None:
        self._column: Callable[[str], NDArray[np.generic]] | None = column
        self._alias = alias
        self._until = until

    def __call__(self, name: str) -> NDArray[np.generic]:
        """Return a column.

        Raises:
            UnattributedReadError: they are not to be read any more.
        """
        if self._column is None:
            raise UnattributedReadError(
                f"column {name!r} of a batch of dataset {self._alias!r} is read after "
                f"{self._until}, so no step can be named for its rows",
                hint="read what you need of a batch before you ask for the next",
            )
        return self._column(name)

    def close(self) -> None:
        """Refuse every reading from now on."""
        self._column = None


@dataclass(frozen=True, slots=True)
class Drawing:
    """An order that may look at the rows it orders while it is drawn; see ``Order``.

    What it looks at decides who comes when, and a recorded order is known to be drawn with all.
    """

    order: Any
    permit: Permit
    alias: str

    def __len__(self) -> int:
        """The batches of an epoch."""
        return len(self.order)

    def __iter__(self) -> Iterator[Sequence[int]]:
        """Draw an epoch."""
        with self.permit.rows(self.alias):
            yield from self.order

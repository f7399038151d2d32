"""What names the records of a loader's items: their row, a key of a sample, or a list of ids."""

from collections.abc import Callable, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from lineage.errors import ProgramError
from lineage.integrations.torch.file_order import Names, rows_of
from lineage.schedule.contract import Positions
from lineage.training.observed import Observed
from storage.ids import plain_values

Record = str | int | Callable[[Any], object]
"""What names the record of a sample: a key or place in it, or a function to an id or a list."""

Order = Literal["file"]
"""The loader's dataset has its items in the order of the registered dataset."""

Locate = Callable[[Sequence[Any]], Positions]
"""From what names records to their positions."""

_PLAIN = frozenset({str, int})
"""Types of ids that need no second look."""


class Naming(NamedTuple):
    """What names the records of items, and what finds these.

    ``by_sample`` if samples say so themselves, whatever their numbers are.
    """

    names: Names
    locate: Locate
    by_sample: bool = False


def naming(
    loader: DataLoader[Any],
    run: Observed,
    record: Record | Sequence[object] | None,
    order: Order | None,
) -> Naming:
    """Return what names the records of items, and what finds these.

    Raises:
        ProgramError: nothing does.
    """
    locator = run.locator
    width = len(locator.id_columns)
    if callable(record):
        return Naming(partial(_by_key, record, width), locator.ids, by_sample=True)
    if isinstance(record, str | int):
        return Naming(partial(_by_key, itemgetter(record), width), locator.ids, by_sample=True)
    if isinstance(loader.dataset, IterableDataset):
        raise ProgramError(
            "the items of a stream have no numbers to tell records by",
            hint="say what names the record of a sample: record='id'",
        )
    if record is None:
        together = loader.batch_size is None and isinstance(loader.sampler, BatchSampler)
        found = rows_of(loader.dataset, run.version, checked=order is None, together=together)
        if found.key is not None:
            key = itemgetter(found.key)
            return Naming(partial(_by_key, key, width), locator.ids, by_sample=True)
        return Naming(found.names, locator.rows)
    if len(record) != len(loader.dataset):  # type: ignore[arg-type]
        raise ProgramError(
            f"{len(record)} ids are given for the {len(loader.dataset)} items of a loader",  # type: ignore[arg-type]
            hint="give a list with what names the record of each item",
        )
    places = [locator.ids(_listed(each, width)).tolist() for each in record]
    return Naming(partial(_by_place, places), _as_positions)


def _by_key(
    name: Callable[[Any], object], width: int, _indexes: Sequence[Any], samples: Sequence[Any]
) -> Sequence[Any]:
    try:
        names = list(map(name, samples))
    except (LookupError, AttributeError, TypeError):
        names = [_named(name, sample) for sample in samples if sample is not None]
    if _PLAIN.issuperset(map(type, names)):
        return names
    # A sample that lists no record at all does not say whose it is.
    return [each for found in names for each in _listed(plain_values(found), width) or [None]]


def _named(name: Callable[[Any], object], sample: Any) -> object:
    """Return what names a sample; None where it does not say."""
    try:
        return name(sample)
    except (LookupError, AttributeError, TypeError):
        return None


def _listed(name: Any, width: int) -> Sequence[Any]:
    """Return the names of a sample that is made of several records, or of one.

    An id of ``width`` columns is a tuple.
    """
    if isinstance(name, tuple) and len(name) == width > 1:
        several = any(isinstance(each, tuple | list) for each in name)
        return name if several else [name]
    return name if isinstance(name, list | tuple) else [name]


def _by_place(
    positions: Sequence[list[int]], indexes: Sequence[Any], _samples: Sequence[Any]
) -> list[int]:
    return [position for index in indexes for position in positions[index]]


def _as_positions(positions: Sequence[int]) -> Positions:
    return np.array(positions, np.int64)

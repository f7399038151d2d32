"""Items of a loader's dataset that are known by their row in the registered file.

Nothing in an item says which row it is, and a length shows no order. So a sample of items is
compared with what was registered, or the user says that the order is the file's.
"""

import random
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.utils.data import ConcatDataset, Subset

from lineage.data.version import Version
from lineage.errors import ProgramError
from storage import manifests
from storage.intake import ColumnKind

Names = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]
"""From the indexes and samples of some items to what names their records, one after the other."""

SAMPLE = 64
"""Items that are compared with what was registered."""

_HINT = "name the record of a sample: watch(loader, record='id'), or say order='file' if it is that"


def rows_of(dataset: Any, version: Version, *, checked: bool, together: bool = False) -> Names:
    """Return what tells the rows of items, through the parts of datasets that torch knows.

    A dataset that is asked for items ``together`` makes a batch of a list of them.

    Raises:
        ProgramError: the innermost dataset is not the registered one, or where it is to be
            ``checked``, is not seen to have its order.
    """
    whole, names = _innermost(dataset)
    registered = len(version.present.records)
    if len(whole) != registered:
        raise ProgramError(
            f"the loader's dataset has {len(whole)} items, and the registered one "
            f"{registered} records",
            hint="name the record of a sample: watch(loader, record='id')",
        )
    if checked and registered:
        _check_order(whole, version, together=together)
    return names


def _innermost(dataset: Any) -> tuple[Any, Names]:
    """Return the dataset that a part was selected from, and what tells its rows."""
    if isinstance(dataset, Subset):
        whole, names = _innermost(dataset.dataset)
        return whole, partial(_selected, dataset.indices, names)
    if isinstance(dataset, ConcatDataset):
        parts = [_innermost(part) for part in dataset.datasets]
        wholes = [whole for whole, _ in parts]
        if all(whole is wholes[0] for whole in wholes):
            inner = [names for _, names in parts]
            return wholes[0], partial(_concatenated, dataset.cumulative_sizes, inner)
        if any(whole is not part for whole, part in zip(wholes, dataset.datasets, strict=True)):
            raise ProgramError(
                "the loader's dataset joins parts of several datasets, whose rows are not one file",
                hint="name the record of a sample: watch(loader, record='id')",
            )
    return dataset, _same


def _same(indexes: Sequence[Any], _samples: Sequence[Any]) -> Sequence[Any]:
    # The sampler may use its list again.
    return tuple(indexes)


def _selected(
    chosen: Sequence[int], names: Names, indexes: Sequence[Any], samples: Sequence[Any]
) -> Sequence[Any]:
    return names([chosen[index] for index in indexes], samples)


def _concatenated(
    ends: Sequence[int], parts: Sequence[Names], indexes: Sequence[Any], samples: Sequence[Any]
) -> Sequence[Any]:
    found: list[Any] = []
    for index in indexes:
        place = index + ends[-1] if index < 0 else index
        part = bisect_right(ends, place)
        found += parts[part]([place - (ends[part - 1] if part else 0)], samples)
    return found


def _check_order(dataset: Any, version: Version, *, together: bool) -> None:
    """Make sure that items are the rows of the version, in order, as far as a sample shows."""
    records = len(version.present.records)
    rows = np.unique(np.linspace(0, records - 1, min(records, SAMPLE)).astype(np.int64))
    items = _items(dataset, rows.tolist(), together=together)
    names = [column.name for column in version.columns if _comparable(column.name, items)]
    compared: list[str] = []
    registered = _cells(version, names, rows) if names else {}
    for name in names:
        verdicts = [
            _equal(item[name], cell) for item, cell in zip(items, registered[name], strict=True)
        ]
        if False in verdicts:
            raise ProgramError(
                f"item {rows[verdicts.index(False)]} of the loader's dataset has another "
                f"{name!r} than that row of dataset {version.dataset.name!r}",
                hint=_HINT,
            )
        if None not in verdicts:
            compared.append(name)
    if not _tells_apart(version, compared, rows):
        raise ProgramError(
            "nothing shows that the loader's dataset has the order of dataset "
            f"{version.dataset.name!r}: its items share no telling column with it",
            hint=_HINT,
        )


def _items(dataset: Any, rows: Sequence[int], *, together: bool) -> Sequence[Any]:
    """Return some items of a dataset, each fetched alone, as a loader would fetch it.

    Raises:
        ProgramError: they cannot be fetched by their number.
    """
    several = getattr(dataset, "__getitems__", None)
    try:
        with _randomness_kept():
            if several is not None:
                return [several([row])[0] for row in rows]
            return [dataset[[row] if together else row] for row in rows]
    except (LookupError, NotImplementedError, TypeError) as error:
        raise ProgramError(
            "the items of the loader's dataset cannot be fetched one by one to compare them",
            hint=_HINT,
        ) from error


def _comparable(name: str, items: Sequence[Any]) -> bool:
    return all(isinstance(item, Mapping) and name in item for item in items)


def _cells(version: Version, names: Sequence[str], rows: Any) -> dict[str, list[Any]]:
    if not names:
        return {}
    positions = version.present.positions[rows]
    pieces = manifests.read_cells(version.store.objects, version.chunks, names, positions)
    table = pa.Table.from_batches(list(pieces))
    return {name: table.column(name).to_pylist() for name in names}


def _equal(value: Any, cell: Any) -> bool | None:
    """Return True if a value is that of a cell, and None where they cannot be compared."""
    if isinstance(cell, str):
        return value == cell if isinstance(value, str) else None
    if cell is None or isinstance(value, str):
        return None
    try:
        found = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError):
        return None
    wanted = np.asarray(cell, np.float64).reshape(-1)
    return found.shape == wanted.shape and np.allclose(found, wanted, 1e-5, 1e-8, equal_nan=True)


def _tells_apart(version: Version, names: Sequence[str], rows: Any) -> bool:
    """Return True if most of some rows differ in these columns from all others."""
    if any(each.kind is ColumnKind.VECTOR for each in version.columns if each.name in names):
        return True
    if not names:
        return False
    cells = _cells(version, names, np.arange(len(version.present.records)))
    keys = list(zip(*cells.values(), strict=True))
    often = Counter(keys)
    alone = sum(often[keys[row]] == 1 for row in rows.tolist())
    return alone > 0.9 * len(rows)


@contextmanager
def _randomness_kept() -> Iterator[None]:
    """Leave the generators as they were: reading an item may draw from them."""
    plain, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)

"""Items of a loader's dataset that are known by their row in the registered file.

Nothing in an item says which row it is, and a length shows no order. So a sample of items is
compared with what was registered, or the user says that the order is the file's.
"""

import random
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from torch.utils.data import ConcatDataset, Subset

from lineage.data.version import Version
from lineage.errors import ProgramError
from lineage.integrations.torch.beside import Beside
from storage import manifests
from storage.intake import ColumnKind

Names = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]
"""From the indexes and samples of some items to what names their records, one after the other."""

SAMPLE = 64
"""Items that are compared with what was registered."""

_HINT = "name the record of a sample: watch(loader, record='id'), or say order='file' if it is that"


class FileRows(NamedTuple):
    """What tells the rows of items; ``key`` is where an item says its own id, if it does."""

    names: Names
    key: str | None = None


def rows_of(dataset: Any, version: Version, *, checked: bool, together: bool = False) -> FileRows:
    """Return what tells the rows of items, through the parts of datasets that torch knows.

    A dataset that is asked for items ``together`` makes a batch of a list of them.

    Raises:
        ProgramError: the innermost dataset is not the registered one, or where it is to be
            ``checked``, is not seen to have its order; or a part gives its items in a way of its
            own, and they are not to be compared.
    """
    whole, through = _innermost(dataset)
    own = None if checked else _with_own_way(dataset)
    if own is not None:
        raise ProgramError(
            f"the loader reads a {type(own).__name__}, which gives items in a way of its own, so "
            "nobody knows which rows they are",
            hint="name the record of a sample: watch(loader, record='id'), or change samples in "
            "the dataset inside",
        )
    registered = len(version.present.records)
    if len(whole) != registered:
        raise ProgramError(
            f"the loader's dataset has {len(whole)} items, and the registered one "
            f"{registered} records",
            hint="name the record of a sample: watch(loader, record='id')",
        )
    if not checked or not registered:
        return FileRows(through(_same))
    compared = _compared(whole, version, together=together)
    ids = version.dataset.id_columns
    if len(ids) == 1 and ids[0] in compared:
        return FileRows(through(_same), key=ids[0])
    return FileRows(through(_StillThere(version, compared)))


def _innermost(dataset: Any) -> tuple[Any, Callable[[Names], Names]]:
    """Return the dataset that a part was selected from, and the way to what tells its rows."""
    if _is_plain(dataset, Subset):
        whole, through = _innermost(dataset.dataset)
        return whole, lambda names: partial(_selected, dataset, through(names))
    if _is_plain(dataset, ConcatDataset):
        parts = [_innermost(part) for part in dataset.datasets]
        wholes = [whole for whole, _ in parts]
        if all(whole is wholes[0] for whole in wholes):
            return wholes[0], lambda names: partial(
                _concatenated, dataset.cumulative_sizes, [through(names) for _, through in parts]
            )
        if any(whole is not part for whole, part in zip(wholes, dataset.datasets, strict=True)):
            raise ProgramError(
                "the loader's dataset joins parts of several datasets, whose rows are not one file",
                hint="name the record of a sample: watch(loader, record='id')",
            )
    return dataset, lambda names: names


def _is_plain(dataset: Any, kind: type[Any]) -> bool:
    """Return True if a dataset is of a kind, and gives the items of it as the kind does."""
    own, of_kind = type(dataset), ("__getitem__", "__getitems__", "__len__")
    return isinstance(dataset, kind) and all(
        getattr(own, name, None) is getattr(kind, name, None) for name in of_kind
    )


def _with_own_way(dataset: Any) -> Any:
    """Return the part of a dataset that gives its items in another way than torch's, if any."""
    for kind in (Subset, ConcatDataset):
        if isinstance(dataset, kind) and not _is_plain(dataset, kind):
            return dataset
    parts = [dataset.dataset] if isinstance(dataset, Subset) else []
    parts += dataset.datasets if isinstance(dataset, ConcatDataset) else []
    return next((own for each in parts if (own := _with_own_way(each)) is not None), None)


def _same(indexes: Sequence[Any], _samples: Sequence[Any]) -> Sequence[Any]:
    # The sampler may use its list again.
    return tuple(indexes)


def _selected(
    subset: Subset[Any], names: Names, indexes: Sequence[Any], samples: Sequence[Any]
) -> Sequence[Any]:
    # What a subset holds may be chosen anew, so it is asked each time.
    return names([subset.indices[index] for index in indexes], samples)


def _concatenated(
    ends: Sequence[int], parts: Sequence[Names], indexes: Sequence[Any], samples: Sequence[Any]
) -> Sequence[Any]:
    found: list[Any] = []
    for number, index in enumerate(indexes):
        place = index + ends[-1] if index < 0 else index
        part = bisect_right(ends, place)
        within = place - (ends[part - 1] if part else 0)
        found += parts[part]([within], samples[number : number + 1])
    return found


class _StillThere:
    """Tells rows while items still have the values of these rows in one column.

    A dataset may give its items another order at any time; one item of each fetch is compared.
    """

    def __init__(self, version: Version, compared: Sequence[str]) -> None:
        plain = [each.name for each in version.columns if each.kind is not ColumnKind.VECTOR]
        self._column = next((name for name in compared if name in plain), compared[0])
        self._cells = _every_cell(version, self._column)

    def __call__(self, rows: Sequence[Any], samples: Sequence[Any]) -> Sequence[Any]:
        """Return the rows.

        Raises:
            ProgramError: the items have another order by now.
        """
        rows = tuple(rows)
        if rows and not -len(self._cells) <= min(rows) <= max(rows) < len(self._cells):
            raise ProgramError(
                f"item {max(rows)} of the loader's dataset is beyond the registered records",
                hint=_HINT,
            )
        if len(rows) == len(samples) and samples[-1] is not None:
            cell = self._cells[rows[-1]]
            value = samples[-1][self._column]
            if isinstance(cell, bytes):
                cell = np.frombuffer(cell, np.float64)
            if _equal(value, cell) is False:
                raise ProgramError(
                    f"item {rows[-1]} of the loader's dataset has another {self._column!r} than it "
                    "had: its order has changed",
                    hint=_HINT,
                )
        return rows


def _compared(dataset: Any, version: Version, *, together: bool) -> Sequence[str]:
    """Return the columns by which items are seen to be the rows of the version, in order.

    Raises:
        ProgramError: some are not, or it cannot be seen.
    """
    records = len(version.present.records)
    rows = np.unique(np.linspace(0, records - 1, min(records, SAMPLE)).astype(np.int64))
    items = _items(dataset, rows.tolist(), together=together)
    compared: list[str] = []
    for name in [each.name for each in version.columns if _is_in(each.name, items)]:
        cells = _cells(version, name, rows)
        verdicts = [_equal(item[name], cell) for item, cell in zip(items, cells, strict=True)]
        if False in verdicts:
            raise ProgramError(
                f"item {rows[verdicts.index(False)]} of the loader's dataset has another "
                f"{name!r} than that row of dataset {version.dataset.name!r}",
                hint=_HINT,
            )
        if None not in verdicts:
            compared.append(name)
    if not compared or not _tell_apart(version, compared):
        raise ProgramError(
            "nothing shows that the loader's dataset has the order of dataset "
            f"{version.dataset.name!r}: no columns that both have tell its records apart",
            hint=_HINT,
        )
    return compared


def _items(dataset: Any, rows: Sequence[int], *, together: bool) -> Sequence[Any]:
    """Return some items of a dataset, each fetched alone, as a loader would fetch it.

    Raises:
        ProgramError: they cannot be fetched by their number, or the dataset changes as they are.
    """
    several, beside = getattr(dataset, "__getitems__", None), Beside()
    try:
        with _randomness_kept(dataset), beside.fetching(dataset):
            if several is not None:
                items = [several([row])[0] for row in rows]
            else:
                items = [dataset[[row] if together else row] for row in rows]
    except (LookupError, NotImplementedError, TypeError) as error:
        raise ProgramError(
            "the items of the loader's dataset cannot be fetched one by one to compare them",
            hint=_HINT,
        ) from error
    if beside.has_kept:
        raise ProgramError(
            "the loader's dataset changes a tensor of its own where an item is read, so looking at "
            "items changes what it gives",
            hint="make a new dataset, and name the record of a sample: watch(loader, record='id')",
        )
    return items


def _is_in(name: str, items: Sequence[Any]) -> bool:
    return all(isinstance(item, Mapping) and name in item for item in items)


def _cells(version: Version, name: str, rows: NDArray[np.int64]) -> list[Any]:
    positions = version.present.positions[rows]
    pieces = manifests.read_cells(version.store.objects, version.chunks, [name], positions)
    cells: list[Any] = pa.Table.from_batches(list(pieces)).column(name).to_pylist()
    return cells


def _every_cell(version: Version, name: str) -> list[Any]:
    """Return a column of all present rows; vectors as the bytes of their float64."""
    kinds = {each.name: each.kind for each in version.columns}
    if kinds[name] is ColumnKind.VECTOR:
        vectors = version.column(name)[version.present.positions]
        return [vector.tobytes() for vector in vectors.astype(np.float64)]
    return _cells(version, name, np.arange(len(version.present.records)))


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


def _tell_apart(version: Version, names: Sequence[str]) -> bool:
    """Return True if no two records are the same in all of these columns."""
    keys = list(zip(*(_every_cell(version, name) for name in names), strict=True))
    return len(set(keys)) == len(keys)


@contextmanager
def _randomness_kept(dataset: Any) -> Iterator[None]:
    """Leave generators as they were, also those that a dataset holds: reading items draws."""
    plain, arrays = random.getstate(), np.random.get_state()
    own = [_restoring(each) for each in getattr(dataset, "__dict__", {}).values()]
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(arrays)
        for restore in own:
            restore()


def _restoring(thing: Any) -> Callable[[], object]:
    """Return what brings a generator back to where it is now; nothing for anything else."""
    match thing:
        case np.random.Generator():
            return partial(setattr, thing.bit_generator, "state", thing.bit_generator.state)
        case np.random.RandomState():
            return partial(thing.set_state, thing.get_state())
        case torch.Generator():
            return partial(thing.set_state, thing.get_state())
        case random.Random():
            return partial(thing.setstate, thing.getstate())
    return lambda: None

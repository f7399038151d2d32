"""Loaders whose batches carry the positions of their records, whatever reads them ahead."""

import copy
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, Subset

from lineage.errors import ProgramError
from lineage.schedule.contract import Positions
from lineage.training.locate import Locator, Rows
from storage.ids import plain_values

Name = str | Callable[[Any], object]
"""What names the record of a sample: a key of it, or a function from it to an id or a list."""


Locate = Callable[[Sequence[Any]], Positions]
"""From what names records to their positions."""


class Noted(NamedTuple):
    """A batch as the loader made it, and the positions of its records (n,)."""

    positions: Positions
    batch: Any


class _Fetched(NamedTuple):
    """Samples on their way to their batch, or one that is a batch; with what names the records."""

    names: Sequence[Any]
    samples: Any


Names = Callable[[Sequence[Any], Sequence[Any]], Sequence[Any]]
"""From the indexes and samples of some items to what names their records, one after the other."""


def noting(
    loader: DataLoader[Any], locator: Locator, record: Name | Sequence[object] | None
) -> DataLoader[Noted]:
    """The same loader, which gives `Noted` batches.

    ``record`` may also be a sequence with what names the record of each item.

    Raises:
        ProgramError: without ``record``, its items are not those of the registered dataset.
    """
    names, locate = _naming(loader, locator, record)
    streams = isinstance(loader.dataset, IterableDataset)
    dataset = (_Stream if streams else _Items)(loader.dataset, names)
    return changed(loader, dataset=dataset, collate_fn=_Collated(loader.collate_fn, locate))


def noted(
    loader: DataLoader[Any], locator: Locator, record: Name | None
) -> "DataLoader[Noted] | Listed":
    """The same, by the lists that batches are made of where that is as sure, and costs less.

    Raises:
        ProgramError: without ``record``, its items are not those of the registered dataset.
    """
    streams = isinstance(loader.dataset, IterableDataset)
    if loader.num_workers or streams or record is not None or loader.batch_sampler is None:
        return noting(loader, locator, record)
    _check_countable(loader, locator)
    return Listed(loader)


class Listed:
    """A loader without workers, whose batches come with the rows of the list each is made of.

    A list is drawn and at once read, so nothing has to travel with its samples. Workers read later,
    in another process, where the list, the dataset and the order of batches may be others by then.
    """

    def __init__(self, loader: DataLoader[Any]) -> None:
        names = _by_row(loader.dataset)
        if names is _same and not _made_afresh(loader):
            names = _copied
        self._lists = _Lists(loader.batch_sampler, names)
        self._loader = changed(loader, batch_sampler=self._lists)

    def __iter__(self) -> Iterator[tuple[Rows, Any]]:
        batches = iter(self._loader)
        drawn = self._lists.drawn
        for batch in batches:
            yield drawn.popleft(), batch

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


class _Lists:
    """A batch sampler whose lists are kept; ``drawn`` are those of the newest iterator."""

    def __init__(self, batches: Any, names: "Names") -> None:
        self._batches = batches
        self._names = names
        self.drawn: deque[Rows] = deque()

    def __iter__(self) -> Iterator[Sequence[Any]]:
        self.drawn = deque()
        return self._kept(iter(self._batches), self.drawn)

    def __len__(self) -> int:
        return len(self._batches)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._batches, name)

    def _kept(
        self, batches: Iterator[Sequence[Any]], drawn: deque[Rows]
    ) -> Iterator[Sequence[Any]]:
        for indexes in batches:
            drawn.append(self._names(indexes, ()))
            yield indexes


class Watched:
    """A noting loader that hands out the batches, and tells ``draw`` whose records they have.

    ``late`` tells so of a batch when the next one is asked for. ``begin`` is called where the
    loader starts anew. Everything else is the loader's own.
    """

    def __init__(
        self,
        loader: "DataLoader[Noted] | Listed",
        draw: Callable[[Any], object],
        begin: Callable[[], object] = lambda: None,
        *,
        late: bool = False,
    ) -> None:
        self._loader = loader
        self._draw = draw
        self._begin = begin
        self._late = late

    def __iter__(self) -> Iterator[Any]:
        self._begin()
        for records, batch in self._loader:
            if not self._late:
                self._draw(records)
            yield batch
            if self._late:
                self._draw(records)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def changed(loader: DataLoader[Any], **attributes: Any) -> DataLoader[Any]:
    """A copy of a loader with other attributes, among them some that it guards once it is made."""
    copied = copy.copy(loader)
    vars(copied).update(attributes, _iterator=None)
    return copied


class _Wrapped:
    """A dataset in another's place; attributes are the wrapped one's, read and written."""

    def __init__(self, dataset: Any, names: Names) -> None:
        vars(self).update(_wrapped=dataset, _names=names)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or "_wrapped" not in vars(self):
            raise AttributeError(attribute)
        return getattr(vars(self)["_wrapped"], attribute)

    def __setattr__(self, attribute: str, value: object) -> None:
        setattr(vars(self)["_wrapped"], attribute, value)

    def __len__(self) -> int:
        return len(vars(self)["_wrapped"])


class _Items(_Wrapped, Dataset[_Fetched]):
    """A map-style dataset whose samples come with what names their records."""

    def __getitem__(self, index: Any) -> _Fetched:
        sample = self._wrapped[index]
        indexes = index if isinstance(index, list) else [index]
        return _Fetched(self._names(indexes, [sample]), sample)

    def __getitems__(self, indexes: Sequence[Any]) -> _Fetched:
        wrapped = self._wrapped  # looking an attribute up takes long in a class that hands them on
        together = getattr(wrapped, "__getitems__", None)
        # A dataset may use up the list that it is given.
        samples = together([*indexes]) if together else [wrapped[index] for index in indexes]
        return _Fetched(self._names(indexes, samples), samples)


class _Stream(_Wrapped, IterableDataset[_Fetched]):
    """An iterable dataset whose samples come with what names their records."""

    def __iter__(self) -> Iterator[_Fetched]:
        for sample in self._wrapped:
            yield _Fetched(self._names([], [sample]), sample)


class _Collated:
    """Collates samples as the loader does, and what names their records to positions."""

    def __init__(self, collate: Callable[[Any], Any], locate: Locate) -> None:
        self._collate = collate
        self._locate = locate

    def __call__(self, fetched: _Fetched | list[_Fetched]) -> Noted:
        if not isinstance(fetched, _Fetched):  # a stream gives its samples one by one
            names = [name for each in fetched for name in each.names]
            fetched = _Fetched(names, [each.samples for each in fetched])
        return Noted(self._locate(fetched.names), self._collate(fetched.samples))


def _naming(
    loader: DataLoader[Any], locator: Locator, record: Name | Sequence[object] | None
) -> tuple[Names, Locate]:
    """What names the records of items, and how these are found."""
    if record is None:
        _check_countable(loader, locator)
        return _by_row(loader.dataset), locator.rows
    width = len(locator.id_columns)
    if isinstance(record, str):
        return partial(_by_sample, itemgetter(record), width), locator.ids
    if callable(record):
        return partial(_by_sample, record, width), locator.ids
    found = [locator.ids(_listed(each, width)).tolist() for each in record]
    return partial(_by_place, found), _as_positions


def _by_row(dataset: Any) -> Names:
    """Items are rows of the registered dataset, through however many subsets of it."""
    if not isinstance(dataset, Subset):
        return _same
    return partial(_through, dataset.indices, _by_row(dataset.dataset))


def _same(indexes: Sequence[Any], _samples: Sequence[Any]) -> Sequence[Any]:
    return indexes


def _copied(indexes: Sequence[Any], _samples: Sequence[Any]) -> Sequence[Any]:
    return tuple(indexes)


def _made_afresh(loader: DataLoader[Any]) -> bool:
    """Whether nothing but the loader ever has the list of a batch in its hands."""
    return type(loader.batch_sampler) is BatchSampler and not hasattr(
        loader.dataset, "__getitems__"
    )


def _through(
    chosen: Sequence[int], names: Names, indexes: Sequence[Any], samples: Sequence[Any]
) -> Sequence[Any]:
    return names([chosen[index] for index in indexes], samples)


def _by_sample(
    name: Callable[[Any], object], width: int, _indexes: Sequence[Any], samples: Sequence[Any]
) -> list[Any]:
    return [each for sample in samples for each in _listed(_named(name, sample), width)]


def _by_place(
    positions: Sequence[list[int]], indexes: Sequence[Any], _samples: Sequence[Any]
) -> list[int]:
    return [position for index in indexes for position in positions[index]]


def _as_positions(positions: Sequence[int]) -> Positions:
    return np.array(positions, np.int64)


def _named(name: Callable[[Any], object], sample: Any) -> object:
    """What names a sample, numbers and lists of arrays too; None where it does not say."""
    try:
        found: Any = name(sample)
    except (LookupError, AttributeError, TypeError):
        return None
    return plain_values(found)


def _listed(name: Any, width: int) -> Sequence[Any]:
    """A sample made of several records lists their names; an id of ``width`` columns is a tuple."""
    if isinstance(name, tuple) and len(name) == width > 1:
        several = any(isinstance(each, tuple | list) for each in name)
        return name if several else [name]
    return name if isinstance(name, list | tuple) else [name]


def _check_countable(loader: DataLoader[Any], locator: Locator) -> None:
    whole: Any = loader.dataset
    while isinstance(whole, Subset):
        whole = whole.dataset
    hint = "say what names the record of a sample: watch(loader, record='id')"
    if isinstance(whole, IterableDataset):
        raise ProgramError("the items of a stream have no numbers to tell records by", hint=hint)
    if len(whole) != len(locator):
        raise ProgramError(
            f"the loader's dataset has {len(whole)} items, and the registered one "
            f"{len(locator)} records",
            hint=hint,
        )

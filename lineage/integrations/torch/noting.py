"""Loaders whose batches carry the positions of their records, whatever reads them ahead."""

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset

from lineage.errors import ProgramError
from lineage.schedule.contract import Positions
from lineage.training.locate import Locator

Name = str | Callable[[Any], object]
"""What names the record of a sample: a key of it, or a function from it to an id or a list."""


Locate = Callable[[Sequence[Any]], Positions]
"""From what names records to their positions."""


class Noted(NamedTuple):
    """A batch as the loader made it, and the positions of its records (n,)."""

    positions: Positions
    batch: Any


class _Item(NamedTuple):
    """A sample on its way to its batch, with what names its record."""

    name: Any
    sample: Any


def noting(loader: DataLoader[Any], locator: Locator, record: Name | None) -> DataLoader[Noted]:
    """The same loader, which gives `Noted` batches.

    Raises:
        ProgramError: without ``record``, its items are not those of the registered dataset.
    """
    if record is None:
        _check_countable(loader, locator)
        rows = _rows_of(loader.dataset)
        name = None
    else:
        rows = None
        name = itemgetter(record) if isinstance(record, str) else record
    streams = isinstance(loader.dataset, IterableDataset)
    dataset = (_Stream if streams else _Items)(loader.dataset, name, rows)
    batched = loader.batch_sampler is not None if not streams else loader.batch_size is not None
    locate: Locate = locator.rows if record is None else locator.ids
    collate = _Collated(loader.collate_fn, locate, batched)
    return changed(loader, dataset=dataset, collate_fn=collate)


def changed(loader: DataLoader[Any], **attributes: Any) -> DataLoader[Any]:
    """A copy of a loader with other attributes, among them some that it guards once it is made."""
    copied = copy.copy(loader)
    vars(copied).update(attributes, _iterator=None)
    return copied


class _Wrapped:
    """A dataset in another's place; attributes are the wrapped one's, read and written."""

    def __init__(
        self, dataset: Any, name: Callable[[Any], object] | None, rows: Callable[[Any], Any] | None
    ) -> None:
        vars(self).update(_wrapped=dataset, _name=name, _rows=rows)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or "_wrapped" not in vars(self):
            raise AttributeError(attribute)
        return getattr(vars(self)["_wrapped"], attribute)

    def __setattr__(self, attribute: str, value: object) -> None:
        setattr(vars(self)["_wrapped"], attribute, value)

    def __len__(self) -> int:
        return len(vars(self)["_wrapped"])


class _Items(_Wrapped, Dataset[_Item]):
    """A map-style dataset whose samples say which item they are, or what names them."""

    def __getitem__(self, index: Any) -> _Item:
        return self._item(index, self._wrapped[index])

    def __getitems__(self, indexes: Sequence[Any]) -> list[_Item]:
        together = getattr(self._wrapped, "__getitems__", None)
        samples = together(indexes) if together else [self._wrapped[index] for index in indexes]
        return [self._item(*each) for each in zip(indexes, samples, strict=True)]

    def _item(self, index: Any, sample: Any) -> _Item:
        return _Item(
            self._rows(index) if self._name is None else _named(self._name, sample), sample
        )


class _Stream(_Wrapped, IterableDataset[_Item]):
    """An iterable dataset whose samples say what names them."""

    def __iter__(self) -> Iterator[_Item]:
        for sample in self._wrapped:
            yield _Item(_named(self._name, sample), sample)


class _Collated:
    """Collates samples as the loader does, and what names them to positions."""

    def __init__(
        self,
        collate: Callable[[Any], Any],
        locate: Locate,
        batched: bool,
    ) -> None:
        self._collate = collate
        self._locate = locate
        self._batched = batched

    def __call__(self, items: Any) -> Noted:
        together = items if self._batched else [items]
        names: list[Any] = []
        for item in together:
            names.extend(item.name if isinstance(item.name, list | tuple) else [item.name])
        samples = [item.sample for item in items] if self._batched else items.sample
        return Noted(self._locate(names), self._collate(samples))


def _named(name: Callable[[Any], object], sample: Any) -> object:
    """What names a sample; None where it does not say."""
    try:
        return name(sample)
    except (LookupError, AttributeError, TypeError):
        return None


def _rows_of(dataset: Any) -> Callable[[Any], Any]:
    """From an item of a dataset to a row of the registered one: through subsets of it."""
    if not isinstance(dataset, Subset):
        return _same
    return partial(_through, _rows_of(dataset.dataset), dataset.indices)


def _same(index: Any) -> Any:
    return index


def _through(rows: Callable[[Any], Any], indices: Sequence[int], index: Any) -> Any:
    if isinstance(index, list):
        return [rows(indices[each]) for each in index]
    return rows(indices[index])


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

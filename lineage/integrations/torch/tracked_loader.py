"""Loaders whose batches carry the identity of their records, whatever fetches or keeps them.

Positions of records travel with the samples of a batch, through worker processes too, until the
batch leaves the loader; from there on its tensors carry them.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from operator import itemgetter
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset

from lineage.errors import ProgramError
from lineage.integrations.torch.file_order import Names, rows_of
from lineage.integrations.torch.tracked_tensor import as_plain, batches_in, tensors_of, track
from lineage.schedule.contract import Positions
from lineage.training.observed import Observed

Record = str | int | Callable[[Any], object]
"""What names the record of a sample: a key or place in it, or a function to an id or a list."""

Order = Literal["file"]
"""The loader's dataset has its items in the order of the registered dataset."""

Locate = Callable[[Sequence[Any]], Positions]
"""From what names records to their positions."""

_PLAIN = frozenset({str, int})
"""Types of ids that need no second look."""


class BatchWithPositions(NamedTuple):
    """A batch as the loader made it, the positions of its records (n,), and of how many samples."""

    positions: Positions
    samples: int | None
    batch: Any


class _Fetched(NamedTuple):
    """Samples on their way to their batch, or one that is a batch; with what names the records."""

    names: Sequence[Any]
    samples: Any
    size: int | None


def tracked(
    loader: Any,
    run: Observed,
    record: Record | Sequence[object] | None = None,
    order: Order | None = None,
) -> Any:
    """Return the same loader, whose batches carry the identity of their records.

    ``record`` may also be a sequence with what names the record of each item. Wrappers of
    accelerate and Lightning Fabric stay around it.

    Raises:
        ProgramError: it is no loader of torch, or its items cannot be matched with records.
    """
    inside = _inside(loader)
    if inside is not None:
        return _copied(loader, {inside: tracked(vars(loader)[inside], run, record, order)})
    if not isinstance(loader, DataLoader):
        raise ProgramError(
            f"watch was given a {type(loader).__name__}, which is no DataLoader of torch",
            hint="watch the DataLoader inside it, and build the rest around what watch() returns",
        )
    names, locate = _naming(loader, run, record, order)
    whole = loader.batch_size is None and loader.batch_sampler is None
    wrapped = _Stream if isinstance(loader.dataset, IterableDataset) else _Items
    copied = changed(
        loader,
        dataset=wrapped(loader.dataset, names, whole),
        collate_fn=_Collated(loader.collate_fn, locate),
    )
    return handing(copied, run)


def handing(loader: Any, run: Observed) -> Any:
    """Let a loader hand out tracked batches, that was made of the parts of a tracked one."""
    base = base_of(loader)
    if isinstance(base.dataset, _Wrapped):
        # The loader's class may have its own way to iterate: what that starts from is changed.
        begin = base._get_iterator
        vars(base)["_get_iterator"] = lambda: _Handing(begin(), run)
    return loader


class ObservedLoader:
    """A tracked loader that tells a run which batches it hands to the loop.

    ``late`` tells so of a batch when the next one is asked for. Everything else is the loader's.
    """

    def __init__(self, loader: Any, run: Observed, *, late: bool = False) -> None:
        self._loader = loader
        self._run = run
        self._late = late

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            drawn = batches_in(batch)
            if not drawn:
                raise ProgramError(
                    "a watched loader handed out a batch that does not carry its records",
                    hint="make batches of what the loader's dataset and collate function give",
                )
            if not self._late:
                self._draw(drawn)
            yield batch
            if self._late:
                self._draw(drawn)

    def __len__(self) -> int:
        return len(self._loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)

    def _draw(self, batches: Any) -> None:
        for each in batches:
            self._run.draw(each)


def base_of(loader: Any) -> Any:
    """Return the loader of torch inside those of accelerate and Lightning Fabric."""
    inside = _inside(loader)
    return loader if inside is None else base_of(vars(loader)[inside])


def changed(loader: DataLoader[Any], **attributes: Any) -> DataLoader[Any]:
    """Return a copy of a loader with other attributes, even those that it guards once made."""
    copied: DataLoader[Any] = _copied(loader, {**attributes, "_iterator": None})
    return copied


def _copied(loader: Any, attributes: Mapping[str, Any]) -> Any:
    # Wrappers change how they are copied; a plain object with the same attributes is wanted.
    copied = object.__new__(type(loader))
    vars(copied).update(vars(loader), **attributes)
    return copied


def _inside(loader: Any) -> str | None:
    """Return the attribute by which a wrapper that we know holds its loader."""
    package = type(loader).__module__.partition(".")[0]
    held = {"accelerate": "base_dataloader", "lightning": "_dataloader"}.get(package)
    return held if held in getattr(loader, "__dict__", ()) else None


class _Handing:
    """The iterator of a loader of torch, whose batches come without positions, and know them."""

    def __init__(self, loads: Any, run: Observed) -> None:
        self._loads = loads
        self._run = run

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        positions, samples, batch = next(self._loads)
        tensors = list(tensors_of(batch))
        partial = samples is not None and _extent(tensors, batch) < samples
        if not track(tensors, self._run.identify(positions, partial=partial)):
            raise ProgramError(
                "a batch of the watched loader holds no tensor that could carry its records",
                hint="make tensors in the dataset or in the loader's collate_fn",
            )
        return batch

    def __len__(self) -> int:
        return len(self._loads)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loads, name)


def _extent(tensors: Sequence[Tensor], batch: Any) -> int:
    """Return how many samples there may be in a batch: the length of its longest part."""
    with as_plain():
        longest = max((len(each) for each in tensors if each.dim()), default=0)
    return max(longest, _longest_list(batch))


def _longest_list(batch: Any) -> int:
    if isinstance(batch, Mapping):
        return max(map(_longest_list, batch.values()), default=0)
    return len(batch) if isinstance(batch, list | tuple) else 0


class _Wrapped:
    """A dataset in another's place; attributes are the wrapped one's, read and written."""

    def __init__(self, dataset: Any, names: Names, whole: bool) -> None:
        vars(self).update(_wrapped=dataset, _names=names, _whole=whole)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or "_wrapped" not in vars(self):
            raise AttributeError(attribute)
        return getattr(vars(self)["_wrapped"], attribute)

    def __setattr__(self, attribute: str, value: object) -> None:
        setattr(vars(self)["_wrapped"], attribute, value)

    def __len__(self) -> int:
        return len(vars(self)["_wrapped"])


class _Items(_Wrapped, Dataset[Any]):
    """A map-style dataset whose samples come with what names their records, where a loader asks.

    ``whole`` where an item is a batch; then its names come with each item, else with lists of them.
    """

    def __getitem__(self, index: Any) -> Any:
        sample = self._wrapped[index]
        if not self._whole:
            return sample
        indexes = index if isinstance(index, list) else [index]
        return _Fetched(self._names(indexes, [sample]), sample, None)

    def __getitems__(self, indexes: Sequence[Any]) -> _Fetched:
        wrapped = self._wrapped  # looking an attribute up takes long in a class that hands them on
        together = getattr(wrapped, "__getitems__", None)
        # A dataset may use up the list that it is given.
        samples = together([*indexes]) if together else [wrapped[index] for index in indexes]
        return _Fetched(self._names(indexes, samples), samples, _count(samples))


class _Stream(_Wrapped, IterableDataset[_Fetched]):
    """An iterable dataset whose samples come with what names their records."""

    def __iter__(self) -> Iterator[_Fetched]:
        for sample in self._wrapped:
            yield _Fetched(self._names([], [sample]), sample, None)


class _Collated:
    """Collates samples as the loader does, and what names their records to positions."""

    def __init__(self, collate: Callable[[Any], Any], locate: Locate) -> None:
        self._collate = collate
        self._locate = locate

    def __call__(self, fetched: _Fetched | list[_Fetched]) -> BatchWithPositions:
        if not isinstance(fetched, _Fetched):  # a stream gives its samples one by one
            names = [name for each in fetched for name in each.names]
            samples = [each.samples for each in fetched]
            fetched = _Fetched(names, samples, _count(samples))
        positions = self._locate(fetched.names)
        return BatchWithPositions(positions, fetched.size, self._collate(fetched.samples))


def _count(samples: Sequence[Any]) -> int:
    """Return how many samples there are; None holds nothing of any record."""
    return sum(sample is not None for sample in samples)


def _naming(
    loader: DataLoader[Any],
    run: Observed,
    record: Record | Sequence[object] | None,
    order: Order | None,
) -> tuple[Names, Locate]:
    """Return what names the records of items, and what finds these."""
    locator = run.locator
    if isinstance(record, str | int):
        return partial(_by_key, itemgetter(record)), locator.ids
    if callable(record):
        return partial(_by_key, record), locator.ids
    if isinstance(loader.dataset, IterableDataset):
        raise ProgramError(
            "the items of a stream have no numbers to tell records by",
            hint="say what names the record of a sample: record='id'",
        )
    if record is None:
        together = loader.batch_size is None and isinstance(loader.sampler, BatchSampler)
        checked = order is None
        return rows_of(
            loader.dataset, run.version, checked=checked, together=together
        ), locator.rows
    found = [locator.ids(_listed(each)).tolist() for each in record]
    return partial(_by_place, found), _as_positions


def _by_key(
    name: Callable[[Any], object], _indexes: Sequence[Any], samples: Sequence[Any]
) -> Sequence[Any]:
    try:
        names = [name(sample) for sample in samples if sample is not None]
    except (LookupError, AttributeError, TypeError):
        names = [_named(name, sample) for sample in samples if sample is not None]
    if _PLAIN.issuperset(map(type, names)):
        return names
    return [each for found in names for each in _listed(found)]


def _named(name: Callable[[Any], object], sample: Any) -> object:
    """Return what names a sample; None where it does not say."""
    try:
        return name(sample)
    except (LookupError, AttributeError, TypeError):
        return None


def _listed(name: Any) -> Sequence[Any]:
    """Return the names of a sample: a list of them where it is made of several records."""
    if hasattr(name, "tolist"):
        name = name.tolist()
    return name if isinstance(name, list | tuple) else [name]


def _by_place(
    positions: Sequence[list[int]], indexes: Sequence[Any], _samples: Sequence[Any]
) -> list[int]:
    return [position for index in indexes for position in positions[index]]


def _as_positions(positions: Sequence[int]) -> Positions:
    return np.array(positions, np.int64)

"""Batches that bring the positions of their records along, from wherever they are made.

What names the records travels with the samples to where they are collated, in a worker process or
in this one; the positions travel with the batch; and here its tensors begin to carry its identity.
No loader, and nothing that is built around one, needs to know of it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

from torch.utils.data import Dataset, IterableDataset, get_worker_info

from lineage.integrations.torch.file_order import Names
from lineage.integrations.torch.record_names import Locate
from lineage.integrations.torch.tracked_tensor import as_plain, tensors_of, track
from lineage.schedule.contract import Positions
from lineage.training.observed import Observed

_WATCHED: WeakValueDictionary[str, Observed] = WeakValueDictionary()
"""The runs that are watched in this process: a batch from a worker process knows its run's id."""


class BatchWithPositions:
    """A batch in a worker process, and the positions of its records (n,).

    Where it arrives it is the batch alone, whose tensors carry its identity. A ``partial`` batch
    may hold fewer records than are named.
    """

    def __init__(self, run: str, positions: Positions, partial: bool, batch: Any) -> None:
        self.about = (run, positions, partial, batch)

    def __reduce__(self) -> Any:
        """Return how to arrive."""
        return _arrive, self.about


def _arrive(run_id: str, positions: Positions, partial: bool, batch: Any) -> Any:
    run = _WATCHED.get(run_id)
    if run is not None:
        track(tensors_of(batch), run.identify(positions, partial=partial))
    return batch


class Collate:
    """Collates samples as a loader does; the batch carries the identity of its records."""

    def __init__(self, run: Observed, collate: Callable[[Any], Any], locate: Locate) -> None:
        self._run_id = run.id
        self._collate = collate
        self._locate = locate
        _WATCHED[run.id] = run

    def __call__(self, fetched: "_Fetched | list[_Fetched]") -> Any:
        """Return the batch of some samples, or in a worker process what becomes it."""
        if not isinstance(fetched, _Fetched):  # a stream gives its samples one by one
            names = [name for each in fetched for name in each.names]
            fetched = _Fetched(names, [each.samples for each in fetched], single=False)
        positions = self._locate(fetched.names)
        # A loader's function may use up the list that it is given.
        samples = fetched.samples if fetched.single else [*fetched.samples]
        batch = self._collate(fetched.samples)
        partial = not fetched.single and _holds_fewer(batch, samples)
        about = (self._run_id, positions, partial, batch)
        return _arrive(*about) if get_worker_info() is None else BatchWithPositions(*about)


class _Fetched(NamedTuple):
    """Samples on their way to their batch, or a ``single`` one; with what names the records."""

    names: Sequence[Any]
    samples: Any
    single: bool


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


class Items(_Wrapped, Dataset[Any]):
    """A map-style dataset whose samples come with what names their records, where a loader asks.

    ``whole`` where an item is a batch; then its names come with each item, else with lists of them.
    """

    def __getitem__(self, index: Any) -> Any:
        sample = self._wrapped[index]
        if not self._whole:
            return sample
        indexes = index if isinstance(index, list) else [index]
        return _Fetched(self._names(indexes, [sample]), sample, single=True)

    def __getitems__(self, indexes: Sequence[Any]) -> _Fetched:
        wrapped = self._wrapped  # looking an attribute up takes long in a class that hands them on
        together = getattr(wrapped, "__getitems__", None)
        # A dataset may use up the list that it is given.
        samples = together([*indexes]) if together else [wrapped[index] for index in indexes]
        return _Fetched(self._names(indexes, samples), samples, single=False)


class Stream(_Wrapped, IterableDataset[_Fetched]):
    """An iterable dataset whose samples come with what names their records."""

    def __iter__(self) -> Iterator[_Fetched]:
        for sample in self._wrapped:
            yield _Fetched(self._names([], [sample]), sample, single=True)


def _holds_fewer(batch: Any, samples: Sequence[Any]) -> bool:
    """Return True if a batch may lack some of its samples: no part of it has room for all."""
    enough = len(samples)
    with as_plain():
        for each in tensors_of(batch):
            if each.dim() and each.shape[0] >= enough:
                return False
    # None holds nothing of any record.
    return _longest(batch) < sum(sample is not None for sample in samples)


def _longest(batch: Any) -> int:
    """Return the length of the longest list or tensor in a batch."""
    if isinstance(batch, Mapping):
        return max(map(_longest, batch.values()), default=0)
    longest = len(batch) if isinstance(batch, list | tuple) else 0
    with as_plain():
        return max([longest, *(len(each) for each in tensors_of(batch) if each.dim())])

"""Batches that bring the positions of their records along, from wherever they are made.

What names the records travels with the samples to where they are collated, in a worker process or
in this one; the positions travel with the batch; and here its tensors begin to carry its identity.
No loader, and nothing that is built around one, needs to know of it: a loader that is made anew of
the dataset and the collate function of a tracked one is tracked too.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import is_
from typing import Any, NamedTuple
from weakref import WeakValueDictionary

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, default_collate, get_worker_info

from lineage.integrations.torch.batch_contents import Contents, contents_of, tensors_of
from lineage.integrations.torch.beside import Beside
from lineage.integrations.torch.file_order import Names
from lineage.integrations.torch.record_names import Locate
from lineage.integrations.torch.tracked_tensor import (
    TrackedTensor,
    as_plain,
    lose_track,
    track,
)
from lineage.schedule.contract import Positions
from lineage.training.locate import MISSING
from lineage.training.observed import Observed

SOME = -1
"""The place of a tensor that is of some sample, nobody knows of which."""

_WATCHED: WeakValueDictionary[str, Observed] = WeakValueDictionary()
"""The runs that are watched in this process: a batch from a worker process knows its run's id."""


class About(NamedTuple):
    """What is known of a batch where it is collated: of which run it is, and of which records.

    A ``partial`` batch may hold fewer records than are named. It was made of ``samples``, and is
    ``stacked`` of them by torch itself, or else ``places`` says for each of its tensors of which
    sample it is: None for all of them, `SOME` for nobody knows which.
    """

    run: str
    positions: Positions
    partial: bool
    samples: int
    stacked: bool = False
    places: Sequence[int | None] = ()
    lost: bool = False


class BatchWithPositions:
    """A batch in a worker process, and what is known of it.

    Where it arrives it is the batch alone, whose tensors carry its identity.
    """

    def __init__(self, about: About, batch: Any) -> None:
        self.about = (about, batch)

    def __reduce__(self) -> Any:
        """Return how to arrive."""
        return _arrive, self.about


def _arrive(about: About, batch: Any) -> Any:
    run = _WATCHED.get(about.run)
    if run is None:
        return batch
    drawn = run.identify(about.positions, partial=about.partial)
    tensors = tensors_of(batch)
    if about.lost:
        lose_track(run.sink)
    if not about.places:
        track(tensors, drawn, samples=about.samples, stacked=about.stacked)
        return batch
    for tensor, place in zip(tensors, about.places, strict=True):
        own = drawn if place is None else drawn.part
        if place is not None and place != SOME:
            own = drawn.piece(place, about.samples)
        track([tensor], own, samples=about.samples)
    return batch


class Collate:
    """Collates samples as a loader does; the batch carries the identity of its records.

    ``names`` is what names the records of samples that say so themselves; others come with what
    names theirs. Attributes are those of the loader's own function, read and written.
    """

    def __init__(
        self,
        run: Observed,
        collate: Callable[[Any], Any],
        locate: Locate,
        names: Names | None,
        beside: Beside,
    ) -> None:
        vars(self).update(_run_id=run.id, _collate=collate, _locate=locate)
        vars(self).update(_names=names, _beside=beside)
        _WATCHED[run.id] = run

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or "_collate" not in vars(self):
            raise AttributeError(attribute)
        return getattr(vars(self)["_collate"], attribute)

    def __setattr__(self, attribute: str, value: object) -> None:
        setattr(vars(self)["_collate"], attribute, value)

    def collate_by(self, function: Callable[[Any], Any]) -> None:
        """Collate by another function from now on."""
        vars(self)["_collate"] = function

    def __call__(self, given: Any) -> Any:
        """Return the batch of some samples, or in a worker process what becomes it."""
        fetched = self._fetched(given)
        positions = self._positions(fetched)
        # A loader's function may use up the list that it is given.
        samples = fetched.samples if fetched.single else [*fetched.samples]
        batch = vars(self)["_collate"](fetched.samples)
        about = self._and_beside(self._about(batch, samples, positions, fetched.single))
        return (
            _arrive(about, batch) if get_worker_info() is None else BatchWithPositions(about, batch)
        )

    def _fetched(self, given: Any) -> "_Fetched":
        """Return samples with what names their records, by whatever way that came here."""
        names: Names | None = vars(self)["_names"]
        if isinstance(given, _Fetched):
            return given
        if isinstance(given, list) and given and all(isinstance(each, _Fetched) for each in given):
            found = [name for each in given for name in each.names or ()]
            return _Fetched(found, [each.samples for each in given], single=False)
        if names is not None:
            return _Fetched(names([], given), given, single=False)
        if isinstance(given, _NamedSamples) and given.is_as_fetched():
            return _Fetched(given.names, given.fetched, single=False)
        # Samples that something else made of the dataset's: nobody knows their records.
        return _Fetched(None, given, single=not isinstance(given, list))

    def _positions(self, fetched: "_Fetched") -> Positions:
        if fetched.names is None:
            return np.full(1 if fetched.single else len(fetched.samples), MISSING, np.int64)
        positions: Positions = vars(self)["_locate"](fetched.names)
        return positions

    def _and_beside(self, about: About) -> About:
        """Add what else was read, of which nobody knows what became of it."""
        names, kept = vars(self)["_beside"].take()
        about = about._replace(lost=about.lost or kept)
        if not names:
            return about
        others = np.setdiff1d(vars(self)["_locate"](names), about.positions)
        if not others.size:
            return about
        return about._replace(positions=np.append(about.positions, others), partial=True)

    def _about(self, batch: Any, samples: Any, positions: Positions, single: bool) -> About:
        count = len(positions) if single else len(samples)
        partial = not single and _holds_fewer(batch, samples)
        with as_plain():
            stacked = not single and vars(self)["_collate"] is default_collate
            contents = contents_of(batch, 0 if single or stacked else count)
            places = () if single or stacked else _places(contents, samples)
            lost = _has_other_data(contents, count)
        return About(vars(self)["_run_id"], positions, partial, count, stacked, places, lost)


class _Fetched(NamedTuple):
    """Samples on their way to their batch, or a ``single`` one; with what names the records.

    There are no ``names`` where nobody knows the records.
    """

    names: Sequence[Any] | None
    samples: Any
    single: bool


class _NamedSamples(list[Any]):
    """The list of samples that a dataset gave, with what names their records.

    Who is given it finds the samples and no more. It may be handed on, as parts of datasets do.
    """

    __slots__ = ("fetched", "names")

    def __init__(self, names: Sequence[Any], fetched: list[Any]) -> None:
        super().__init__(fetched)
        self.names = names
        self.fetched = fetched

    def is_as_fetched(self) -> bool:
        """Return True if nobody has changed the list since the dataset gave it."""
        return len(self) == len(self.fetched) and all(map(is_, self, self.fetched))


class _Wrapped:
    """A dataset in another's place; attributes are the wrapped one's, read and written.

    ``by_sample`` if its samples say themselves whose they are, wherever they are collated.
    """

    def __init__(
        self, dataset: Any, names: Names, beside: Beside, *, whole: bool, by_sample: bool = False
    ) -> None:
        vars(self).update(_wrapped=dataset, _names=names, _beside=beside)
        vars(self).update(_whole=whole, _by_sample=by_sample)

    def __getattr__(self, attribute: str) -> Any:
        if attribute.startswith("__") or "_wrapped" not in vars(self):
            raise AttributeError(attribute)
        return getattr(vars(self)["_wrapped"], attribute)

    def __setattr__(self, attribute: str, value: object) -> None:
        setattr(vars(self)["_wrapped"], attribute, value)

    def __len__(self) -> int:
        return len(vars(self)["_wrapped"])


def shown(dataset: Any) -> Any:
    """Return a dataset of a tracked loader as anybody may read it: it gives samples alone."""
    if not isinstance(dataset, _Wrapped):
        return dataset
    own = vars(dataset)
    if own["_by_sample"] or isinstance(dataset, Stream):
        return own["_wrapped"]
    return Items(own["_wrapped"], own["_names"], Beside(), whole=False)


class Items(_Wrapped, Dataset[Any]):
    """A map-style dataset whose samples come with what names their records, where a loader asks.

    ``whole`` where an item is a batch; then its names come with each item, else with lists of them.
    """

    def __getitem__(self, index: Any) -> Any:
        sample = self._wrapped[index]
        if not self._whole:
            self._beside.read(self._names([index], [sample]))
            return sample
        indexes = index if isinstance(index, list) else [index]
        return _Fetched(self._names(indexes, [sample]), sample, single=True)

    def __getitems__(self, indexes: Sequence[Any]) -> "_NamedSamples | _Fetched":
        wrapped = self._wrapped  # looking an attribute up takes long in a class that hands them on
        together = getattr(wrapped, "__getitems__", None)
        with self._beside.fetching(wrapped):
            # A dataset may use up the list that it is given.
            samples = together([*indexes]) if together else [wrapped[index] for index in indexes]
        names = self._names(indexes, samples)
        if type(samples) is list:
            return _NamedSamples(names, samples)
        return _Fetched(names, samples, single=False)


class Stream(_Wrapped, IterableDataset[_Fetched]):
    """An iterable dataset whose samples come with what names their records."""

    def __iter__(self) -> Iterator[_Fetched]:
        samples = iter(self._wrapped)
        while True:
            with self._beside.fetching(self._wrapped):
                sample = next(samples, self)
            if sample is self:
                return
            yield _Fetched(self._names([], [sample]), sample, single=True)


def _places(contents: Contents, samples: Sequence[Any]) -> Sequence[int | None]:
    """Return of which sample each tensor of a batch is; nothing where each is of all of them."""
    tensors, rows = contents.tensors, contents.rows
    if len(samples) < 2 or len(tensors) < len(samples):
        return ()
    owners: dict[int, int] = {}
    for place, sample in enumerate(samples):
        for each in tensors_of(sample):
            owners[id(each)] = SOME if id(each) in owners else place
    apart = {id(each) for row in rows if _is_apart(row, len(samples)) for each in tensors_of(row)}
    places = [owners.get(id(each), SOME if id(each) in apart else None) for each in tensors]
    return places if any(place is not None for place in places) else ()


def _is_apart(row: Sequence[Any], samples: int) -> bool:
    """Return True if a list as long as the batch has samples may hold something of each of them.

    A batch of two samples may be a pair of input and target, which differ in their shape.
    """
    shapes = {tuple(each.shape) for part in row for each in tensors_of(part)}
    return len(shapes) == 1 or any(shape[:1] != (samples,) for shape in shapes)


def _has_other_data(contents: Contents, samples: int) -> bool:
    """Return True if a batch has data that cannot carry its identity, and more than columns."""
    if any(
        type(each) is not Tensor and type(each) is not TrackedTensor for each in contents.tensors
    ):
        return True
    return any(
        each.dtype.kind in "biufc" and each.size > 1 and each.shape != (samples,)
        for each in contents.arrays
    )


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

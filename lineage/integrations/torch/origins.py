"""What tensors were made of: which batches, or which parts of them."""

from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

from torch import Tensor

from lineage.training.update_window import DrawnBatch

MOST_BATCHES = 256
"""Of a tensor that is made of more batches than these nobody knows which."""


PRESUMED = -1
"""A dimension of records that is not certain; what keeps the first one takes it for that."""


class Origin(NamedTuple):
    """The batches that a tensor was made of.

    ``flat`` if it has one entry a record at most: labels, ids, weights. ``axis`` is the dimension
    with one entry a record, where that is certain; `PRESUMED` if it is the first one or another.
    """

    batches: tuple[DrawnBatch, ...]
    flat: bool = True
    axis: int | None = None

    @property
    def part(self) -> "Origin":
        """The same, of which some records may have been left out."""
        return self._replace(batches=tuple(dict.fromkeys(each.part for each in self.batches)))


NOTHING = Origin(())


def handed_out(tensor: Tensor, batch: DrawnBatch, samples: int, *, stacked: bool) -> Origin:
    """Return the origin of a tensor in a batch of some samples, which may be ``stacked`` of them.

    What has the shape of a column is one only where it has an entry a sample. What is shorter than
    the batch, as the labelled half of it, may be of some samples alone; a row may be all of them,
    packed.
    """
    shape, whole = tuple(tensor.shape), batch.place is None
    first = shape[0] if shape else 0
    certain = whole and samples == first and (stacked or shape.count(samples) == 1)
    entries = (samples, len(batch.records))
    column = len(shape) == 1 and whole and (first in entries or (batch.partial and first < samples))
    presumed = PRESUMED if whole and samples == first else None
    made_of = batch.part if whole and _is_short(shape, entries) else batch
    return Origin((made_of,), not shape or column, 0 if shape and certain else presumed)


def _is_short(shape: Sequence[int], entries: tuple[int, int]) -> bool:
    """Return True if a tensor has fewer rows than its batch has samples and records."""
    samples, records = entries
    if not shape or shape[0] >= samples or shape[0] == records or samples in shape:
        return False
    packed = shape[0] == 1 and len(shape) > 1 and shape[1] >= samples
    return not packed


def joined(one: Origin, other: Origin) -> Origin:
    """Return the origin of what was made of two tensors."""
    if not other.batches or other is one:
        return one
    if not one.batches:
        return other
    batches = tuple(dict.fromkeys((*one.batches, *other.batches)))
    return Origin(batches, one.flat and other.flat, axis_of(batches, {one.axis, other.axis}))


def axis_of(batches: Sequence[DrawnBatch], axes: Set[int | None]) -> int | None:
    """Return the dimension of records in what was made of tensors with some.

    Of several batches it has an entry a record only where they were added up, and not where they
    were put side by side.
    """
    if len(batches) > 1:
        return PRESUMED if axes <= {0, PRESUMED} else None
    return next(iter(axes)) if len(axes) == 1 else None


def settled(origin: Origin, shape: Iterable[int]) -> Origin:
    """Return an origin without parts of batches that are there as a whole, in all their pieces."""
    batches = origin.batches
    if len(batches) > 1 and any(each.partial for each in batches):
        pieces: dict[DrawnBatch, int] = {}
        for each in batches:
            if each.place is not None:
                pieces[each.whole] = pieces.get(each.whole, 0) + 1
        whole = {batch for batch, number in pieces.items() if number == batch.pieces}
        there = whole.union(each for each in batches if each is each.whole)
        batches = tuple(
            dict.fromkeys(each.whole if each.whole in there else each for each in batches)
        )
        axis = origin.axis
        if whole and len(batches) == 1:
            axis = PRESUMED if next(iter(shape), 0) == batches[0].pieces else None
        origin = Origin(batches, origin.flat, axis)
    if len(batches) > MOST_BATCHES:
        batches = tuple(dict.fromkeys(each.part if each.partial else each for each in batches))
        origin = origin._replace(batches=batches)
        if len(batches) > MOST_BATCHES:
            strangers = dict.fromkeys(each.sink.stranger for each in batches)
            return Origin(tuple(strangers), origin.flat)
    return origin

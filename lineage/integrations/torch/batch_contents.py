"""What a batch holds: tensors and arrays, however deep in containers and objects they are."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor, nn
from torch.utils.data import Dataset

_SCALARS = frozenset({str, int, float, bool, complex, bytes, type(None)})

_APART = (str, bytes, bytearray, type, nn.Module, Dataset, np.generic)
"""Types that are no containers of a batch."""


class Contents(NamedTuple):
    """The tensors and arrays of a batch; ``rows`` are lists as long as the batch has samples."""

    tensors: list[Tensor]
    arrays: list[np.ndarray[Any, Any]]
    rows: list[Sequence[Any]]


def tensors_of(batch: Any) -> list[Tensor]:
    """Return the tensors in a batch: in mappings, sequences and objects with attributes."""
    if isinstance(batch, Tensor):
        return [batch]
    return contents_of(batch).tensors


def contents_of(batch: Any, samples: int = 0) -> Contents:
    """Return what a batch of some samples holds, each thing once and in a fixed order.

    Objects may refer to each other in circles.
    """
    found = Contents([], [], [])
    seen: dict[int, Any] = {}
    waiting = [batch]
    while waiting:
        thing = waiting.pop()
        if type(thing) in _SCALARS or id(thing) in seen:
            continue
        seen[id(thing)] = thing  # kept: the id of an object that is gone may come again
        if isinstance(thing, Tensor):
            found.tensors.append(thing)
        elif isinstance(thing, np.ndarray):
            found.arrays.append(thing)
            if thing.dtype == object:
                waiting += thing.ravel().tolist()[::-1]
        elif not isinstance(thing, _APART):
            inside = [*_inside(thing)]
            if samples > 1 and len(inside) == samples and isinstance(thing, Sequence):
                found.rows.append(inside)
            if not _SCALARS.issuperset(map(type, inside)):
                waiting += inside[::-1]
    return found


def _inside(thing: Any) -> Iterable[Any]:
    """Return what a container holds, or an object of a class of the user's."""
    kind = type(thing)
    if kind is list or kind is tuple:  # nearly always one of these or a dict
        return thing  # type: ignore[no-any-return]
    if kind is dict or isinstance(thing, Mapping):
        return thing.values()  # type: ignore[no-any-return]
    if isinstance(thing, Sequence | Set | deque):
        return () if isinstance(thing, range) else thing
    return _attributes(thing)


def _attributes(thing: Any) -> Iterator[Any]:
    yield from getattr(thing, "__dict__", {}).values()
    for kind in type(thing).__mro__:
        slots = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield getattr(thing, name, None)

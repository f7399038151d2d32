"""Batches of loaders that nobody watches, in a process where a loop is watched.

What is evaluated on them is nobody's concern. Where a gradient flows through one, the loop learns
from records that nobody knows, and is told so: its lineage is incomplete.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter

from lineage.integrations.torch.tracked_tensor import TrackedTensor, tensors_of, track
from lineage.training.observed import Observed

_OPEN: list[Observed] = []
"""The runs that are being watched in this process."""

_next = _BaseDataLoaderIter.__next__


@contextmanager
def strangers_told(run: Observed) -> Iterator[None]:
    """Tell a run when it learns from batches of loaders that are not watched."""
    _OPEN.append(run)
    _BaseDataLoaderIter.__next__ = _next_told  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        _OPEN.remove(run)
        if not _OPEN:
            _BaseDataLoaderIter.__next__ = _next  # type: ignore[method-assign]


def _next_told(loads: Any) -> Any:
    """Return the next batch of any loader of torch; one that is not watched is a stranger."""
    batch = _next(loads)
    tensors = tensors_of(batch)
    if not any(type(each) is TrackedTensor for each in tensors):
        track(tensors, *(run.sink.stranger for run in _OPEN))
    return batch

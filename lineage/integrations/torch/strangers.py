"""Batches of loaders that nobody watches, in a process where a loop is watched.

What is evaluated on them is nobody's concern. Where a gradient flows through one, the loop learns
from records that nobody knows, and is told so: its lineage is incomplete.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch.utils.data.dataloader import _BaseDataLoaderIter

from lineage.integrations.torch.batch_with_positions import Collate
from lineage.integrations.torch.tracked_tensor import (
    OPEN,
    TrackedTensor,
    release_buffers,
    tensors_of,
    track,
)
from lineage.integrations.torch.untraced import set_apart
from lineage.training.observed import Observed

_next = _BaseDataLoaderIter.__next__


@contextmanager
def strangers_told(run: Observed) -> Iterator[None]:
    """Tell a run when it learns from batches that are not its own."""
    set_apart()
    run.before_state(partial(release_buffers, run.sink))
    OPEN.append(run.sink)
    _BaseDataLoaderIter.__next__ = _next_told  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        OPEN.remove(run.sink)
        if not OPEN:
            _BaseDataLoaderIter.__next__ = _next  # type: ignore[method-assign]


def _next_told(loads: Any) -> Any:
    """Return the next batch of any loader of torch; one that is not watched is a stranger."""
    batch = _next(loads)
    if type(loads._collate_fn) is not Collate:
        tensors = tensors_of(batch)
        if not any(type(each) is TrackedTensor for each in tensors):
            track(tensors, *(sink.stranger for sink in OPEN))
    return batch

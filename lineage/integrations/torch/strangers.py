"""Batches of loaders that nobody watches, in a process where a loop is watched.

What is evaluated on them is nobody's concern. Where a gradient flows through one, the loop learns
from records that nobody knows, and is told so: its lineage is incomplete.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, autograd
from torch.utils.data.dataloader import _BaseDataLoaderIter

from lineage.integrations.torch.batch_contents import tensors_of
from lineage.integrations.torch.batch_with_positions import Collate
from lineage.integrations.torch.following import mark_copy
from lineage.integrations.torch.plain_state import plain_state
from lineage.integrations.torch.tracked_tensor import (
    OPEN,
    TrackedTensor,
    as_plain,
    batches_in,
    flowed,
    track,
)
from lineage.integrations.torch.untraced import set_apart
from lineage.training.events import Fetched
from lineage.training.observed import Observed

_NUMBERS = count()
_ITERATIONS: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
"""The iterators of watched loaders, by the number of the iteration that is under way."""

_next = _BaseDataLoaderIter.__next__
_run_backward = autograd._engine_run_backward  # type: ignore[attr-defined]
_COPYING = {name: getattr(torch, name) for name in ("as_tensor", "asarray", "tensor")}


@contextmanager
def strangers_told(run: Observed) -> Iterator[None]:
    """Tell a run when it learns from batches that are not its own."""
    set_apart()
    run.convert_state(plain_state)
    OPEN.append(run.sink)
    _see()
    try:
        yield
    finally:
        OPEN.remove(run.sink)
        if not OPEN:
            _see_no_more()


def _see() -> None:
    """Put functions in the place of those of torch that call no tensor's own."""
    _BaseDataLoaderIter.__next__ = _next_told  # type: ignore[method-assign,assignment]
    autograd._engine_run_backward = _run_backward_told  # type: ignore[attr-defined,assignment]
    for name, function in _COPYING.items():
        setattr(torch, name, _told_copying(function))


def _see_no_more() -> None:
    _BaseDataLoaderIter.__next__ = _next  # type: ignore[method-assign]
    autograd._engine_run_backward = _run_backward  # type: ignore[attr-defined]
    for name, function in _COPYING.items():
        setattr(torch, name, function)


def _next_told(loads: Any) -> Any:
    """Return the next batch of any loader of torch; one that is not watched is a stranger."""
    batch = _next(loads)
    if type(loads._collate_fn) is Collate:
        _note_fetched(loads, batch)
    else:
        unknown = [each for each in tensors_of(batch) if type(each) is not TrackedTensor]
        track(unknown, *(sink.stranger for sink in OPEN))
    return batch


def _note_fetched(loads: Any, batch: Any) -> None:
    """Tell of a watched batch, whoever fetched it: a trainer says itself what it trains on."""
    if loads._num_yielded == 1 or loads not in _ITERATIONS:  # one with workers may begin again
        _ITERATIONS[loads] = next(_NUMBERS)
    for each in batches_in(batch):
        each.sink.note(Fetched(each, _ITERATIONS[loads]))


def _told_copying(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes a tensor of what it is given, and says what it was made of."""

    @wraps(function)
    def copying(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        source = args[0] if args else kwargs.get("data", kwargs.get("obj"))
        if type(source) is TrackedTensor or isinstance(source, list | tuple):
            with as_plain():
                mark_copy(result, source)
        return result

    return copying


def _run_backward_told(outputs: Any, gradients: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a backward pass; gradients that it begins with may be made of batches."""
    with ExitStack() as hooks:
        for output, gradient in zip(outputs, gradients, strict=False):
            if type(gradient) is TrackedTensor and isinstance(output, Tensor):
                parts = gradient._origin.part.batches
                node = autograd.graph.get_gradient_edge(output).node
                hooks.callback(node.register_prehook(partial(flowed, parts)).remove)
        return _run_backward(outputs, gradients, *args, **kwargs)

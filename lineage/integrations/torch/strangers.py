"""Batches of loaders that nobody watches, in a process where a loop is watched.

What is evaluated on them is nobody's concern. Where a gradient flows through one, the loop learns
from records that nobody knows, and is told so: its lineage is incomplete. Arrays and lists cannot
be followed: from when a loader gave any, numbers that become a tensor may be of them.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial, wraps
from itertools import count
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, autograd
from torch.utils.data import get_worker_info
from torch.utils.data.dataloader import _BaseDataLoaderIter

from lineage.integrations.torch.batch_contents import Contents, contents_of
from lineage.integrations.torch.batch_with_positions import Collate
from lineage.integrations.torch.following import mark_copy
from lineage.integrations.torch.moved_state import (
    look_at_buffers,
    look_at_state,
    told_gradients,
)
from lineage.integrations.torch.origins import Origin
from lineage.integrations.torch.plain_state import plain_state
from lineage.integrations.torch.tracked_tensor import (
    OPEN,
    TrackedTensor,
    as_plain,
    batches_in,
    flowed,
    mark,
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
_MAKING = ("as_tensor", "asarray", "from_numpy", "tensor")
_COPYING = {name: getattr(torch, name) for name in _MAKING}
_LOADING: list[object] = []
"""The loaders that make a batch now: what they make tensors of is their own affair."""


@contextmanager
def strangers_told(run: Observed) -> Iterator[None]:
    """Tell a run when it learns from batches that are not its own."""
    set_apart()
    run.convert_state(plain_state)
    run.look_before_checkpoints(partial(look_at_state, run.sink))
    OPEN.append(run.sink)
    _see()
    try:
        yield
        look_at_state(run.sink)
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
    for sink in OPEN:
        look_at_buffers(sink)
    _LOADING.append(loads)
    try:
        batch = _next(loads)
    finally:
        _LOADING.pop()
    if type(loads._collate_fn) is Collate:
        _note_fetched(loads, batch)
    else:
        _meet(contents_of(batch))
    return batch


def _note_fetched(loads: Any, batch: Any) -> None:
    """Tell of a watched batch, whoever fetched it: a trainer says itself what it trains on."""
    if loads._num_yielded == 1 or loads not in _ITERATIONS:  # one with workers may begin again
        _ITERATIONS[loads] = next(_NUMBERS)
    for each in batches_in(batch):
        each.sink.note(Fetched(each, _ITERATIONS[loads]))


def _meet(found: Contents) -> None:
    """Let the tensors of a strange batch say so; arrays and lists cannot, and are remembered."""
    unknown = [each for each in found.tensors if type(each) is not TrackedTensor]
    track(unknown, *(sink.stranger for sink in OPEN))
    if not found.tensors or any(each.ndim > 1 for each in found.arrays):
        for sink in OPEN:
            sink.escaped = True


def _told_copying(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that makes a tensor of what it is given, and says what it was made of."""

    @wraps(function)
    def copying(*args: Any, **kwargs: Any) -> Any:
        result = function(*args, **kwargs)
        source = args[0] if args else kwargs.get("data", kwargs.get("obj"))
        if type(source) is TrackedTensor or isinstance(source, list | tuple):
            with as_plain():
                mark_copy(result, source)
        if type(result) is Tensor and not isinstance(source, Tensor):
            _suspect(result)
        return result

    return copying


def _suspect(made: Tensor) -> None:
    """Let a tensor that was made of numbers say that they may be a stranger's, if any escaped."""
    strangers = tuple(sink.stranger for sink in OPEN if sink.escaped)
    if strangers and made.numel() > 1 and not _LOADING and get_worker_info() is None:
        mark(made, Origin(strangers, made.dim() < 2))


def _run_backward_told(outputs: Any, gradients: Any, *args: Any, **kwargs: Any) -> Any:
    """Run a backward pass; gradients that it begins with may be made of batches."""
    before = [(sink, sink.strange) for sink in OPEN]
    with ExitStack() as hooks:
        for output, gradient in zip(outputs, gradients, strict=False):
            if type(gradient) is TrackedTensor and isinstance(output, Tensor):
                parts = gradient._origin.part.batches
                node = autograd.graph.get_gradient_edge(output).node
                hooks.callback(node.register_prehook(partial(flowed, parts)).remove)
        result = _run_backward(outputs, gradients, *args, **kwargs)
    strange = [sink for sink, flows in before if sink.strange != flows]
    if strange:
        collected = kwargs["accumulate_grad"]
        told_gradients(strange, outputs, args[2], result, collected=collected)
    return result

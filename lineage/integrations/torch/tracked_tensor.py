"""Tensors that know which batches they were made of.

The tensors of a watched batch carry its identity, and so does what is computed from them: moved to
a device, cast, sliced, stacked into a buffer, kept for later. Where the computation meets a
parameter, it ends: from there a gradient flows back, which is noted when it does. So it does not
matter how a loop fetches, keeps or mixes its batches.
"""

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lineage.training.events import GradientFlowed, TrackLost
from lineage.training.update_window import DrawnBatch

MOST_BATCHES = 256
"""Of a tensor that is made of more batches than these nobody knows which."""

_LOG = logging.getLogger("lineage")

as_plain = torch._C.DisableTorchFunctionSubclass
"""A block in which tracked tensors are plain ones, and nothing is followed."""

backward_pass: Callable[[], int] = torch._C._current_graph_task_id

_SELECTING = frozenset(
    getattr(owner, name)
    for owner in (torch, Tensor)
    for name in (
        *("__getitem__", "chunk", "split", "tensor_split", "narrow", "unbind", "select"),
        *("index_select", "masked_select", "take", "gather", "argwhere", "nonzero"),
    )
    if hasattr(owner, name)
)
"""Functions whose result may hold fewer records than what it is taken from."""

_LEAVING = frozenset({Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__})
"""Functions that give the values to somebody who does not follow them."""

_SCALARS = frozenset({str, int, float, bool, bytes, type(None)})


class TrackedTensor(Tensor):
    """A tensor made of batches and of nothing that is trained."""

    _batches: tuple[DrawnBatch, ...]

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch as if these were plain tensors, and follow what comes out."""
        with as_plain():
            result = func(*args, **kwargs) if kwargs else func(*args)
            # What is being compiled is followed no further: the loop drew its batches all the same.
            if not torch.compiler.is_compiling():
                _follow(func, result, args, kwargs or {})
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Return a copy that is made of the same batches."""
        with as_plain():
            copied: Tensor = copy.deepcopy(self.as_subclass(Tensor), memo)
            _mark(copied, self._batches)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what a plain tensor is pickled as; where that goes, nobody follows."""
        with as_plain():
            _leave(self)
            return self.as_subclass(Tensor).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]


def track(tensors: Iterable[Tensor], *batches: DrawnBatch) -> None:
    """Let tensors carry the identity of what they are made of, in place of any other."""
    for each in tensors:
        if type(each) in (Tensor, TrackedTensor):
            _mark(each, batches)


def batches_in(batch: Any) -> dict[DrawnBatch, None]:
    """Return the batches that something was made of, in order."""
    found: dict[DrawnBatch, None] = {}
    for each in tensors_of(batch):
        if type(each) is TrackedTensor:
            for made in each._batches:
                found[made.whole] = None
    return found


def tensors_of(batch: Any) -> list[Tensor]:
    """Return the tensors in a batch: in mappings, sequences and objects with attributes."""
    found: list[Tensor] = []
    _gather(batch, found)
    return found


def _gather(batch: Any, found: list[Tensor]) -> None:
    if isinstance(batch, Tensor):
        found.append(batch)
    elif isinstance(batch, dict | Mapping):
        for each in batch.values():
            _gather(each, found)
    elif isinstance(batch, list | tuple):
        if not _SCALARS.issuperset(map(type, batch)):
            for each in batch:
                _gather(each, found)
    elif type(batch) not in _SCALARS:
        for each in _attributes(batch):
            if isinstance(each, Tensor | Mapping | list | tuple):
                _gather(each, found)


def _attributes(thing: Any) -> Iterator[Any]:
    """Return what an object of a class of the user's holds."""
    if not isinstance(thing, type):
        yield from getattr(thing, "__dict__", {}).values()
        for kind in type(thing).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else slots:
                yield getattr(thing, name, None)


def _mark(tensor: Tensor, batches: tuple[DrawnBatch, ...]) -> None:
    tensor.__class__ = TrackedTensor
    tensor._batches = batches  # type: ignore[attr-defined]


def _follow(func: Any, result: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
    kind = type(result)
    if kind is Tensor or kind is TrackedTensor:
        _follow_tensor(func, result, _origins(func, result, args, kwargs))
    elif isinstance(result, Tensor):
        if result.grad_fn is not None:
            _report(result, _origins(func, result, args, kwargs))
    elif func in _LEAVING:
        _leave(args[0])
    elif isinstance(result, list | tuple):
        for each in result:
            if isinstance(each, Tensor):
                _follow(func, each, args, kwargs)
    elif result is None and len(args) > 1 and type(args[0]) in (Tensor, TrackedTensor):
        # Something was written into a tensor: an item was set, or its data.
        _follow_tensor(func, args[0], _origins(func, args[0], args, kwargs))


def _follow_tensor(func: Any, tensor: Tensor, batches: tuple[DrawnBatch, ...]) -> None:
    if not batches:
        return
    if tensor.requires_grad:
        if tensor.grad_fn is not None:
            _report(tensor, batches)
    else:
        _mark(tensor, batches)


def _report(tensor: Tensor, batches: tuple[DrawnBatch, ...]) -> None:
    """Note when a gradient flows back through what was computed from batches."""

    def flowed(_gradients: tuple[Tensor, ...]) -> None:
        backward = backward_pass()
        for batch in batches:
            batch.sink.note(GradientFlowed(batch, backward))

    assert tensor.grad_fn is not None
    tensor.grad_fn.register_prehook(flowed)


def _origins(
    func: Any, result: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]
) -> tuple[DrawnBatch, ...]:
    """Return the batches that the result of a function was made of."""
    found: tuple[DrawnBatch, ...] = ()
    for each in (*args, *kwargs.values()) if kwargs else args:
        batches: tuple[DrawnBatch, ...] = ()
        if type(each) is TrackedTensor:
            batches = each._batches
            if func in _SELECTING and _is_part(result, each):
                batches = tuple(batch.part for batch in batches)
        elif type(each) in (tuple, list, dict):
            batches = _origins(func, result, tuple(each), each if type(each) is dict else {})
        if not found:
            found = batches
        elif batches and batches is not found:
            found = (*found, *(batch for batch in batches if batch not in found))
    return (found[0].sink.stranger,) if len(found) > MOST_BATCHES else found


def _is_part(result: Tensor, source: TrackedTensor) -> bool:
    """Return True if a selection may have left out records of what it was taken from."""
    if result.shape[:1] == source.shape[:1] or result.numel() >= source.numel():
        return False
    # Where another dimension has as many entries as there are records, it is theirs.
    return len(source.shape) < 2 or len(source._batches[0].records) not in source.shape[1:]


def _leave(tensor: TrackedTensor) -> None:
    """Note that values left torch; a column of labels or measures may go where it likes."""
    batch = tensor._batches[0]
    if tensor.dim() > 1 and batch is not batch.sink.stranger:
        batch.sink.note(TrackLost())
        _LOG.warning(
            "values of a watched batch left torch: what the loop learns from them later is not "
            "known, so its lineage is incomplete; keep tensors, or take them from the dataset"
        )

"""Tensors that know which batches they were made of.

The tensors of a watched batch carry its identity, and so does what is computed from them: moved to
a device, cast, sliced, stacked into a buffer, kept for later. Where the computation meets a
parameter, it ends: from there a gradient flows back, which is noted when it does. So it does not
matter how a loop fetches, keeps or mixes its batches.
"""

import copy
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from lineage.integrations.torch.untraced import untraced
from lineage.training.events import GradientFlowed, TrackLost
from lineage.training.update_window import DrawnBatch, EventSink

OPEN: list[EventSink] = []
"""Where the runs are told of events that are watched in this process."""

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


class Origin(NamedTuple):
    """The batches that a tensor was made of; ``flat`` if only of columns: labels, ids, weights."""

    batches: tuple[DrawnBatch, ...]
    flat: bool = True


_NOTHING = Origin(())


class TrackedTensor(Tensor):
    """A tensor made of batches and of nothing that is trained."""

    _origin: Origin

    @classmethod
    @untraced
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch as if these were plain tensors, and follow what comes out."""
        with as_plain():
            result = func(*args, **kwargs) if kwargs else func(*args)
            _follow(func, result, args, kwargs or {})
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Return a copy that is made of the same batches."""
        with as_plain():
            copied: Tensor = copy.deepcopy(self.as_subclass(Tensor), memo)
            _mark(copied, self._origin)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what a plain tensor is pickled as; where that goes, nobody follows."""
        with as_plain():
            _leave(self)
            return self.as_subclass(Tensor).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]


def track(tensors: Iterable[Tensor], *batches: DrawnBatch) -> None:
    """Let tensors carry the identity of what they are made of, in place of any other.

    One that a dataset hands out itself, in several batches, is known as part of the newest alone.
    """
    for each in tensors:
        if type(each) is Tensor:
            _mark(each, Origin(batches, each.dim() < 2))
        elif type(each) is TrackedTensor:
            made = batches if _same(each, batches) else tuple(batch.part for batch in batches)
            with as_plain():
                _mark(each, Origin(made, each.dim() < 2))


def _same(tensor: TrackedTensor, batches: tuple[DrawnBatch, ...]) -> bool:
    """Return True if a tensor is known to be made of batches of the same records."""
    known = tensor._origin.batches
    return len(known) == len(batches) and all(
        one is other or one.records.tolist() == other.records.tolist()
        for one, other in zip(known, batches, strict=True)
    )


def release_buffers(sink: EventSink) -> None:
    """Let buffers that a loop made of its batches be plain state, which a checkpoint keeps."""
    for module in (each for each in sink.tracked() if isinstance(each, nn.Module)):
        for buffer in module.buffers():
            if type(buffer) is TrackedTensor:
                buffer.__class__ = Tensor  # type: ignore[assignment]


def batches_in(batch: Any) -> dict[DrawnBatch, None]:
    """Return the batches that something was made of, in order."""
    found: dict[DrawnBatch, None] = {}
    for each in tensors_of(batch):
        if type(each) is TrackedTensor:
            for made in each._origin.batches:
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


def _mark(tensor: Tensor, origin: Origin) -> None:
    tensor.__class__ = TrackedTensor
    tensor._origin = origin  # type: ignore[attr-defined]


def _follow(func: Any, result: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
    kind = type(result)
    if kind is Tensor or kind is TrackedTensor:
        _follow_tensor(func, result, args, kwargs)
    elif isinstance(result, Tensor):
        if result.grad_fn is not None:
            _report(result, _origin(func, result, args, kwargs).batches)
    elif func in _LEAVING:
        _leave(args[0])
    elif isinstance(result, list | tuple):
        for each in result:
            if isinstance(each, Tensor):
                _follow(func, each, args, kwargs)
    elif result is None and len(args) > 1 and type(args[0]) in (Tensor, TrackedTensor):
        # Something was written into a tensor: an item was set, or its data.
        _follow_tensor(func, args[0], args, kwargs)


def _follow_tensor(func: Any, tensor: Tensor, args: Any, kwargs: Mapping[str, Any]) -> None:
    origin = _origin(func, tensor, args, kwargs)
    if not origin.batches:
        return
    if tensor.requires_grad:
        if tensor.grad_fn is not None:
            _report(tensor, origin.batches)
    elif (given := _written(tensor, args, kwargs)) is None:
        _mark(tensor, origin)
    elif not _is_state(tensor, origin.batches[0].sink):
        written = _origin(func, tensor, *given)
        anew = func is Tensor.copy_ and bool(written.batches)
        _mark(tensor, written if anew else origin)
        if written.batches:
            _mark_memory(tensor, written)


def _written(tensor: Tensor, args: Any, kwargs: Mapping[str, Any]) -> tuple[Any, Any] | None:
    """Return what a function wrote into a tensor that was there before; None for a new one."""
    if args and tensor is args[0]:
        return args[1:], kwargs
    out = kwargs.get("out")
    if out is None or not any(
        tensor is each for each in (out, *(out if type(out) is tuple else ()))
    ):
        return None
    return args, {name: each for name, each in kwargs.items() if name != "out"}


def _mark_memory(tensor: Tensor, written: Origin) -> None:
    """Mark what a tensor is a view of, since batches were written into it.

    Others that look at the same memory cannot be found: where there are any, track is lost.
    """
    base = tensor._base
    if base is not None:
        known = base._origin if type(base) is TrackedTensor else Origin((), base.dim() < 2)
        _mark(base, _joined(known, written))
    names = 2 if base is None else 3  # the tensor, what it is a view of, and the handle we ask by
    if torch._C._storage_Use_Count(tensor.untyped_storage()._cdata) > names:
        _lose_track(written)


def _is_state(tensor: Tensor, sink: EventSink) -> bool:
    """Return True if a batch moved what checkpoints keep, as a running mean: that is no batch."""
    place = tensor.untyped_storage().data_ptr()
    kept = (each for each in sink.tracked() if isinstance(each, nn.Module))
    return any(
        each.untyped_storage().data_ptr() == place
        for module in kept
        for each in (*module.parameters(), *module.buffers())
    )


def _report(tensor: Tensor, batches: tuple[DrawnBatch, ...]) -> None:
    """Note when a gradient flows back through what was computed from batches."""
    assert tensor.grad_fn is not None
    tensor.grad_fn.register_prehook(partial(_flowed, batches))


@untraced
def _flowed(batches: tuple[DrawnBatch, ...], _gradients: tuple[Tensor, ...]) -> None:
    backward = backward_pass()
    for batch in batches:
        batch.sink.note(GradientFlowed(batch, backward))
    if len(OPEN) != 1 or batches[0].sink is not OPEN[0]:
        for sink in OPEN:
            # Another run's batch is one that this one does not know.
            if any(batch.sink is not sink for batch in batches):
                sink.note(GradientFlowed(sink.stranger, backward))


def _origin(func: Any, result: Tensor, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Origin:
    """Return what the result of a function was made of."""
    found = _NOTHING
    for each in (*args, *kwargs.values()) if kwargs else args:
        if type(each) is TrackedTensor:
            origin = _derived(func, result, each)
        elif type(each) in (tuple, list):
            origin = _origin(func, result, each, {})
        elif type(each) is dict:
            origin = _origin(func, result, (), each)
        else:
            continue
        found = origin if found is _NOTHING else _joined(found, origin)
    if len(found.batches) > MOST_BATCHES:
        return Origin((found.batches[0].sink.stranger,), found.flat)
    return found


def _joined(one: Origin, other: Origin) -> Origin:
    if not other.batches or other is one:
        return one
    more = (batch for batch in other.batches if batch not in one.batches)
    return Origin((*one.batches, *more), one.flat and other.flat)


def _derived(func: Any, result: Tensor, source: TrackedTensor) -> Origin:
    """Return the origin of what a function took from one tensor."""
    origin = source._origin
    if func in _SELECTING:
        if _is_part(result, source):
            return Origin(tuple(batch.part for batch in origin.batches), origin.flat)
    elif not origin.flat and result.dim() < 2 and result.numel() < source.numel():
        # A sum or a count of each row, of which nobody makes the row again.
        return Origin(origin.batches)
    return origin


def _is_part(result: Tensor, source: TrackedTensor) -> bool:
    """Return True if a selection may have left out records of what it was taken from."""
    if result.shape[:1] == source.shape[:1] or result.numel() >= source.numel():
        return False
    # Where another dimension has as many entries as there are records, it is theirs.
    return len(source.shape) < 2 or len(source._origin.batches[0].records) not in source.shape[1:]


def _leave(tensor: TrackedTensor) -> None:
    """Note that values left torch; labels and single numbers may go where they like."""
    if not tensor._origin.flat and tensor.numel() > 1:
        _lose_track(tensor._origin)


def _lose_track(origin: Origin) -> None:
    batch = origin.batches[0]
    if batch is not batch.sink.stranger:
        batch.sink.note(TrackLost())
        _LOG.warning(
            "values of a watched batch went where nobody follows them: what the loop learns from "
            "them later is not known, so its lineage is incomplete; keep tensors of torch"
        )

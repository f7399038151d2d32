"""Following batches through functions of torch: what comes out, and what is written into.

A tensor that is written over as a whole begins anew. One that is written into in part holds some
of what it held before, nobody knows how much: it is told as a part, which makes a step a bound.
What cannot carry an identity makes the run incomplete.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from lineage.integrations.torch.deriving import STATISTICS, is_training, origin_of
from lineage.integrations.torch.function_kinds import ANEW, RESIZED, Keeps, about
from lineage.integrations.torch.moved_state import meet_weights, writes_state
from lineage.integrations.torch.origins import NOTHING, PRESUMED, Origin, joined, settled
from lineage.integrations.torch.tracked_tensor import (
    STEPPING,
    TrackedTensor,
    backward_pass,
    flowed,
    leave,
    lose_track_of,
    mark,
    report,
    unmark,
)
from lineage.training.update_window import NO_PASS

_LEAVING = frozenset({Tensor.numpy, Tensor.tolist, Tensor.__array__, Tensor.__dlpack__})
"""Functions that give the values to somebody who does not follow them."""

_EACH = (Keeps.ENTRIES, Keeps.ORDER)
"""What functions of several tensors keep that do to each what they would do to one."""

_UNTOLD = frozenset({"backward", "grad"})
"""Functions that write gradients, which are looked at when they are used."""


def mark_copy(result: Any, source: Any) -> None:
    """Let a tensor that a constructor copied from tensors say what it was made of."""
    origin = origin_of("clone", Keeps.ALL, result, (source,), {})
    if origin.batches and type(result) is Tensor:
        mark(result, origin)


def follow(func: Any, result: Any, args: Any, kwargs: Mapping[str, Any]) -> None:
    """Follow what a function of torch made, where one of its arguments is tracked."""
    name, keeps = about(func)
    backward = backward_pass()
    if backward != NO_PASS and (result is None or isinstance(result, Tensor | list | tuple)):
        _note_use(name, backward, args, kwargs)
    if func in _LEAVING:
        leave(args[0])
    elif name not in _UNTOLD or result is not None:
        _follow_result(name, keeps, result, args, kwargs)
    if name in STATISTICS:
        _keep_statistics(name, args, kwargs)


def _follow_result(name: str, keeps: Keeps, result: Any, args: Any, kwargs: Any) -> None:
    if isinstance(result, Tensor):
        _follow_tensor(name, keeps, result, args, kwargs)
    elif isinstance(result, list | tuple):
        for place, each in enumerate(result):
            if isinstance(each, Tensor):
                of = _of_one(place, len(result), args) if keeps in _EACH else args
                _follow_tensor(name, keeps, each, of, kwargs)
    elif result is None and args:
        # Something was written into tensors: an item was set, or data.
        several = isinstance(args[0], list | tuple)
        for place, each in enumerate(args[0] if several else args[:1]):
            if isinstance(each, Tensor):
                of = _of_one(place, len(args[0]), args) if several and keeps in _EACH else args
                _follow_writing(name, keeps, each, several, of[1:], kwargs)


def _of_one(place: int, results: int, args: Any) -> Any:
    """Return what one of several results was made of: where there are as many, of one argument."""
    if len(args) == results > 1 and all(isinstance(each, Tensor) for each in args):
        return args[place : place + 1]
    if not args or not isinstance(args[0], list | tuple) or len(args[0]) != results:
        return args
    return tuple(
        each[place] if isinstance(each, list | tuple) and len(each) == results else each
        for each in args
    )


def _follow_tensor(name: str, keeps: Keeps, tensor: Tensor, args: Any, kwargs: Any) -> None:
    if args and tensor is args[0]:
        _follow_writing(name, keeps, tensor, False, args[1:], kwargs)
        return
    out = kwargs.get("out")
    if out is not None and any(tensor is each for each in (out if type(out) is tuple else (out,))):
        given = {key: each for key, each in kwargs.items() if key != "out"}
        written = origin_of(name, keeps, tensor, args, given)
        _write(tensor, written, NOTHING if type(tensor) is not TrackedTensor else None, anew=True)
        return
    origin = origin_of(name, keeps, tensor, args, kwargs)
    if not origin.batches:
        return
    if tensor.requires_grad:
        if tensor.grad_fn is not None:
            report(tensor, origin.batches)
            meet_weights(origin.batches)
    elif type(tensor) is Tensor or type(tensor) is TrackedTensor:
        mark(tensor, origin)
    else:
        # A class of its own follows nothing that comes out of it.
        lose_track_of(origin)


def _follow_writing(
    name: str, keeps: Keeps, tensor: Tensor, several: bool, given: Any, kwargs: Any
) -> None:
    """Follow what a function wrote into a tensor that was there before."""
    written = origin_of(name, keeps, tensor, (None, *given), kwargs)
    known = tensor._origin if type(tensor) is TrackedTensor else NOTHING
    anew = not several and (name in ANEW or (name == "setitem" and _is_all(given[0])))
    if keeps is Keeps.INTO and not anew and not _is_mask(known, given):
        known = known.part
    elif name in RESIZED:
        known = known.part._replace(axis=None)
    if name == "requires_grad" or not (written.batches or known.batches):
        # Views of what is written may be plain ones, but not of what was tracked before.
        return
    if tensor.requires_grad and tensor.grad_fn is not None:
        made = joined(known, written).batches
        report(tensor, made)
        meet_weights(made)
        return
    if tensor.requires_grad and type(tensor) is not TrackedTensor:
        if written.batches:
            _write_into_weight(tensor, written)
        return
    _write(tensor, written, known, anew=anew)


def _write(tensor: Tensor, written: Origin, known: Origin | None, *, anew: bool) -> None:
    if type(tensor) is not Tensor and type(tensor) is not TrackedTensor:
        if written.batches:
            _write_into_weight(tensor, written)
        return
    fresh = type(tensor) is Tensor
    if fresh and written.batches and writes_state(tensor, written):
        return
    origin = written if anew or known is None else settled(joined(known, written), tensor.shape)
    if origin.batches:
        mark(tensor, origin)
    else:
        unmark(tensor)
    if written.batches or (anew and tensor._base is not None):
        _mark_memory(tensor, written, fresh)


def _write_into_weight(tensor: Tensor, written: Origin) -> None:
    """Lose track of what became part of a weight, unless an optimizer learns or it is state."""
    if not STEPPING and not writes_state(tensor, written):
        lose_track_of(written)


def _is_all(index: Any) -> bool:
    return index is Ellipsis or index == () or (isinstance(index, slice) and index == slice(None))


def _is_mask(known: Origin, given: Any) -> bool:
    """Return True if entries of a batch are masked: they count as learned."""
    return known.axis not in (None, PRESUMED) and isinstance(given[-1], int | float)


def _mark_memory(tensor: Tensor, written: Origin, fresh: bool) -> None:
    """Mark what a tensor is a view of, since it was written into.

    Others that look at the same memory cannot be found: where there are any, track is lost.
    """
    base = tensor._base
    if base is not None:
        fresh = type(base) is not TrackedTensor
        known = Origin((), base.dim() < 2) if fresh else base._origin.part  # type: ignore[attr-defined]
        origin = settled(joined(known, written._replace(axis=None)), base.shape)
        if origin.batches and not base.requires_grad:
            mark(base, origin._replace(flat=origin.flat and base.dim() < 2))
    if not written.batches:
        return
    storage = tensor.untyped_storage()
    names = 2 if base is None else 3  # the tensor, what it is a view of, and the handle we ask by
    shared = torch._C._storage_Use_Count(storage._cdata) > names
    if shared or (fresh and not storage.resizable()):  # memory of NumPy's has names of its own
        lose_track_of(written)


def _keep_statistics(name: str, args: Any, kwargs: Any) -> None:
    """Let running statistics carry what moved them, where no checkpoint keeps them."""
    source = args[0] if args else kwargs.get("input")
    if not is_training(args, kwargs) or type(source) is not TrackedTensor:
        return
    kept_in = (*args[1:3], kwargs.get("running_mean"), kwargs.get("running_var"))
    for each in kept_in:
        if isinstance(each, Tensor) and not writes_state(each, source._origin):
            known = each._origin if type(each) is TrackedTensor else NOTHING
            if type(each) is Tensor or type(each) is TrackedTensor:
                mark(each, settled(joined(known, source._origin._replace(axis=None)), each.shape))


def _note_use(name: str, backward: int, args: Any, kwargs: Any) -> None:
    """Note that batches are used amid a backward pass, as by a hook: they may be learned from."""
    used = origin_of(name, Keeps.ALL, None, args, kwargs).batches
    for batch in used:
        if batch.part.noted != backward:
            batch.part.noted = backward
            flowed((batch.part,), ())


TrackedTensor.follow = staticmethod(follow)

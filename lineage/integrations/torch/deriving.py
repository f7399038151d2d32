"""What the results of functions were made of, by what the functions keep of their arguments."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lineage.integrations.torch.function_kinds import OF_ANOTHER, OF_COMPLEX, PLACING, Keeps
from lineage.integrations.torch.kept_records import kept, loses_values
from lineage.integrations.torch.origins import NOTHING, PRESUMED, Origin, axis_of, joined, settled
from lineage.integrations.torch.tracked_tensor import TrackedTensor
from lineage.training.update_window import DrawnBatch

STATISTICS = frozenset({"batch_norm", "instance_norm"})
"""Functions that keep a mean of what they are given, in their second and third arguments."""


def origin_of(name: str, keeps: Keeps, result: Any, args: Any, kwargs: Mapping[str, Any]) -> Origin:
    """Return what the result of a function was made of."""
    if name in STATISTICS and is_training(args, kwargs):
        args = args[:1]  # statistics are written, not read
    found = _found(name, keeps, result, args, args, kwargs)
    if kwargs:
        found = joined(found, _found(name, keeps, result, kwargs.items(), args, kwargs))
    return found if result is None else settled(found, result.shape)


def is_training(args: Any, kwargs: Mapping[str, Any]) -> bool:
    """Return True if running statistics are written, and not read."""
    given = args[5] if len(args) > 5 else False
    return bool(kwargs.get("training", kwargs.get("use_input_stats", given)))


def _found(name: str, keeps: Keeps, result: Any, things: Any, args: Any, kwargs: Any) -> Origin:
    found = NOTHING
    for place, each in enumerate(things):
        named, thing = (None, each) if things is args else each
        kind = type(thing)
        if kind is TrackedTensor:
            first = place == 0 if named is None else named in ("input", "self")
            origin = _derived(name, keeps, result, thing, first, args, kwargs)
        elif kind is Tensor or kind is int or kind is torch.Size:
            continue
        elif isinstance(thing, Mapping):
            origin = _inside(name, keeps, result, thing.values())
        elif isinstance(thing, Sequence) and kind is not str:
            origin = _inside(name, keeps, result, thing)
        else:
            continue
        found = joined(found, origin)
    return found


def _inside(name: str, keeps: Keeps, result: Any, things: Iterable[Any]) -> Origin:
    """Return what was made of the tensors in a container among the arguments."""
    batches: dict[DrawnBatch, None] = {}
    flat, axes = True, set[int | None]()
    for each in things:
        if type(each) is TrackedTensor:
            origin = _derived(name, keeps, result, each, False, (), {})
        elif isinstance(each, Sequence) and not isinstance(each, str | torch.Size):
            origin = _inside(name, keeps, result, each)
        else:
            continue
        batches.update(dict.fromkeys(origin.batches))
        flat &= origin.flat or not origin.batches
        axes.add(origin.axis)
    return Origin(tuple(batches), flat, axis_of(tuple(batches), axes))


def _derived(
    name: str, keeps: Keeps, result: Any, source: TrackedTensor, first: bool, args: Any, kwargs: Any
) -> Origin:
    """Return the origin of what a function took from one tensor."""
    origin = source._origin
    if result is None:
        return origin
    if keeps is Keeps.SHAPE and name != "new_tensor" and first:
        return NOTHING
    if not first and name in OF_ANOTHER:
        return NOTHING
    if not first and keeps is Keeps.TABLE:
        return origin.part
    chosen = keeps in (Keeps.PICKED, Keeps.INTO, Keeps.CUT, Keeps.SHAPE)
    if not first and (chosen or name in PLACING):  # an index, or what is written
        # What an index chose from says whether records were left out, and so were theirs here.
        begun = args[0] if args else kwargs.get("input", kwargs.get("self"))
        chooses = keeps in (Keeps.PICKED, Keeps.CUT) and type(begun) is TrackedTensor
        left_out = chooses or loses_values(name, source, args)
        return Origin(origin.part.batches if left_out else origin.batches, origin.flat)
    axis = origin.axis
    if axis is None and all(each.place is not None for each in origin.batches):
        axis = PRESUMED  # it has one sample, which no such function leaves out
    whole, axis = kept(name, keeps, result, source, axis, args, kwargs)
    if (first and keeps is Keeps.INTO) or (name in OF_COMPLEX and len(origin.batches) > 1):
        whole = False
    batches = origin.batches if whole else origin.part.batches
    column = result.dim() == 0 or (result.dim() == 1 and axis == 0)
    return Origin(batches, origin.flat or column, axis)

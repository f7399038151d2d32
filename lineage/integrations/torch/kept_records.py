"""What the result of a function keeps of the records in an argument: all, some or none.

The dimension with one entry a record, the ``axis``, is followed where it is certain, so that
cutting another one is seen to keep all records.
"""

from math import isinf, prod
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor

from lineage.integrations.torch.function_kinds import OF_MATRICES, OF_SECOND, OF_TWO, PLACING, Keeps
from lineage.integrations.torch.origins import PRESUMED


def kept(
    name: str,
    keeps: Keeps,
    result: Tensor,
    source: Tensor,
    axis: int | None,
    args: Any,
    kwargs: Any,
) -> tuple[bool, int | None]:
    """Return whether all records of the first argument are kept, and the axis of the result."""
    if keeps is Keeps.ENTRIES or keeps is Keeps.INTO:  # nearly always
        return True, _from_right(result, source, axis)
    if keeps is Keeps.TILED:
        found = _from_right(result, source, axis)
        return True, None if found == PRESUMED and result.shape[0] != source.shape[0] else found
    if axis == PRESUMED and keeps not in (Keeps.LEADING, Keeps.WINDOWS):
        axis = None
    dims = _dims(name, args, kwargs)
    match keeps:
        case Keeps.ALL:
            found = _of_size(keeps, result, source, axis, dims)
            return not _leaves_out_entries(name, args, kwargs) or found is not None, found
        case Keeps.TURNED:
            return True, _turned(result, source, axis)
        case Keeps.LEADING | Keeps.WINDOWS if axis == PRESUMED:
            return True, PRESUMED
        case Keeps.LEADING:
            return True, _of_size(keeps, result, source, axis, dims)
        case Keeps.WINDOWS:
            return axis == 0, 0 if axis == 0 and result.shape[:1] == source.shape[:1] else None
        case Keeps.REPEATED:
            often = kwargs.get("repeats", args[1] if len(args) > 1 else None)
            whole = type(often) is int and often > 0
            return whole, _of_size(keeps, result, source, axis, dims)
        case Keeps.TRIANGLE:
            return axis is not None and axis < source.dim() - 2, axis
        case Keeps.TABLE:
            return True, _of_size(Keeps.LEADING, result, source, axis, dims)
        case Keeps.ORDER:
            return True, _in_order(result, source, axis)
        case Keeps.PADDED:
            widths = kwargs.get("pad", args[1] if len(args) > 1 else (-1,))
            return min(widths, default=0) >= 0, _of_size(keeps, result, source, axis, dims)
        case Keeps.EXTREMES:
            share = kwargs.get("q", args[1] if len(args) > 1 else None)
            several = "quantile" in name and type(share) is not float
            found = None if several else _of_size(keeps, result, source, axis, dims)
            return found is not None, found
        case Keeps.CUT:
            return _cut(name, result, source, axis, args, kwargs)
        case Keeps.PICKED if name == "getitem":
            return _indexed(result, source, axis, args[1])
        case Keeps.PICKED:
            dim = kwargs.get("dim", args[1] if len(args) > 1 else None)
            index = kwargs.get("index", kwargs.get("indices", args[2] if len(args) > 2 else ()))
            return _picked(result, source, axis, dim, index)
    return False, None


def loses_values(name: str, values: Tensor, args: Any) -> bool:
    """Return True if values that are written may be lost: two of them went into one place."""
    at = PLACING.get(name)
    if at is None or (len(args) > at + 1 and values is not args[at + 1]):
        return False
    if name in ("index_reduce", "masked_scatter", "scatter_reduce") or len(args) <= at + 1:
        return True
    index = args[at]
    if name.startswith("scatter") and index.shape != values.shape:
        return True
    if name == "scatter_add":
        return False
    indexes = index if isinstance(index, tuple) else (index,)
    placed = [each for each in indexes if isinstance(each, Tensor | list)]
    return bool(placed) and not any(map(_is_distinct, placed))


def _is_distinct(index: Any) -> bool:
    """Return True if no place is named twice; asks no accelerator."""
    if isinstance(index, list):
        index = torch.tensor(index)
    if index.dtype is torch.bool:
        return True
    if index.device.type != "cpu" or index.numel() == 0:
        return False
    # Numbers below 0 count from the end, and may mean the same place as others.
    return index.unique().numel() == index.numel() and bool(index.min() >= 0)


def _leaves_out_entries(name: str, args: Any, kwargs: Any) -> bool:
    """Return True if a norm is of some entries, or a transform is made of as many as is said."""
    at = 2 if name in OF_TWO else 1
    given = args[at] if len(args) > at else None
    if name.startswith("fft_"):
        return not (given is None and kwargs.get("n") is None and kwargs.get("s") is None)
    order = kwargs.get("ord", kwargs.get("p", given))
    if name in OF_MATRICES:
        return order not in (None, "fro", "nuc")
    return type(order) is float and isinf(order)


def _from_right(result: Tensor, source: Tensor, axis: int | None) -> int | None:
    if axis is None or axis == PRESUMED:
        return axis if result.dim() == source.dim() else None
    place = axis + result.dim() - source.dim()
    return place if place >= 0 and result.shape[place] == source.shape[axis] else None


def _dims(name: str, args: Any, kwargs: Any) -> tuple[int, ...] | None:
    """Return the dimensions that a function is told to reduce; None if it is not certain."""
    at = 2 if name in OF_SECOND else 1
    dims = kwargs.get("dim", args[at] if len(args) > at else None)
    dims = (dims,) if type(dims) is int else dims
    if isinstance(dims, tuple | list) and all(type(each) is int for each in dims):
        return tuple(dims)
    return None


def _of_size(
    keeps: Keeps,
    result: Tensor,
    source: Tensor,
    axis: int | None,
    dims: tuple[int, ...] | None = None,
) -> int | None:
    """Return the dimension that is known by its size, or because others were reduced."""
    if axis is None:
        return None
    shape, records = tuple(result.shape), source.shape[axis]
    if tuple(source.shape).count(records) == 1 and shape.count(records) == 1:
        return shape.index(records)
    if axis or shape[:1] != (records,):
        return None
    if keeps in (Keeps.LEADING, Keeps.WINDOWS):
        return 0
    if dims is None or any(each % source.dim() == 0 for each in dims):
        return None
    return 0


def _turned(result: Tensor, source: Tensor, axis: int | None) -> int | None:
    """Return where a dimension went: it is known by its size, or in a view by its stride too."""
    if axis is None:
        return None
    sizes = [place for place, size in enumerate(result.shape) if size == source.shape[axis]]
    if len(sizes) > 1 and result.data_ptr() == source.data_ptr():
        sizes = [place for place in sizes if result.stride(place) == source.stride(axis)]
    return sizes[0] if len(sizes) == 1 else None


def _in_order(result: Tensor, source: Tensor, axis: int | None) -> int | None:
    if axis is None:
        return None
    before = prod(source.shape[:axis])
    for place, size in enumerate(result.shape):
        if size == source.shape[axis] and prod(result.shape[:place]) == before:
            return place
    return None


def _cut(
    name: str, result: Tensor, source: Tensor, axis: int | None, args: Any, kwargs: Any
) -> tuple[bool, int | None]:
    if name == "masked_select":
        mask = kwargs.get("mask", args[-1])
        return mask.shape == source.shape and result.numel() == source.numel(), None
    found = _of_size(Keeps.CUT, result, source, axis)
    if found is None and axis is not None and result.dim() == source.dim():
        dims = [each for each in (*args[1:], kwargs.get("dim")) if type(each) is int]
        if dims and result.shape[axis] == source.shape[axis]:
            found = axis
    return found is not None or result.numel() == source.numel(), found


def _picked(
    result: Tensor, source: Tensor, axis: int | None, dim: Any, index: Any
) -> tuple[bool, int | None]:
    """Return what was kept of picking along a dimension; integers may come twice, and not all."""
    if axis is None or type(dim) is not int:
        return False, None
    same = result.dim() == source.dim() and result.shape[axis] == source.shape[axis]
    whole = same if dim % source.dim() != axis else _covers(index, source.shape[axis])
    return whole, axis if same else None


def _indexed(
    result: Tensor, source: Tensor, axis: int | None, index: Any
) -> tuple[bool, int | None]:
    """Return what was kept by an index; integers that come twice leave others out."""
    indexes = index if isinstance(index, tuple) else (index,)
    if all(each is None or type(each) in (int, slice, EllipsisType) for each in indexes):
        if result.numel() == source.numel():
            return True, _in_order(result, source, axis)
        return _sliced(source, axis, indexes)
    first = indexes[0]
    rest = [each for each in indexes[1:] if isinstance(each, Tensor | list)]
    if isinstance(first, Tensor) and first.dtype is torch.bool and not rest:
        # As many as there were: none was left out.
        return result.numel() == source.numel(), None
    if axis == 0 and isinstance(first, Tensor | list | range) and _covers(first, source.shape[0]):
        return True, 0 if result.shape[:1] == source.shape[:1] else None
    if axis == 0 and type(first) is slice and first == slice(None):
        # Indexes that stand apart move their dimension to the front.
        picks = [
            place for place, each in enumerate(indexes) if isinstance(each, Tensor | list | int)
        ]
        apart = picks and picks[-1] - picks[0] >= len(picks)
        return True, None if apart else 0
    return False, None


def _sliced(source: Tensor, axis: int | None, indexes: Any) -> tuple[bool, int | None]:
    """Return what slices and integers keep: all records, if they keep all along their dimension."""
    if axis is None:
        return False, None
    taken = sum(each is not None and each is not Ellipsis for each in indexes)
    at = place = 0  # in what is indexed, and in what comes out
    for each in indexes if Ellipsis in indexes else (*indexes, Ellipsis):
        if each is None:
            place += 1
            continue
        if each is Ellipsis:
            passed = source.dim() - taken
            if at <= axis < at + passed:
                return True, place + axis - at
            at, place = at + passed, place + passed
            continue
        if at == axis:
            records = source.shape[axis]
            if type(each) is int:
                return records == 1, None
            return len(range(*each.indices(records))) == records, place
        at, place = at + 1, place + (type(each) is slice)
    return False, None


def _covers(index: Any, records: int) -> bool:
    """Return True if an index names each of some records; asks no accelerator."""
    if isinstance(index, Tensor):
        if index.dim() != 1 or index.device.type != "cpu" or index.dtype is torch.bool:
            return False
        index = index.tolist() if index.shape[0] >= records else ()
    if not all(type(each) is int for each in index):
        return False
    return len({each % records for each in index}) == records if records else False

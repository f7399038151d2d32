"""What functions of torch keep of the records in a tensor: all, some or none.

Functions are known by name. One that is not known here may have left out records of what it was
given: what it makes is told as a part of the batch, which makes a step a bound. The dimension with
one entry a record, the ``axis``, is followed where it is certain, so that cutting another one is
seen to keep all records.
"""

from enum import Enum
from functools import lru_cache
from math import isinf, prod
from types import EllipsisType
from typing import Any

import torch
from torch import Tensor


class Keeps(Enum):
    """What the result of a function has of the records in its arguments."""

    ENTRIES = "each entry, and its place"
    ALL = "all of them, in another shape"
    LEADING = "all of them, and the first dimension"
    ORDER = "each entry in its order, in another shape"
    REPEATED = "each entry, as often as is said"
    TRIANGLE = "entries of one half of a matrix"
    PADDED = "each entry, or without some at the edges"
    EXTREMES = "some entries along a dimension"
    CUT = "some entries, none twice"
    PICKED = "some entries, maybe repeatedly"
    INTO = "some entries, others are written over"
    TABLE = "rows of a second argument"
    SHAPE = "nothing but a shape or a type"
    UNKNOWN = "nobody knows"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_KNOWN = {
    Keeps.ENTRIES: _names(
        """abs absolute acos acosh add addcdiv addcmul alias_copy alpha_dropout and angle arccos
        arccosh arcsin arcsinh arctan arctan2 arctanh asin asinh atan atan2 atanh autocast_to
        bernoulli bfloat16 binary_cross_entropy_with_logits bitwise_and bitwise_left_shift
        bitwise_not bitwise_or bitwise_right_shift bitwise_xor bool broadcast_to bucketize byte
        cdouble ceil celu cfloat chalf char clamp clamp_max clamp_min clip clone complex conj
        conj_physical contiguous copysign cos cosh cpu cuda cummax cummin cumprod cumsum data
        deg2rad dequantize detach detach_copy digamma div divide double dropout dropout1d dropout2d
        dropout3d elu eq erf erfc erfinv exp exp2 expand expand_as expand_copy expm1
        feature_alpha_dropout feature_dropout fix flip fliplr flipud float float_power floor
        floor_divide floordiv fmax fmin fmod frac frexp gcd ge gelu grad greater greater_equal gt
        gumbel_softmax half hardshrink hardsigmoid hardswish hardtanh heaviside hypot i0 iadd iand
        idiv ifloordiv igamma igammac ilshift imag imod imul int invert ior ipow irshift isclose
        isfinite isin isinf isnan isneginf isposinf isreal isub itruediv ixor lcm ldexp le
        leaky_relu lerp less less_equal lgamma log log10 log1p log2 log_sigmoid log_softmax
        logaddexp logaddexp2 logcumsumexp logical_and logical_not logical_or logical_xor logit
        logsigmoid long lshift lt masked_fill maximum minimum mish mod mul multiply mvlgamma
        nan_to_num native_dropout ne neg negative nextafter normalize not not_equal or pin_memory
        polar polygamma positive pos pow prelu quantize_per_channel quantize_per_tensor rad2deg
        radd rand rdiv real reciprocal relu relu6 remainder requires_grad resolve_conj resolve_neg
        rfloordiv rlshift rmod rmul roll ror round rpow rrelu rrshift rshift rsqrt rsub rtruediv
        rxor searchsorted selu sgn share_memory short sigmoid sign signbit silu sin sinc sinh
        softmax softmin softplus softshrink softsign sort sqrt square sub subtract tan tanh
        tanhshrink threshold to to_dense to_sparse true_divide truediv trunc type
        type_as where xlogy xor copy zero fill"""
    ),
    Keeps.ALL: _names(
        """addbmm addmm addmv addr adjoint all allclose any argsort  baddbmm
        binary_cross_entropy bincount block_diag bmm cat cdist chain_matmul channel_shuffle
        cholesky cholesky_inverse cholesky_solve coalesce column_stack concat concatenate
        corrcoef cosine_embedding_loss cosine_similarity count_nonzero cov cross cross_entropy
        ctc_loss det diag_embed dist dot dsmm dstack einsum equal fold gaussian_nll_loss ger
        gradient H hinge_embedding_loss histc histogram hsmm hstack huber_loss
        indices inner inverse kl_div kron l1_loss linear_cross_entropy logdet logsumexp
        lstm gru rnn_tanh rnn_relu mH mT margin_ranking_loss matmul matrix_exp matrix_power mean
        mm moveaxis movedim mse_loss multi_head_attention_forward multi_margin_loss
        multilabel_margin_loss multilabel_soft_margin_loss mv nanmean nansum nll_loss
        nll_loss_nd nuclear_norm norm outer pack_padded_sequence pad_packed_sequence pad_sequence
        pairwise_distance pdist permute permute_copy pinverse poisson_nll_loss prod repeat
        rmatmul rot90 row_stack slogdet smm smooth_l1_loss soft_margin_loss spmm
        stack std std_mean stft sum sum_to_size svd swapaxes swapdims t T t_copy tensordot tile
        trapezoid trapz transpose transpose_copy triplet_margin_loss
        triplet_margin_with_distance_loss values var var_mean vdot vstack nested_tensor
        scaled_dot_product_attention native_multi_head_attention transformer_encoder_layer_fwd
        index_add scatter_add frobenius_norm trace"""
    ),
    Keeps.LEADING: _names(
        """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
        adaptive_max_pool2d adaptive_max_pool3d affine_grid avg_pool1d avg_pool2d avg_pool3d
        batch_norm bilinear conv1d conv2d conv3d conv_transpose1d conv_transpose2d
        conv_transpose3d convolution fractional_max_pool2d fractional_max_pool3d glu grid_sample
        group_norm gru_cell instance_norm interpolate layer_norm linear local_response_norm
        lp_pool1d lp_pool2d lp_pool3d lstm_cell max_pool1d max_pool2d max_pool3d
        boolean_dispatch max_unpool1d max_unpool2d max_unpool3d native_batch_norm
        native_group_norm native_layer_norm one_hot pixel_shuffle pixel_unshuffle rms_norm
        rnn_relu_cell rnn_tanh_cell upsample upsample_bilinear upsample_nearest
        max_pool1d_with_indices max_pool2d_with_indices max_pool3d_with_indices"""
    ),
    Keeps.ORDER: _names(
        """atleast_1d atleast_2d atleast_3d flatten ravel reshape reshape_as squeeze squeeze_copy
        unflatten unsqueeze unsqueeze_copy view view_as view_as_complex view_as_real view_copy"""
    ),
    Keeps.REPEATED: _names("repeat_interleave"),
    Keeps.TRIANGLE: _names("tril triu"),
    Keeps.PADDED: _names("pad constant_pad_nd"),
    Keeps.EXTREMES: _names(
        """amax amin aminmax argmax argmin kthvalue max median min mode nanmedian nanquantile
        quantile topk msort"""
    ),
    Keeps.CUT: _names(
        """chunk diagonal diagonal_copy dsplit hsplit masked_select narrow narrow_copy
        select select_copy slice_copy split split_copy split_with_sizes split_with_sizes_copy
        tensor_split unbind unbind_copy unsafe_chunk unsafe_split unsafe_split_with_sizes vsplit"""
    ),
    Keeps.PICKED: _names("getitem gather index_select take_along_dim"),
    Keeps.INTO: _names(
        """as_strided_scatter diagonal_scatter fill_diagonal index_copy index_fill index_put
        index_reduce masked_scatter put scatter scatter_reduce select_scatter setitem
        slice_scatter"""
    ),
    Keeps.TABLE: _names("embedding embedding_bag"),
}
_KINDS = {name: keeps for keeps, names in _KNOWN.items() for name in names}

OF_ANOTHER = _names("type_as expand_as view_as reshape_as resize_as to")
"""Functions that take no more than a shape or a type from their second argument."""

RESIZED = _names("resize resize_as")
"""Functions that may cut what is there."""

ANEW = _names(
    """bernoulli cauchy copy data exponential fill geometric log_normal normal random uniform
    zero"""
)
"""Functions that write over all of what they write into."""


@lru_cache(4096)
def about(func: Any) -> tuple[str, Keeps]:
    """Return the name of a function of torch, and what it keeps."""
    name = name_of(func)
    return name, kept_by(name)


def name_of(func: Any) -> str:
    """Return the name of a function of torch, the same for all its variants.

    >>> name_of(torch.Tensor.add_), name_of(torch.Tensor.T.__get__), name_of(torch._foreach_mul_)
    ('add', 'T', 'mul')
    """
    name = getattr(func, "__name__", "")
    if name in ("__get__", "__set__"):
        name = getattr(getattr(func, "__self__", None), "__name__", "")
    return name.partition(".")[0].strip("_").removeprefix("foreach_")


def kept_by(name: str) -> Keeps:
    """Return what a function keeps."""
    if name.startswith("new_") or name.endswith("_like"):
        return Keeps.SHAPE
    if name.startswith("special_"):
        return Keeps.ENTRIES
    if name.startswith(("linalg_", "fft_")):
        return Keeps.ALL
    return _KINDS.get(name, Keeps.UNKNOWN)


def kept(
    keeps: Keeps, result: Tensor, source: Tensor, axis: int | None, args: Any, kwargs: Any
) -> tuple[bool, int | None]:
    """Return whether all records of the first argument are kept, and the axis of the result."""
    if keeps is Keeps.ENTRIES:  # nearly always
        return True, _from_right(result, source, axis)
    match keeps:
        case Keeps.INTO:
            return True, _from_right(result, source, axis)
        case Keeps.ALL:
            found = _of_size(keeps, result, source, axis, args, kwargs)
            return found is not None or not _is_of_largest(args, kwargs), found
        case Keeps.LEADING:
            found = _of_size(keeps, result, source, axis, args, kwargs)
            return found is not None or not _is_shortened(result, source, axis), found
        case Keeps.REPEATED:
            often = kwargs.get("repeats", args[1] if len(args) > 1 else None)
            whole = type(often) is int and often > 0
            return whole, _of_size(keeps, result, source, axis, args, kwargs)
        case Keeps.TRIANGLE:
            return axis is not None and axis < source.dim() - 2, axis
        case Keeps.TABLE:
            return True, _of_size(Keeps.LEADING, result, source, axis, args, kwargs)
        case Keeps.ORDER:
            return True, _in_order(result, source, axis)
        case Keeps.PADDED:
            widths = kwargs.get("pad", args[1] if len(args) > 1 else (-1,))
            return min(widths, default=0) >= 0, _of_size(keeps, result, source, axis, args, kwargs)
        case Keeps.EXTREMES:
            found = _of_size(keeps, result, source, axis, args, kwargs)
            return found is not None, found
        case Keeps.CUT:
            return _cut(result, source, axis, args, kwargs)
        case Keeps.PICKED:
            return _picked(result, source, axis, args)
    return False, None


def _is_of_largest(args: Any, kwargs: Any) -> bool:
    """Return True if a norm is the largest or the smallest entry."""
    order = kwargs.get("ord", kwargs.get("p", args[1] if len(args) > 1 else None))
    return type(order) is float and isinf(order)


def _is_shortened(result: Tensor, source: Tensor, axis: int | None) -> bool:
    """Return True if the dimension of the records, which is not the first one, has another size."""
    if not axis:
        return False
    return result.dim() <= axis or result.shape[axis] != source.shape[axis]


def _from_right(result: Tensor, source: Tensor, axis: int | None) -> int | None:
    if axis is None:
        return None
    place = axis + result.dim() - source.dim()
    return place if place >= 0 and result.shape[place] == source.shape[axis] else None


def _of_size(
    keeps: Keeps, result: Tensor, source: Tensor, axis: int | None, args: Any, kwargs: Any
) -> int | None:
    """Return the dimension that is known by its size, or because others were reduced."""
    if axis is None:
        return None
    shape, records = tuple(result.shape), source.shape[axis]
    if tuple(source.shape).count(records) == 1 and shape.count(records) == 1:
        return shape.index(records)
    if axis or shape[:1] != (records,):
        return None
    if keeps is Keeps.LEADING:
        return 0
    dims = kwargs.get("dim", args[1] if len(args) > 1 else None)
    dims = (dims,) if type(dims) is int else dims
    if not isinstance(dims, tuple | list) or not all(type(each) is int for each in dims):
        return None
    return None if any(each % source.dim() == 0 for each in dims) else 0


def _in_order(result: Tensor, source: Tensor, axis: int | None) -> int | None:
    if axis is None:
        return None
    before = prod(source.shape[:axis])
    for place, size in enumerate(result.shape):
        if size == source.shape[axis] and prod(result.shape[:place]) == before:
            return place
    return None


def _cut(
    result: Tensor, source: Tensor, axis: int | None, args: Any, kwargs: Any
) -> tuple[bool, int | None]:
    found = _of_size(Keeps.CUT, result, source, axis, (), {})
    if found is None and axis is not None and result.dim() == source.dim():
        dims = [each for each in (*args[1:], kwargs.get("dim")) if type(each) is int]
        if dims and result.shape[axis] == source.shape[axis]:
            found = axis
    return found is not None or result.numel() == source.numel(), found


def _picked(result: Tensor, source: Tensor, axis: int | None, args: Any) -> tuple[bool, int | None]:
    """Return what was kept by an index; integers that come twice leave others out."""
    if len(args) == 3:  # a dimension, and what is picked along it
        dim, index = args[1:]
        if axis is None or type(dim) is not int:
            return False, None
        if dim % source.dim() != axis:
            same = result.dim() == source.dim() and result.shape[axis] == source.shape[axis]
            return same, axis if same else None
        return _covers(index, source.shape[axis]) and result.dim() == source.dim(), axis
    index = args[1] if len(args) > 1 else None
    indexes = index if isinstance(index, tuple) else (index,)
    if all(isinstance(each, int | slice | EllipsisType | None) for each in indexes):
        if result.numel() == source.numel():
            return True, _in_order(result, source, axis)
        return _through(indexes, result, source, axis)
    first = indexes[0]
    rest = [each for each in indexes[1:] if isinstance(each, Tensor | list)]
    if isinstance(first, Tensor) and first.dtype is torch.bool and not rest:
        # As many as there were: none was left out.
        return result.numel() == source.numel(), None
    if axis == 0 and isinstance(first, Tensor | list | range) and _covers(first, source.shape[0]):
        return True, 0 if result.shape[:1] == source.shape[:1] else None
    if axis == 0 and first == slice(None):
        return True, 0
    return False, None


def _through(
    indexes: Any, result: Tensor, source: Tensor, axis: int | None
) -> tuple[bool, int | None]:
    if axis is None:
        return False, None
    if axis == 0:
        if isinstance(indexes[0], slice) and indexes[0] == slice(None):
            return True, 0
        if indexes[0] is Ellipsis and None not in indexes and len(indexes) <= source.dim():
            return True, 0
    found = _of_size(Keeps.CUT, result, source, axis, (), {})
    return found is not None, found


def _covers(index: Any, records: int) -> bool:
    """Return True if an index names each of some records; asks no accelerator."""
    if isinstance(index, Tensor):
        if index.dim() != 1 or index.device.type != "cpu" or index.dtype is torch.bool:
            return False
        index = index.tolist() if index.shape[0] >= records else ()
    if not all(type(each) is int for each in index):
        return False
    return len({each % records for each in index}) == records if records else False

"""Functions of torch by name, and what each keeps of the records in its arguments.

One that is not known here may have left out records of what it was given: what it makes is told as
a part of the batch, which makes a step a bound.
"""

from enum import Enum
from functools import lru_cache
from typing import Any


class Keeps(Enum):
    """What the result of a function has of the records in its arguments."""

    ENTRIES = "each entry, and its place"
    ALL = "all of them, in another shape"
    TURNED = "all of them, with the dimensions in another order"
    TILED = "all of them, and the dimensions that did not grow"
    LEADING = "all of them, and the first dimension"
    WINDOWS = "the first dimension, and some entries of those behind it"
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
        conj_physical contiguous copysign cos cosh cpu cuda cumprod cumsum data
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
        """addbmm addmm addmv addr all allclose any argsort baddbmm binary_cross_entropy bincount
        bmm cat cdist chain_matmul channel_shuffle cholesky cholesky_inverse cholesky_solve
        coalesce column_stack concat concatenate corrcoef cosine_embedding_loss cosine_similarity
        count_nonzero cov cross cross_entropy ctc_loss det diag_embed dist dot dsmm dstack einsum
        equal fold gaussian_nll_loss ger gradient hinge_embedding_loss histc histogram hsmm hstack
        huber_loss indices inner inverse kl_div l1_loss linear_cross_entropy logdet logsumexp lstm
        gru rnn_tanh rnn_relu margin_ranking_loss matmul matrix_exp matrix_power mean mm mse_loss
        multi_head_attention_forward multi_margin_loss multilabel_margin_loss
        multilabel_soft_margin_loss mv nanmean nansum nll_loss nll_loss_nd nuclear_norm norm outer
        pack_padded_sequence pad_packed_sequence pad_sequence pairwise_distance pdist pinverse
        poisson_nll_loss prod rmatmul rot90 row_stack slogdet smm smooth_l1_loss soft_margin_loss
        spmm stack std std_mean stft sum sum_to_size svd tensordot trapezoid trapz
        triplet_margin_loss triplet_margin_with_distance_loss values var var_mean vdot vstack
        nested_tensor scaled_dot_product_attention native_multi_head_attention
        transformer_encoder_layer_fwd index_add scatter_add frobenius_norm"""
    ),
    Keeps.TURNED: _names(
        """H T adjoint mH mT moveaxis movedim permute permute_copy swapaxes swapdims t t_copy
        transpose transpose_copy"""
    ),
    Keeps.TILED: _names("block_diag kron repeat tile"),
    Keeps.LEADING: _names(
        """affine_grid batch_norm bilinear glu group_norm gru_cell instance_norm layer_norm linear
        local_response_norm lstm_cell max_unpool1d max_unpool2d max_unpool3d native_batch_norm
        native_group_norm native_layer_norm one_hot pixel_shuffle pixel_unshuffle rms_norm
        rnn_relu_cell rnn_tanh_cell"""
    ),
    Keeps.WINDOWS: _names(
        """adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d adaptive_max_pool1d
        adaptive_max_pool2d adaptive_max_pool3d avg_pool1d avg_pool2d avg_pool3d boolean_dispatch
        conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d convolution
        fractional_max_pool2d fractional_max_pool3d grid_sample interpolate lp_pool1d lp_pool2d
        lp_pool3d max_pool1d max_pool2d max_pool3d max_pool1d_with_indices max_pool2d_with_indices
        max_pool3d_with_indices upsample upsample_bilinear upsample_nearest"""
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
        """chunk diagonal diagonal_copy dsplit hsplit linalg_diagonal masked_select narrow
        narrow_copy select select_copy slice_copy split split_copy split_with_sizes
        split_with_sizes_copy
        tensor_split unbind unbind_copy unsafe_chunk unsafe_split unsafe_split_with_sizes vsplit
        trace"""
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

OF_COMPLEX = _names("imag real")
"""Functions that give one part of numbers with two, which may have come from different batches."""

PLACING = {
    **dict.fromkeys(("index_put", "masked_scatter", "put", "setitem"), 1),
    **dict.fromkeys(("index_copy", "index_reduce", "scatter", "scatter_add", "scatter_reduce"), 2),
}
"""Functions that write values into places, which argument names the places; the next one is what is
written there."""

RESIZED = _names("resize resize_as")
"""Functions that may cut what is there."""

OF_SECOND = _names(
    """kthvalue linalg_matrix_norm linalg_norm linalg_vector_norm nanquantile norm quantile topk"""
)
"""Functions whose dimension comes behind another number."""

OF_TWO = _names("cdist dist pairwise_distance")
"""Functions of two tensors, behind which the order of a norm comes."""

OF_MATRICES = _names("linalg_cond linalg_matrix_norm linalg_norm")
"""Norms of which most orders choose one row, one column or one singular value."""

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

    >>> import torch
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

"""What is said of the results of torch's functions, against what moves when one record moves.

A batch of some records goes through a chain of functions, once as a tracked tensor. An oracle that
knows nothing of functions moves the values of one record at a time a little, and looks which
entries of the result move with it. A result that is told to be made of the whole batch moves with
each record; so does each row along the dimension that is told to have an entry a record.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from lineage.integrations.torch.following import follow  # what makes tracked tensors follow
from lineage.integrations.torch.origins import PRESUMED, Origin
from lineage.integrations.torch.tracked_tensor import TrackedTensor, mark
from lineage.training.update_window import DrawnBatch, EventSink

assert TrackedTensor.follow is follow
pytestmark = pytest.mark.filterwarnings("ignore")  # what functions say of odd shapes

Function = Callable[[Tensor], Tensor]
"""A function with its arguments, but for the tensor."""

A_LITTLE = 1e-6


def placed(buffer: Tensor, index: object, values: Tensor) -> Tensor:
    """Return a buffer into which values were written."""
    buffer[index] = values
    return buffer


NAMES = {"torch": torch, "F": functional, "inf": float("inf"), "placed": placed}

DIMS = st.integers(-4, 3)
SIZES = st.integers(1, 4)


class Call(NamedTuple):
    """A function of a chain, and how it reads."""

    text: str
    function: Function

    def __repr__(self) -> str:
        return self.text


def plain(*names: str) -> st.SearchStrategy[Call]:
    """Functions of the tensor alone."""
    return st.sampled_from([Call(f"{name}()", lambda x, n=name: getattr(x, n)()) for name in names])


def along(*names: str) -> st.SearchStrategy[Call]:
    """Functions of a dimension, which may not be there."""
    return st.builds(
        lambda name, dim: Call(f"{name}({dim})", lambda x: first_of(getattr(x, name)(dim))),
        st.sampled_from(names),
        DIMS,
    )


def first_of(result: Tensor | Sequence[Tensor]) -> Tensor:
    """Return a tensor, or the first of several."""
    return result if isinstance(result, Tensor) else result[0]


def call(text: str, *arguments: st.SearchStrategy[object]) -> st.SearchStrategy[Call]:
    """An expression of ``x``, and of arguments that are drawn in the place of ``{}``."""

    def made(*drawn: object) -> Call:
        said = text.format(*map(repr, drawn))
        return Call(said, lambda x: eval(said, {**NAMES, "x": x}))

    return st.builds(made, *arguments)


INDEXES = st.lists(st.integers(0, 4), min_size=1, max_size=5)
ORDERS = st.sampled_from([1.0, 2.0, float("inf")])
SLICES = st.sampled_from([":", "1:", ":1", "::2", "0", "-1", "None", "...", ":2", ":3", "0:4"])

CALLS = st.one_of(
    plain("abs", "clone", "contiguous", "exp", "float", "double", "log", "neg", "sin", "detach"),
    plain("flatten", "ravel", "squeeze", "t", "adjoint", "sum", "mean", "std", "max", "min"),
    plain("amax", "amin", "median", "tril", "triu", "diagonal", "trace", "logdet", "prod", "norm"),
    along("sum", "mean", "prod", "logsumexp", "std", "var", "norm", "softmax", "log_softmax"),
    along("max", "min", "amax", "amin", "median", "mode", "cummax", "cumsum", "cumprod"),
    along("sort", "unsqueeze", "squeeze", "unbind", "tril", "triu", "diagonal"),
    call("F.glu(x, {})", DIMS),
    call("x.msort()"),
    call("x.transpose({}, {})", DIMS, DIMS),
    call("x.swapdims({}, {})", DIMS, DIMS),
    call("x.movedim({}, {})", DIMS, DIMS),
    call("x.permute({})", st.permutations([0, 1, 2])),
    call("x.permute({})", st.permutations([0, 1])),
    call("x.reshape({}, -1)", SIZES),
    call("x.reshape(-1, {})", SIZES),
    call("x.reshape({}, {}, -1)", SIZES, SIZES),
    call("x.view(-1, {})", SIZES),
    call("x.view({}, -1)", SIZES),
    call("x.flatten({}, {})", DIMS, DIMS),
    call("x.unflatten({}, ({}, -1))", DIMS, SIZES),
    call("x.expand({}, *x.shape)", SIZES),
    call("x.repeat({}, *(1 for _ in x.shape[1:]))", SIZES),
    call("x.repeat({}, *x.shape[1:])", SIZES),
    call("x.tile({})", SIZES),
    call("x.repeat_interleave({})", SIZES),
    call("x.repeat_interleave({}, dim={})", SIZES, DIMS),
    call("x.repeat_interleave(torch.tensor({}), dim={})", INDEXES, DIMS),
    call("x.select({}, {})", DIMS, st.integers(-2, 2)),
    call("x.narrow({}, {}, {})", DIMS, st.integers(0, 1), SIZES),
    call("x.narrow({}, start={}, length={})", DIMS, st.integers(0, 1), SIZES),
    call("x.chunk({}, {})[0]", SIZES, DIMS),
    call("x.chunk({}, dim={})[-1]", SIZES, DIMS),
    call("x.split({}, {})[0]", SIZES, DIMS),
    call("x.tensor_split({}, dim={})[-1]", SIZES, DIMS),
    call("torch.cat(x.split({}, {}), {})", SIZES, DIMS, DIMS),
    call("torch.stack(x.unbind({}), {})", DIMS, DIMS),
    call("torch.stack([x, x.flip({})], {})", DIMS, DIMS),
    call("torch.cat([x, x * 2], {})", DIMS),
    call("x.diagonal({}, {}, {})", st.integers(-1, 1), DIMS, DIMS),
    call("x.tril({})", st.integers(-2, 2)),
    call("x.triu({})", st.integers(-2, 2)),
    call("x.topk({}, {})[0]", SIZES, DIMS),
    call("x.topk({}, dim={}, largest=False).values", SIZES, DIMS),
    call("x.kthvalue({}, {}).values", SIZES, DIMS),
    call("x.quantile(0.3, dim={})", DIMS),
    call("x.index_select({}, torch.tensor({}))", DIMS, INDEXES),
    call("torch.index_select(x, {}, index=torch.tensor({}))", DIMS, INDEXES),
    call("x.gather({}, torch.zeros_like(x, dtype=torch.long))", DIMS),
    call("x.take_along_dim(torch.zeros_like(x, dtype=torch.long), {})", DIMS),
    call("x.take_along_dim(x.argsort({0}), {0})", DIMS),
    call("x[torch.tensor({})]", INDEXES),
    call("x[{}]", INDEXES),
    call("x[range({})]", SIZES),
    call("x[:, {}]", INDEXES),
    call("x[:, torch.tensor({})]", INDEXES),
    call("x[..., torch.tensor({})]", INDEXES),
    call("x[torch.tensor({}), torch.tensor({})]", INDEXES, INDEXES),
    call("x[torch.arange(x.shape[0]), {}]", st.integers(0, 2)),
    call("x[torch.arange(x.shape[0]), :{}]", SIZES),
    call("x[x.argsort({})]", DIMS),
    call("x[torch.randperm(x.shape[0], generator=torch.Generator().manual_seed(1))]"),
    call("x[x > {}]", st.sampled_from([0.0, 0.5])),
    call("x[x.flatten(1).sum(1) > {}]", st.sampled_from([0.0, 1.5])),
    call("x.masked_select(x > {})", st.sampled_from([0.0, 0.5])),
    st.builds(
        lambda one, two: Call(f"x[{one}, {two}]", lambda x: eval(f"x[{one}, {two}]", {"x": x})),
        SLICES,
        SLICES,
    ),
    st.builds(lambda one: Call(f"x[{one}]", lambda x: eval(f"x[{one}]", {"x": x})), SLICES),
    call("F.pad(x, ({}, {}))", st.integers(-2, 1), st.integers(-1, 1)),
    call("F.pad(x, (0, 0, {}, {}))", st.integers(-2, 1), st.integers(-1, 1)),
    call("F.pad(x, pad=({}, 0), mode='constant')", st.integers(-2, 1)),
    call("F.normalize(x, dim={})", DIMS),
    call("F.layer_norm(x, x.shape[-1:], torch.arange(1.0, x.shape[-1] + 1).double())"),
    call("F.avg_pool1d(x, {})", SIZES),
    call("F.max_pool1d(x, {})", SIZES),
    call("F.adaptive_avg_pool1d(x, {})", SIZES),
    call("F.interpolate(x, {})", SIZES),
    call("F.linear(x, torch.ones({}, x.shape[-1]).double())", SIZES),
    call("F.conv1d(x, torch.ones(2, x.shape[1], 1).double())"),
    call("F.mse_loss(x, x * 0, reduction={})", st.sampled_from(["none", "mean"])),
    call("F.cosine_similarity(x, x + 1, dim={})", DIMS),
    call("F.pairwise_distance(x, x * 2)"),
    call(
        "torch.linalg.vector_norm(x, {}, dim={})", st.sampled_from([1.0, 2.0, float("inf")]), DIMS
    ),
    call("torch.norm(x, p={})", ORDERS),
    call("x.norm({}, {})", ORDERS, DIMS),
    call("torch.cdist(x, x * 2)"),
    call("torch.cdist(x, x * 2, p=inf)"),
    call("x @ x.transpose(-1, -2)"),
    call("x.transpose(-1, -2) @ x"),
    call("torch.einsum('ij,ij->i', x, x)"),
    call("torch.einsum('ij,kj->ik', x, x)"),
    call("torch.einsum('i...->...', x)"),
    call("torch.outer(x, x)"),
    call("x + x.flip(0)"),
    call("x + x[:1]"),
    call("x * x.mean({}, keepdim=True)", DIMS),
    call("x + x.amax({}, keepdim=True)", DIMS),
    call("x.roll({}, {})", SIZES, DIMS),
    call("x.flip({})", DIMS),
    call("x.unfold({}, {}, {})", DIMS, SIZES, SIZES),
    call("x.lerp(x.roll(1, 0), 0.5)"),
    call("torch.where(x > {}, x, x * 2)", st.sampled_from([0.0, 0.5])),
    call("torch.maximum(x, x.roll(1, 0) / 9)"),
    call("x.rot90()"),
    call("torch.atleast_2d(x)"),
    call("torch.atleast_3d(x)"),
    call("torch.vstack([x, x])"),
    call("torch.hstack([x, x])"),
    call("torch.dstack([x, x])"),
    call("torch.column_stack([x, x])"),
    call("x.as_strided(({},), (1,))", SIZES),
    call("x.as_strided(({}, {}), (1, 1))", SIZES, SIZES),
    call("x.take(torch.tensor({}))", INDEXES),
    call("x.unique()"),
    call("x.cov()"),
    call("x.cumsum({}).narrow({}, 0, 1)", DIMS, DIMS),
    call("torch.trapezoid(x, dim={})", DIMS),
    call("x.diff(dim={})", DIMS),
    call("x.scatter({}, torch.zeros_like(x, dtype=torch.long), x * 2)", DIMS),
    call("x.index_add({}, torch.tensor([0]), x.narrow({}, 0, 1))", DIMS, DIMS),
    call("x.index_copy(0, torch.tensor([0]), x[1:2])"),
    call("x.index_fill({}, torch.tensor([0]), 0.0)", DIMS),
    call("x.clone().zero_() + x"),
    call("x.new_tensor(x.tolist())"),
    call("x.new_zeros(2) + x.sum()"),
    call("torch.zeros_like(x).copy_(x)"),
    call("torch.zeros_like(x).add_(x)"),
    call("torch.zeros(8, *x.shape[1:]).double().index_copy(0, torch.arange(x.shape[0]), x)"),
    call("torch.zeros(5, *x.shape[1:]).double().index_copy(0, torch.tensor({}), x)", INDEXES),
    call("torch.zeros(5, *x.shape[1:]).double().index_put((torch.tensor({}),), x)", INDEXES),
    call("torch.zeros(5).double().put(torch.tensor({}), x)", INDEXES),
    call("torch.zeros(5).double().masked_scatter(torch.tensor({}) > 1, x)", INDEXES),
    call("torch.zeros(5).double().scatter(0, torch.tensor({}), x)", INDEXES),
    call("torch.zeros(5).double().scatter_add(0, torch.tensor({}), x)", INDEXES),
    call("torch.zeros(5).double().index_add(0, torch.tensor({}), x)", INDEXES),
    call("placed(torch.zeros(5, *x.shape[1:]).double(), {}, x)", INDEXES),
    call("placed(torch.zeros(5, *x.shape[1:]).double(), torch.tensor({}), x)", INDEXES),
    call("placed(torch.zeros(5, *x.shape[1:]).double(), slice({}, 5), x)", SIZES),
    call("torch.arange(1.0, x.shape[0] + 1).double() @ x"),
    call("torch.arange(3.0 * x.shape[0]).double().reshape(3, -1) @ x"),
    call("torch.arange(9.0)[x.argsort(0)] + x"),
    call("F.embedding(torch.tensor({}), x)", INDEXES),
    call("F.one_hot(x.argsort({})).double() + x.sum()", DIMS),
    call("x.addmm(x, x)"),
    call("torch.kron(x, x)"),
    call("torch.tensordot(x, x, {})", st.integers(1, 2)),
    call("torch.block_diag(x, x)"),
    call("torch.cartesian_prod(x, x)"),
    call("torch.combinations(x)"),
    call("torch.meshgrid(x, x, indexing='ij')[1]"),
    call("torch.broadcast_tensors(x, torch.zeros(2, 1, 1).double())[0]"),
    call("torch.nn.utils.rnn.pad_sequence(x.unbind({}))", DIMS),
    call("x.mT"),
    call("x.T"),
    call("x.data"),
)


def moved_by(function: Function, x: Tensor, axis: int) -> list[Tensor]:
    """Return which entries of a result move with each record, the entries along a dimension."""
    still = function(x)
    moves = torch.rand(x.shape, generator=torch.Generator().manual_seed(3)).double() + 0.5
    found = []
    for record in range(x.shape[axis]):
        other = x.clone()
        other.select(axis, record).add_(moves.select(axis, record) * A_LITTLE)
        result = function(other)
        found.append(result != still if result.shape == still.shape else torch.ones_like(still) > 0)
    return found


def all_or_none(moved: Tensor) -> bool:
    """Return True if what moves with one record moves with each; what never moves is constant."""
    return bool((moved.all(0) | ~moved.any(0)).all())


def chained(calls: Sequence[Call]) -> Function:
    """Return the function that calls some, one after the other."""

    def function(x: Tensor) -> Tensor:
        for each in calls:
            x = first_of(each.function(x))
        return x

    return function


def complaints(
    calls: Sequence[Call], shape: Sequence[int], axis: int, known: bool
) -> Iterator[str]:
    """Say what is told wrongly of a chain of functions of a batch."""
    values = torch.randperm(int(np.prod(shape)), generator=torch.Generator().manual_seed(5))
    x = (0.1 + 0.8 * (values + 1) / (len(values) + 1)).double().reshape(*shape)
    function = chained(calls)
    try:
        moved = moved_by(function, x, axis)
    except (RuntimeError, IndexError, ValueError, TypeError):
        reject()  # there is no such call on a tensor of this shape
    batch = DrawnBatch(np.arange(shape[axis]), EventSink(lambda event: None))
    tracked = x.clone()
    mark(tracked, Origin((batch,), len(shape) == 1, axis if known or axis else PRESUMED))
    result = function(tracked)
    if type(result) is not TrackedTensor:
        if any(each.any() for each in moved) and not batch.sink.lost:
            yield "the result is made of the batch, and nothing says so"
        return
    origin = result._origin
    if origin.batches != (batch,):
        return
    if not all_or_none(torch.stack([each.any() for each in moved])):
        yield "records left no trace in what is told to be made of the whole batch"
    if origin.axis not in (None, PRESUMED):
        if result.shape[origin.axis] != shape[axis]:
            yield f"dimension {origin.axis} of {tuple(result.shape)} has no entry a record"
        elif not all_or_none(torch.stack([each.any(origin.axis) for each in moved])):
            yield f"a row along dimension {origin.axis} does not move with each record"


def shapes_of_batches() -> st.SearchStrategy[tuple[list[int], int]]:
    """Shapes, and which dimension has an entry a record."""
    return st.lists(st.integers(1, 4), min_size=1, max_size=4).flatmap(
        lambda shape: st.tuples(st.just(shape), st.integers(0, len(shape) - 1))
    )


CHAINS = st.lists(CALLS, min_size=1, max_size=3)


def check(calls: list[Call], batch: tuple[list[int], int], known: bool) -> None:
    """Assert that what is told of a chain of functions is so."""
    shape, axis = batch
    assume(shape[axis] > 1)
    found = [*complaints(calls, shape, axis, known)]
    assert not found, found


@settings(max_examples=2000)
@given(CHAINS, shapes_of_batches(), st.booleans())
def test_what_is_told_to_be_made_of_a_batch_moves_with_each_of_its_records(
    calls: list[Call], batch: tuple[list[int], int], known: bool
) -> None:
    check(calls, batch, known)


@pytest.mark.soak
@settings(max_examples=60_000)
@given(CHAINS, shapes_of_batches(), st.booleans())
def test_many_chains_of_functions_move_with_each_record(
    calls: list[Call], batch: tuple[list[int], int], known: bool
) -> None:
    check(calls, batch, known)

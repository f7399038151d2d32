"""Tensors that know which batches they were made of.

The tensors of a watched batch carry its identity, and so does what is computed from them: moved to
a device, cast, sliced, stacked into a buffer, kept for later. Where the computation meets a
parameter, it ends: from there a gradient flows back, which is noted when it does. So it does not
matter how a loop fetches, keeps or mixes its batches.
"""

import copy
import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lineage.integrations.torch.batch_contents import tensors_of
from lineage.integrations.torch.origins import Origin, handed_out
from lineage.integrations.torch.untraced import untraced
from lineage.training.events import GradientFlowed, TrackLost
from lineage.training.update_window import DrawnBatch, EventSink

OPEN: list[EventSink] = []
"""Where the runs are told of events that are watched in this process."""

STEPPING: list[object] = []
"""The optimizers whose steps are under way: what these write into weights is seen otherwise."""

_LOG = logging.getLogger("lineage")

_LEFT = (
    "values of a watched batch went where nobody follows them: what the loop learns from them "
    "later is not known, so its lineage is incomplete; keep plain tensors of torch"
)

as_plain = torch._C.DisableTorchFunctionSubclass
"""A block in which tracked tensors are plain ones, and nothing is followed."""

backward_pass: Callable[[], int] = torch._C._current_graph_task_id


class TrackedTensor(Tensor):
    """A tensor made of batches and of nothing that is trained."""

    _origin: Origin

    follow: ClassVar[Callable[[Any, Any, Any, Any], None]]
    """Follows what a function does; it needs this class, so its module puts it here."""

    @classmethod
    @untraced
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call a function of torch as if these were plain tensors, and follow what comes out."""
        if func in _PASSES:
            return _passed_back(func, args, kwargs or {})
        if len(types) > 1 and not _PLAIN.issuperset(types):
            # A class of the user's has its own way; nothing can be followed through it.
            result = func(*_plain(args), **_plain(kwargs or {}))
            with as_plain():
                cls.follow(func, result, args, kwargs or {})
            return result
        with as_plain():
            result = func(*args, **kwargs) if kwargs else func(*args)
            cls.follow(func, result, args, kwargs or {})
        return result

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        """Return a copy that is made of the same batches."""
        with as_plain():
            plain = self.detach() if self.is_leaf else self.as_subclass(Tensor)
            copied: Tensor = copy.deepcopy(plain, memo).requires_grad_(self.requires_grad)
            if hasattr(self, "_is_param"):
                copied._is_param = self._is_param
            if self.grad is not None:
                copied.grad = copy.deepcopy(self.grad, memo)
            mark(copied, self._origin)
        memo[id(self)] = copied
        return copied

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return what a plain tensor is pickled as; where that goes, nobody follows."""
        with as_plain():
            leave(self)
            return self.as_subclass(Tensor).__reduce_ex__(protocol)  # type: ignore[no-untyped-call]


_PASSES = frozenset({Tensor.backward, torch.autograd.backward, torch.autograd.grad})
"""Backward passes: what they call, as hooks do, is followed as anywhere."""


def _passed_back(func: Any, args: Any, kwargs: Any) -> Any:
    """Call a backward pass that begins at tracked tensors, or asks for their gradients.

    It begins at one that a function of the user's own gave, which nobody could follow.
    """
    tracked = [each for each in tensors_of([args, kwargs]) if type(each) is TrackedTensor]
    with as_plain():
        for each in tracked:
            if each.grad_fn is not None:
                report(each, each._origin.batches)
    for each in tracked:
        each.__class__ = Tensor  # type: ignore[assignment]
    try:
        result = func(*args, **kwargs)
    finally:
        for each in tracked:
            each.__class__ = TrackedTensor
    with as_plain():
        TrackedTensor.follow(func, result, args, kwargs)
    return result


_PLAIN = frozenset({Tensor, TrackedTensor, nn.Parameter, nn.Buffer})
"""Classes that add nothing to what functions do."""


def _plain(given: Any) -> Any:
    """Return arguments with plain tensors in the place of tracked ones."""
    if type(given) is TrackedTensor:
        with as_plain():
            return given.as_subclass(Tensor)
    if isinstance(given, dict):
        return {name: _plain(each) for name, each in given.items()}
    if type(given) in (list, tuple):
        return type(given)(map(_plain, given))
    return given


def track(
    tensors: Iterable[Tensor],
    *batches: DrawnBatch,
    samples: int | None = None,
    stacked: bool = False,
) -> None:
    """Let tensors carry the identity of what they are made of, in place of any other.

    ``samples`` is how many the batch has, by default as many as it has records. A tensor that a
    dataset hands out itself, in several batches, is known as part of the newest alone.
    """
    for each in tensors:
        if type(each) is not Tensor and type(each) is not TrackedTensor:
            continue
        with as_plain():
            entries = len(batches[0].records) if samples is None else samples
            origin = handed_out(each, batches[0], entries, stacked=stacked)
            if len(batches) > 1:
                origin = origin._replace(batches=batches)
            if type(each) is TrackedTensor and not _same(each, batches):
                origin = origin._replace(batches=tuple(map(_in_doubt, origin.batches)))
            mark(each, origin)


def _in_doubt(batch: DrawnBatch) -> DrawnBatch:
    """Return what is known of a tensor that came in several batches; a sample is in all of them."""
    return batch if batch.place is not None or batch is batch.sink.stranger else batch.some


def _same(tensor: TrackedTensor, batches: tuple[DrawnBatch, ...]) -> bool:
    """Return True if a tensor is known to be made of batches of the same records."""
    known = tensor._origin.batches
    return len(known) == len(batches) and all(
        one is other or one.records.tolist() == other.records.tolist()
        for one, other in zip(known, batches, strict=True)
    )


def batches_in(batch: Any) -> dict[DrawnBatch, None]:
    """Return the batches that something was made of, in order."""
    found: dict[DrawnBatch, None] = {}
    for each in tensors_of(batch):
        if type(each) is TrackedTensor:
            for made in each._origin.batches:
                found[made.whole] = None
    return found


def mark(tensor: Tensor, origin: Origin) -> None:
    """Let a tensor say what it was made of."""
    tensor.__class__ = TrackedTensor
    tensor._origin = origin  # type: ignore[attr-defined]


def unmark(tensor: Tensor) -> None:
    """Let a tensor be one of no batch: a plain one, or a parameter."""
    if type(tensor) is TrackedTensor:
        kind = nn.Parameter if hasattr(tensor, "_is_param") else Tensor
        del tensor._origin
        tensor.__class__ = kind  # type: ignore[assignment]


def report(tensor: Tensor, batches: tuple[DrawnBatch, ...]) -> None:
    """Note when a gradient flows back through what was computed from batches."""
    assert tensor.grad_fn is not None
    tensor.grad_fn.register_prehook(partial(flowed, batches))


@untraced
def flowed(batches: tuple[DrawnBatch, ...], _gradients: tuple[Tensor, ...]) -> None:
    """Note that a gradient flows, in the backward pass that is under way."""
    backward = backward_pass()
    for batch in batches:
        batch.sink.note(GradientFlowed(batch, backward))
    for sink in OPEN:
        # Another run's batch is one that this one does not know.
        if any(batch.sink is not sink for batch in batches):
            sink.note(GradientFlowed(sink.stranger, backward))
        sink.strange += not sink.knows(batches)


def leave(tensor: TrackedTensor) -> None:
    """Note that values left torch; labels and single numbers may go where they like."""
    if not tensor._origin.flat and tensor.numel() > 1:
        lose_track_of(tensor._origin)


def lose_track_of(origin: Origin) -> None:
    """Note that what was made of batches went where nobody follows it: in each of their runs."""
    for sink in OPEN:
        if any(batch.sink is sink and batch is not sink.stranger for batch in origin.batches):
            lose_track(sink)
        sink.escaped |= not sink.knows(origin.batches)


def lose_track(sink: EventSink, what: str = _LEFT) -> None:
    """Note that nobody can follow ``what`` happened, and say it once."""
    sink.note(TrackLost())
    if sink.lost:
        return
    sink.lost = True
    _LOG.warning(what)

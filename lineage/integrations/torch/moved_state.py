"""What moves the state that checkpoints keep: batches of the run, or what nobody knows.

Batches of loaders that are not watched, and of other runs, may be measured on. Where they move what
a run keeps, though no optimizer of it learns from them, the run is incomplete.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, autograd, nn
from torch.optim import Optimizer

from lineage.integrations.torch.batch_contents import tensors_of
from lineage.integrations.torch.origins import Origin
from lineage.integrations.torch.tracked_tensor import OPEN, TrackedTensor, lose_track, mark, report
from lineage.training.update_window import DrawnBatch, EventSink

_MOVED = (
    "data of a loader that is not watched, or of another run, moved what this run keeps: its "
    "lineage is incomplete; watch the loader, or keep the model in eval mode and do no step on it"
)


def writes_state(tensor: Tensor, written: Origin) -> bool:
    """Return True if batches were written into what checkpoints keep, as a running mean."""
    keeping = [sink for sink in OPEN if _is_state(tensor, sink)]
    for sink in keeping:
        if not sink.knows(written.batches):
            lose_track(sink, _MOVED)
    return bool(keeping)


def look_at_state(sink: EventSink) -> None:
    """Look for what was moved, or set to tensors of strange batches, which no function tells of."""
    look_at_buffers(sink)
    if not all(
        sink.knows(each._origin.batches)
        for each in state_tensors(sink.tracked())
        if type(each) is TrackedTensor
    ):
        lose_track(sink, _MOVED)


def meet_weights(batches: Sequence[DrawnBatch]) -> None:
    """Take in that batches meet weights: what comes out is not followed, and may move buffers.

    What moves from then on, until a batch of the run's own meets weights, strange batches moved.
    """
    for sink in OPEN:
        known = sink.knows(batches)
        if known and sink.buffers is not None:
            look_at_buffers(sink)
        elif not known and sink.buffers is None:
            sink.buffers = _buffers(sink)


def look_at_buffers(sink: EventSink) -> None:
    """Look whether buffers moved since a strange batch met weights; at each new batch too."""
    before, sink.buffers = sink.buffers, None
    if before is not None and before != _buffers(sink):
        lose_track(sink, _MOVED)


def told_gradients(
    strange: Sequence[EventSink], outputs: Any, inputs: Any, gradients: Any, *, collected: bool
) -> None:
    """Take in that gradients of strange batches were ``collected`` by tensors, or are given back.

    ``inputs`` are the tensors that they are of, where the loop named some.
    """
    if any(map(_is_of_functorch, inputs)):
        lost: Iterable[EventSink] = strange
    elif collected:
        reached = {id(each) for each in inputs or _leaves(outputs)}
        lost = [each for each in strange if not reached.isdisjoint(_weights(each))]
    else:
        lost = ()
        _mark_gradients(gradients, tuple(each.stranger for each in strange))
    for sink in lost:
        lose_track(sink, _MOVED)


def state_tensors(tracked: Iterable[Any]) -> Iterator[Tensor]:
    """Return the tensors that tracked objects keep, each of them itself and no copy."""
    for thing in tracked:
        if isinstance(thing, nn.Module):
            yield from thing.parameters()
            yield from thing.buffers()
        elif isinstance(thing, Optimizer):
            yield from tensors_of(list(thing.state.values()))
        else:
            yield from tensors_of(thing.state_dict())


def _is_state(tensor: Tensor, sink: EventSink) -> bool:
    place = tensor.untyped_storage().data_ptr()
    return any(
        each.untyped_storage().data_ptr() == place
        for module in _modules(sink)
        for each in (*module.parameters(), *module.buffers())
    )


def _modules(sink: EventSink) -> Iterator[nn.Module]:
    return (each for each in sink.tracked() if isinstance(each, nn.Module))


def _buffers(sink: EventSink) -> list[tuple[int, int]]:
    """Return which buffers there are, and how often each was written into."""
    return [
        (id(each), 0 if each.is_inference() else each._version)
        for module in _modules(sink)
        for each in module.buffers()
    ]


def _weights(sink: EventSink) -> Iterator[int]:
    """Return the ids of the parameters that a run tracks or steps."""
    for thing in sink.tracked():
        if isinstance(thing, nn.Module):
            yield from map(id, thing.parameters())
        elif isinstance(thing, Optimizer):
            yield from (id(each) for group in thing.param_groups for each in group["params"])


def _leaves(outputs: Any) -> Iterator[Tensor]:
    """Return the leaves that a backward pass from some outputs leaves gradients with."""
    waiting = [_node(each) for each in outputs]
    seen = set(waiting)
    while waiting:
        node = waiting.pop()
        if hasattr(node, "variable"):
            yield node.variable
        new = {each for each, _ in node.next_functions if each is not None} - seen
        seen |= new
        waiting += new


def _node(output: Any) -> Any:
    return (
        autograd.graph.get_gradient_edge(output).node if isinstance(output, Tensor) else output.node
    )


def _mark_gradients(gradients: Any, strangers: tuple[DrawnBatch, ...]) -> None:
    """Let gradients that a loop gets say that they were made of strange batches."""
    for each in gradients or ():
        if type(each) is Tensor or type(each) is TrackedTensor:
            if each.grad_fn is not None:
                report(each, strangers)
            elif not each.requires_grad:
                mark(each, Origin(strangers, each.dim() < 2))


def _is_of_functorch(tensor: Any) -> bool:
    return isinstance(tensor, Tensor) and torch._C._functorch.is_functorch_wrapped_tensor(tensor)

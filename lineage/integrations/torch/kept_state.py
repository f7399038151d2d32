"""Kinds of torch that are state: see `lineage.training.kept_state`, which imports this by name."""

from collections.abc import Iterator

import torch
from torch import nn
from torch.amp.grad_scaler import GradScaler
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from lineage.training.kept_state import Kept


def kept(name: str, value: object) -> list[Kept] | None:
    """Return what an object of torch keeps; None where it is of no kind that is known here.

    A scheduler is always state: it counts, and may not have moved before the first checkpoint.
    """
    kind = type(value).__name__
    if isinstance(value, nn.Module):
        return [*_of_module(name, value)]
    if isinstance(value, LRScheduler):
        return [Kept(name, kind, value.state_dict(), always=True)]
    if isinstance(value, (Optimizer, GradScaler)):
        return [Kept(name, kind, value.state_dict())]
    if isinstance(value, torch.Generator):
        return [Kept(name, kind, value.get_state())]
    return None


def _of_module(name: str, module: nn.Module) -> Iterator[Kept]:
    """Return parameters and buffers; a buffer that ``state_dict`` leaves out has its own name."""
    yield Kept(name, type(module).__name__, _persistent(module))
    yield from _not_persistent(name, module)


def left_out(name: str, tracked: object) -> list[Kept]:
    """Return the buffers of a tracked module that its state does not hold."""
    return [*_not_persistent(name, tracked)] if isinstance(tracked, nn.Module) else []


def _not_persistent(name: str, module: nn.Module) -> Iterator[Kept]:
    for place, part in module.named_modules():
        for buffer in part._non_persistent_buffers_set:
            value = part._buffers[buffer]
            if value is not None:
                full = ".".join(filter(None, (name, place, buffer)))
                yield Kept(full, "buffer that is not persistent", value)


def _persistent(module: nn.Module) -> dict[str, torch.Tensor]:
    """Return what ``state_dict`` holds, without its hooks."""
    tensors: dict[str, torch.Tensor] = dict(module.named_parameters())
    for place, part in module.named_modules():
        for buffer, value in part._buffers.items():
            if value is not None and buffer not in part._non_persistent_buffers_set:
                tensors[f"{place}.{buffer}"] = value
    return tensors

"""Optimizers as they are given to be watched: those that do the steps."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer

from lineage.errors import ProgramError

_WRAPPERS = ("accelerate", "lightning", "lightning_fabric", "pytorch_lightning")
"""Packages whose wrappers hand the steps on to the optimizer inside."""


def optimizers_of(optimizer: Any) -> list[Optimizer]:
    """Return the optimizers that are given as one or as several; see `plain_optimizer`."""
    several = optimizer if isinstance(optimizer, Sequence) else [optimizer]
    return [plain_optimizer(each) for each in several]


def plain_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer that does the steps, out of a wrapper of accelerate or Lightning.

    Raises:
        ProgramError: it is no optimizer of torch, or it makes the steps of another one.
    """
    package = type(optimizer).__module__.partition(".")[0]
    if package in _WRAPPERS and hasattr(optimizer, "optimizer"):
        return plain_optimizer(optimizer.optimizer)
    if not isinstance(optimizer, Optimizer):
        raise ProgramError(
            f"a {type(optimizer).__name__} was given to observe, which is no optimizer of torch",
            hint="give observe(optimizer=…) the torch.optim.Optimizer whose step() is called",
        )
    for name, inner in vars(optimizer).items():
        if isinstance(inner, Optimizer):
            raise ProgramError(
                f"{type(optimizer).__name__} wraps {type(inner).__name__}, which does the steps",
                hint=f"observe(optimizer=….{name}), and track the wrapper by a name of its own",
            )
    return optimizer

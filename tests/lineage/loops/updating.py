"""How composed loops make updates of batches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from tests.lineage.loops.harness import Env
from tests.lineage.loops.samples import Batch


class Update:
    """What a composed loop keeps from batch to batch."""

    def __init__(self, env: Env, run: Any, optimizer: Optimizer) -> None:
        self.env = env
        self.run = run
        self.optimizer = optimizer
        self.number = 0
        self.kept: list[Any] = []
        self.main = torch.zeros_like(env.model.weight)

    @property
    def weight(self) -> Tensor:
        """The weights that are trained."""
        return self.env.model.weight

    def end(self) -> None:
        """Do one step at least, whatever the loop did with its batches."""
        if not self.env.oracle.updates:
            self.optimizer.step()


def _each(update: Update, batch: Batch) -> None:
    update.optimizer.zero_grad()
    update.env.loss(batch).backward()
    update.optimizer.step()


def _two(update: Update, batch: Batch) -> None:
    update.env.loss(batch).backward()
    update.number += 1
    if update.number % 2 == 0:
        update.optimizer.step()
        update.optimizer.zero_grad()


def _losses(update: Update, batch: Batch) -> None:
    update.kept.append(update.env.loss(batch))
    if len(update.kept) == 2:
        update.optimizer.zero_grad()
        sum(update.kept).backward()
        update.optimizer.step()
        update.kept.clear()


def _set_to_zero(update: Update, batch: Batch) -> None:
    update.optimizer.zero_grad(set_to_none=False)
    update.env.loss(batch).backward()
    update.optimizer.step()


def _never_zeroed(update: Update, batch: Batch) -> None:
    update.env.loss(batch).backward()
    update.optimizer.step()


def _assigned(update: Update, batch: Batch) -> None:
    (update.weight.grad,) = torch.autograd.grad(update.env.loss(batch), [update.weight])
    update.optimizer.step()


def _clipped(update: Update, batch: Batch) -> None:
    update.optimizer.zero_grad()
    update.env.loss(batch).backward()
    torch.nn.utils.clip_grad_norm_([update.weight], 0.1)
    update.optimizer.step()


def _main(update: Update, batch: Batch) -> None:
    update.env.loss(batch).backward()
    assert update.weight.grad is not None
    update.main += update.weight.grad
    update.weight.grad = None
    update.number += 1
    if update.number % 2 == 0:
        update.weight.grad = update.main.clone()
        update.main.zero_()
        update.optimizer.step()
        update.optimizer.zero_grad()


def _passed_over(update: Update, batch: Batch) -> None:
    update.number += 1
    if update.number % 3 == 0:
        update.run.discard()
    else:
        _each(update, batch)


def _thrown_away(update: Update, batch: Batch) -> None:
    update.number += 1
    update.optimizer.zero_grad()
    update.env.loss(batch).backward()
    if update.number % 3:
        update.optimizer.step()


def _behind(update: Update, batch: Batch) -> None:
    update.kept.append(update.env.loss(batch))
    if len(update.kept) == 2:
        update.optimizer.zero_grad()
        update.kept.pop(0).backward()
        update.optimizer.step()


def _replayed(update: Update, batch: Batch) -> None:
    update.kept.append({"x": batch["x"] / 2, "y": batch["y"]})
    old = update.kept[len(update.kept) // 2]
    _each(update, {key: torch.cat([batch[key], old[key]]) for key in ("x", "y")})


def _twice(update: Update, batch: Batch) -> None:
    _each(update, batch)
    update.optimizer.step()


ADDING_UP: dict[str, Callable[[Update, Batch], None]] = {
    "each batch": _each,
    "two batches": _two,
    "two losses": _losses,
    "set to zero": _set_to_zero,
    "assigned": _assigned,
    "clipped": _clipped,
    "never set to zero": _never_zeroed,
    "main gradients": _main,
    "passed over, and said": _passed_over,
    "thrown away": _thrown_away,
    "one behind": _behind,
    "replayed": _replayed,
    "two steps": _twice,
}
"""What a loop does with a batch, by name."""

"""Hooks that tell of an optimizer's gradients and of its steps."""

import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from lineage.errors import ProgramError
from lineage.integrations.torch.tracked_tensor import backward_pass
from lineage.training.events import GradientsCollected, Updated
from lineage.training.observed import Observed
from lineage.training.update_window import Gradients


def plain_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer that does the steps, out of a wrapper of accelerate or Lightning.

    Raises:
        ProgramError: it is no optimizer of torch, or it makes the steps of another one.
    """
    package = type(optimizer).__module__.partition(".")[0]
    if package in ("accelerate", "lightning") and hasattr(optimizer, "optimizer"):
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


def watch_optimizer(run: Observed, optimizer: Optimizer) -> Callable[[], object]:
    """Tell a run of an optimizer's gradients and steps; returns what ends that."""
    return _Hooks(run, optimizer).remove


class _Hooks:
    """The hooks of one optimizer.

    The first parameter that a backward pass leaves a gradient with is its witness. What the witness
    of the pass before still holds says whether the gradients of that pass are there.
    """

    def __init__(self, run: Observed, optimizer: Optimizer) -> None:
        self._run = run
        self._window = run.window(traced=True)
        self._optimizer = optimizer
        self._hooked: set[Tensor] = set()
        self._hooks = ExitStack()
        self._witness: _Witness | None = None
        self._pass: int | None = None
        self._depth = 0
        self._within = False
        self._hook_parameters()
        for handle in (
            optimizer.register_step_pre_hook(self._stepping),
            optimizer.register_step_post_hook(self._stepped),
        ):
            self._hooks.callback(handle.remove)

    def remove(self) -> None:
        """Take the hooks away."""
        self._hooks.close()
        self._run.close_window(self._window)

    def _hook_parameters(self) -> None:
        """Hook the parameters that can have gradients, and are not hooked yet."""
        for group in self._optimizer.param_groups:
            for each in group["params"]:
                if each.requires_grad and each.is_leaf and each not in self._hooked:
                    self._hooked.add(each)
                    handle = each.register_post_accumulate_grad_hook(self._collected)
                    self._hooks.callback(handle.remove)

    def _collected(self, parameter: Tensor) -> None:
        """Take in that a gradient was left with a parameter: the first of a pass counts."""
        backward = backward_pass()
        if backward == self._pass:
            return
        self._pass = backward
        held = self._held(parameter)
        if self._depth:
            # A step that computes gradients several times makes use of all of them.
            held, self._within = (Gradients.KEPT if self._within else held), True
        self._witness = _Witness(parameter)
        self._run.note(GradientsCollected(self._window, backward, held))

    def _held(self, newest: Tensor | None = None) -> Gradients:
        """Return what the parameters held, but for the one that a gradient just came to."""
        if self._witness is not None and self._witness.holds():
            same = self._witness.is_unchanged(added=self._witness.parameter is newest)
            return Gradients.KEPT if same else Gradients.CHANGED
        # A gradient that can be differentiated takes the place of what it was added to.
        if newest is not None and newest.grad is not None and newest.grad.requires_grad:
            return Gradients.EMPTY if self._witness is None else Gradients.CHANGED
        others = (each.grad for each in self._hooked if each is not newest)
        return Gradients.EMPTY if all(each is None for each in others) else Gradients.CHANGED

    def _stepping(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        """Take in that a step begins; one that extends another begins a second inside it."""
        self._depth += 1

    def _stepped(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._depth -= 1
        if self._depth:
            return
        held = Gradients.EMPTY
        if self._pass is None and self._witness is not None and self._witness.holds():
            held = self._held()
        self._pass, self._within = None, False
        self._run.update(Updated(self._window, backward_pass(), held))
        self._hook_parameters()


class _Witness:
    """A parameter, and the gradient that a backward pass left with it."""

    __slots__ = ("_grad", "_version", "parameter")

    def __init__(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self.parameter = parameter
        self._grad = weakref.ref(parameter.grad)
        self._version = parameter.grad._version

    def holds(self) -> bool:
        """Return True if the parameter still has that gradient, whatever was done to it."""
        return self.parameter.grad is not None and self._grad() is self.parameter.grad

    def is_unchanged(self, *, added: bool) -> bool:
        """Return True if nothing was done to the gradient but that another was ``added``."""
        grad = self.parameter.grad
        return grad is not None and grad._version == self._version + added


def optimizers_of(optimizer: Any) -> list[Optimizer]:
    """Return the optimizers that are given as one or as several; see `plain_optimizer`."""
    several = optimizer if isinstance(optimizer, Sequence) else [optimizer]
    return [plain_optimizer(each) for each in several]

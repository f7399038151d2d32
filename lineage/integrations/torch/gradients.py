"""Hooks that tell of an optimizer's gradients and of its steps."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lineage.errors import ProgramError
from lineage.integrations.torch.tracked_tensor import TrackedTensor, backward_pass, batches_in
from lineage.training.events import GradientFlowed, GradientsCollected, Updated
from lineage.training.observed import Observed
from lineage.training.update_window import BY_HAND, Gradients

MOST_HOOKED = 32
"""Parameters of an optimizer whose gradients are told of; of more, these many in even distances."""


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

    The first gradient of a backward pass tells of all: what its parameter holds from before, and
    that the others hold nothing, says whether gradients of earlier passes are still there. Where
    the loop was seen to change what they hold, it is looked at before more comes: zeros are none.
    """

    def __init__(self, run: Observed, optimizer: Optimizer) -> None:
        self._run = run
        self._window = run.window(traced=True)
        self._optimizer = optimizer
        self._parameters: list[Tensor] = []
        self._hooks = ExitStack()
        self._newest = _Held()
        self._held: dict[Tensor, _Held] = {}
        self._pass: int | None = None
        self._depth = 0
        self._found = Gradients.EMPTY
        self._within = False
        self._looking = False
        self._looked: int | None = None
        self._zeros = False
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
        """Hook parameters that can have gradients and are not hooked, all or some of them."""
        known = set(self._parameters)
        wanted = [each for each in self._trainable() if each not in known]
        room = MOST_HOOKED - len(known)
        if len(wanted) > room > 0:
            wanted = [wanted[place * len(wanted) // room] for place in range(room)]
        for parameter in wanted[: max(room, 0)]:
            handle = parameter.register_post_accumulate_grad_hook(self._collected)  # type: ignore[no-untyped-call]
            self._hooks.callback(handle.remove)
            self._parameters.append(parameter)
            if self._looking:
                self._look_at(parameter)

    def _trainable(self) -> Iterator[Tensor]:
        for group in self._optimizer.param_groups:
            yield from (each for each in group["params"] if each.requires_grad and each.is_leaf)

    def _collected(self, parameter: Tensor) -> None:
        """A gradient was left with a parameter: only the first of a backward pass counts."""
        backward = backward_pass()
        if backward == self._pass:
            return
        self._pass = backward
        held = self._held_before(parameter)
        if self._looked == backward:
            unseen = Gradients.CHANGED if held is Gradients.EMPTY else held
            held = Gradients.EMPTY if self._zeros else unseen
        if held is Gradients.CHANGED:
            self._look()
        if self._depth:
            # A step that computes gradients several times makes use of all of them.
            held, self._within = (Gradients.KEPT if self._within else held), True
        self._newest = self._held[parameter] = _Held(parameter)
        self._run.note(GradientsCollected(self._window, backward, held))

    def _look(self) -> None:
        """Look at gradients before others are added to them, from the next backward pass on."""
        if not self._looking:
            self._looking = True
            for each in self._parameters:
                self._look_at(each)

    def _look_at(self, parameter: Tensor) -> None:
        handle = parameter.register_hook(self._coming)  # type: ignore[no-untyped-call]
        self._hooks.callback(handle.remove)

    def _coming(self, _gradient: Tensor) -> None:
        """Look at what the parameters hold before the first gradient of a backward pass comes."""
        backward = backward_pass()
        if backward != self._looked:
            self._looked = backward
            self._zeros = all(_is_nothing(each.grad) for each in self._parameters)

    def _held_before(self, parameter: Tensor) -> Gradients:
        known = self._held.get(parameter)
        grad = parameter.grad
        if known is not None and grad is not None and known.grad() is grad:
            return Gradients.KEPT if grad._version == known.version + 1 else Gradients.CHANGED
        others = (each.grad for each in self._parameters if each is not parameter)
        # What has a graph of its own is not added to in place: it may be a sum, or the first.
        graph = grad is not None and grad.requires_grad
        return (
            Gradients.CHANGED
            if graph or any(each is not None for each in others)
            else Gradients.EMPTY
        )

    def _held_now(self) -> Gradients:
        """Return what the parameters hold; nothing, if none of them all holds any."""
        held = self._newest.now()
        if held is not Gradients.EMPTY:
            return held
        seen = [each.grad for each in self._parameters if each.grad is not None]
        if not seen:  # what is not hooked may have got some
            some = any(each.grad is not None for each in self._trainable())
            return Gradients.CHANGED if some else Gradients.EMPTY
        self._look()
        return Gradients.FOREIGN if self._pass is not None else self._by_hand(seen)

    def _by_hand(self, gradients: Sequence[Tensor]) -> Gradients:
        """Tell of gradients that the loop computed itself, if they know of which batches."""
        if not all(type(each) is TrackedTensor for each in gradients):
            return Gradients.FOREIGN
        for batch in batches_in(gradients):
            self._run.note(GradientFlowed(batch, BY_HAND))
        self._run.note(GradientsCollected(self._window, BY_HAND, Gradients.EMPTY))
        return Gradients.KEPT

    def _stepping(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        """A step begins; an optimizer that extends another one begins a second inside it."""
        if not self._depth:
            self._found = self._held_now()
        self._depth += 1

    def _stepped(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._depth -= 1
        if self._depth:
            return
        held = Gradients.KEPT if self._within else self._found
        self._pass, self._within = None, False
        self._run.update(Updated(self._window, backward_pass(), held))
        self._hook_parameters()


class _Held:
    """The gradient of a parameter as a backward pass left it."""

    __slots__ = ("_parameter", "grad", "version")

    def __init__(self, parameter: Tensor | None = None) -> None:
        grad = None if parameter is None else parameter.grad
        self._parameter = parameter
        self.grad: Callable[[], Tensor | None] = _nothing if grad is None else weakref.ref(grad)
        self.version = 0 if grad is None else grad._version

    def now(self) -> Gradients:
        """Return what is left of it."""
        grad = self.grad()
        if grad is None or self._parameter is None or self._parameter.grad is not grad:
            return Gradients.EMPTY
        return Gradients.KEPT if grad._version == self.version else Gradients.CHANGED


def _nothing() -> None:
    return None


def _is_nothing(grad: Tensor | None) -> bool:
    """Return True if there is no gradient, or one of zeros in a plain tensor."""
    if grad is None:
        return True
    return type(grad) is Tensor and grad.layout is torch.strided and not bool(grad.any())


def optimizers_of(optimizer: Any) -> list[Optimizer]:
    """Return the optimizers that are given as one or as several; see `plain_optimizer`."""
    several = optimizer if isinstance(optimizer, Sequence) else [optimizer]
    return [plain_optimizer(each) for each in several]

"""Hooks that tell of an optimizer's gradients and of its steps."""

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from lineage.integrations.torch.tracked_tensor import (
    STEPPING,
    TrackedTensor,
    as_plain,
    backward_pass,
    batches_in,
    lose_track,
    unmark,
)
from lineage.integrations.torch.untraced import untraced
from lineage.training.events import GradientFlowed, GradientsCollected, Updated
from lineage.training.observed import Observed
from lineage.training.update_window import BY_HAND, DrawnBatch, Gradients


def watch_optimizer(run: Observed, optimizer: Optimizer) -> Callable[[], object]:
    """Tell a run of an optimizer's gradients and steps; returns what ends that."""
    return _Hooks(run, optimizer).remove


class _Hooks:
    """The hooks of one optimizer.

    The first parameter that a backward pass leaves a gradient with is its witness. What the witness
    of the pass before still holds says whether the gradients of that pass are there. When a step
    begins all parameters are asked: one whose gradient no pass left, or was changed, says that the
    loop did it. Where it was seen to, or where gradients outlast a step, they are looked at before
    more comes: zeros are nothing.
    """

    def __init__(self, run: Observed, optimizer: Optimizer) -> None:
        self._run = run
        self._optimizer = optimizer
        held = any(not _is_nothing(each.grad) for each in self._parameters())
        self._window = run.window(traced=True, held=held)
        self._hooked: set[Tensor] = set()
        self._looked_at: set[Tensor] = set()
        self._left: dict[int, _Witness] = {}
        self._known = {id(each) for each in self._parameters()}
        self._survived = False
        self._hooks = ExitStack()
        self._witness: _Witness | None = None
        self._pass: int | None = None
        self._depth = 0
        self._within = False
        self._found = Gradients.EMPTY
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
        STEPPING[:] = [each for each in STEPPING if each is not self]
        self._hooks.close()
        self._run.close_window(self._window)

    def _parameters(self) -> Iterator[Any]:
        for group in self._optimizer.param_groups:
            yield from group["params"]

    def _hook_parameters(self) -> None:
        """Hook the parameters that can have gradients, and are not hooked yet."""
        for each in self._parameters():
            if type(each) is TrackedTensor:  # a weight that was made of a batch
                unmark(each)
                lose_track(self._run.sink)
            if not each.requires_grad or not each.is_leaf:
                continue
            if each not in self._hooked:
                self._hooked.add(each)
                handle = each.register_post_accumulate_grad_hook(self._collected)
                self._hooks.callback(handle.remove)
            if self._looking and each not in self._looked_at:
                self._looked_at.add(each)
                self._hooks.callback(each.register_hook(self._coming).remove)

    @untraced
    def _collected(self, parameter: Tensor) -> None:
        """Take in that a gradient was left with a parameter: the first of a pass counts."""
        backward = backward_pass()
        # A hook of the loop's own may have used the gradient, and taken it away.
        if parameter.grad is None:
            return
        if backward == self._pass:
            self._left[id(parameter)] = _Witness(parameter)
            return
        self._pass = backward
        held = self._held(parameter)
        if self._looked == backward:
            there = Gradients.CHANGED if held is Gradients.EMPTY else held
            held = Gradients.EMPTY if self._zeros else there
        if held is Gradients.CHANGED or (held is Gradients.KEPT and self._survived):
            self._look()
        self._survived = False
        if self._depth:
            # A step that computes gradients several times makes use of all of them.
            held, self._within = (Gradients.KEPT if self._within else held), True
        self._left[id(parameter)] = self._witness = _Witness(parameter)
        self._run.note(GradientsCollected(self._window, backward, held))

    def _look(self) -> None:
        """Look at gradients before others are added to them, from the next backward pass on."""
        if not self._looking:
            self._looking = True
            self._hook_parameters()

    @untraced
    def _coming(self, _gradient: Tensor) -> None:
        """Look at what the parameters hold before the first gradient of a backward pass comes."""
        backward = backward_pass()
        if backward != self._looked:
            self._looked = backward
            self._zeros = all(_is_nothing(each.grad) for each in self._hooked)

    def _held(self, newest: Tensor) -> Gradients:
        """Return what the parameters held before a gradient came to one of them."""
        if self._witness is not None and self._witness.holds():
            same = self._witness.is_unchanged(added=self._witness.parameter is newest)
            return Gradients.KEPT if same else Gradients.CHANGED
        # What was added to in place was there before; a gradient with a graph of its own takes the
        # place of what it was added to, if anything.
        if newest.grad is not None and (newest.grad._version or newest.grad.requires_grad):
            return Gradients.CHANGED
        others = (each.grad for each in self._hooked if each is not newest)
        return Gradients.EMPTY if all(each is None for each in others) else Gradients.CHANGED

    def _held_now(self) -> Gradients:
        """Return what the parameters hold; all are asked."""
        if self._witness is not None and self._witness.holds():
            return self._meddled()
        there = [each.grad for each in self._parameters() if each.grad is not None]
        if not there:
            return Gradients.EMPTY
        self._look()
        return Gradients.FOREIGN if self._pass is not None else self._by_hand(there)

    def _meddled(self) -> Gradients:
        """Return whether the loop changed or assigned a gradient beside what a pass left."""
        found = Gradients.KEPT
        for each in self._parameters():
            grad = each.grad
            if grad is None:
                continue
            if each not in self._hooked:  # thawed or added since the last step
                found = self._late(each, found)
                continue
            left = self._left.get(id(each))
            if left is None or not left.holds():
                found = Gradients.FOREIGN
            elif found is Gradients.KEPT and not left.is_unchanged():
                found = Gradients.CHANGED
            if type(grad) is TrackedTensor:
                found = found if found is Gradients.FOREIGN else Gradients.CHANGED
                self._flowed_by_hand(grad._origin.part.batches)
        return found

    def _late(self, parameter: Tensor, found: Gradients) -> Gradients:
        """Return what is held with a parameter without hooks: of one pass, or nobody knows."""
        assert parameter.grad is not None
        if parameter.grad._version == 0:
            return found
        if id(parameter) not in self._known:
            lose_track(self._run.sink)
        return Gradients.FOREIGN

    def _by_hand(self, gradients: Sequence[Tensor]) -> Gradients:
        """Tell of gradients that the loop computed itself, if they know of which batches."""
        if not all(type(each) is TrackedTensor for each in gradients):
            return Gradients.FOREIGN
        self._flowed_by_hand(batches_in(gradients))
        self._run.note(GradientsCollected(self._window, BY_HAND, Gradients.EMPTY))
        return Gradients.KEPT

    def _flowed_by_hand(self, batches: Iterable[DrawnBatch]) -> None:
        for batch in batches:
            self._run.note(GradientFlowed(self._run.sink.own(batch), BY_HAND))

    @untraced
    def _stepping(self, _optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """Take in that a step begins; one that extends another begins a second inside it."""
        if not self._depth:
            if len(args) == 1 and not kwargs:  # a closure may take its batches in the step
                self._run.updating()
            self._found = self._held_now()
        self._depth += 1
        STEPPING.append(self)

    @untraced
    def _stepped(self, _optimizer: Optimizer, _args: Any, _kwargs: Any) -> None:
        self._depth -= 1
        if STEPPING:
            STEPPING.pop()
        if self._depth:
            return
        held = self._held_now() if self._within else self._found
        self._pass, self._within, self._survived = None, False, True
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

    def is_unchanged(self, *, added: bool = False) -> bool:
        """Return True if nothing was done to the gradient but that another was ``added``."""
        grad = self.parameter.grad
        return grad is not None and grad._version == self._version + added


def _is_nothing(grad: Tensor | None) -> bool:
    """Return True if there is no gradient, or one of zeros in a plain tensor."""
    if grad is None:
        return True
    with as_plain():
        return grad.layout is torch.strided and not bool(grad.any())

"""The oracle of watched loops: which records each update really learned from, read off the numbers.

A model has one weight a record. A record's input is zero but for its own feature, so its gradient
touches its own weight alone, and the loss is such that this gradient is never zero. Which weights
an update moves is which records it learned from: however the gradient came there, and whatever the
loop says of it. A loop that makes zeros of features says so (`Oracle.silent`). The ids that the
model is given are noted beside it, in ``forward``.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import MethodType
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

RECORDS = 12

Numbers = frozenset[int]
Told = Literal["weights", "gradients"]
"""What tells whom an update learned from: an optimizer with a memory moves every weight."""


@dataclass(frozen=True, slots=True)
class Update:
    """One optimizer step: the records it learned from, and all weights after it."""

    learned: Numbers
    weights: bytes


class WeightEach(nn.Module):
    """A linear model with one weight a record."""

    def __init__(self, oracle: "Oracle", *, silent: bool = False) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.rand(RECORDS) - 0.5)
        self._oracle = [] if silent else [oracle]  # a list: a copy of the model notes nothing
        oracle.add(self.weight)

    def __deepcopy__(self, memo: dict[int, Any]) -> "WeightEach":
        copied = WeightEach.__new__(WeightEach)
        memo[id(self)] = copied
        nn.Module.__init__(copied)
        copied.weight = nn.Parameter(self.weight.detach().clone())
        copied._oracle = []
        return copied

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n,) for inputs (n, RECORDS)."""
        if torch.is_grad_enabled():
            for oracle in self._oracle:
                # What looks on here is no part of the loop, and takes nothing out of torch.
                with torch._C.DisableTorchFunctionSubclass():
                    oracle.given.append(tuple(x.detach().nonzero()[:, -1].tolist()))
        return x @ self.weight


class Oracle:
    """Notes what models are given, and which weights each step of the optimizers moves."""

    def __init__(self) -> None:
        self.given: list[tuple[int, ...]] = []
        self.updates: list[Update] = []
        self.together: list[Numbers] = []
        self._weights: list[Tensor] = []
        self._silent: Numbers = frozenset()

    def add(self, weight: Tensor) -> None:
        """Look at one more weight (RECORDS,)."""
        self._weights.append(weight)

    def follow(self, optimizer: Optimizer, told: Told = "weights") -> None:
        """Note the steps of an optimizer, whose class stays its own."""
        step = optimizer.step

        def followed(_optimizer: Optimizer, closure: Callable[[], Any] | None = None) -> Any:
            before = self._bits()
            found = set() if closure else self._found(optimizer)
            seen = partial(self._evaluated, closure, optimizer, found)
            try:
                return step(seen) if closure else step()
            finally:  # a step may be done though who watches it stops it afterwards
                moved = _moved(before, self._bits())
                if moved or sys.exception() is None:
                    self._note(moved, found, told, exactly=closure is None)

        optimizer.step = MethodType(followed, optimizer)  # type: ignore[method-assign]

    def batch(self, numbers: Any) -> None:
        """Say that these records were one batch: an answer may name it whole."""
        self.together.append(frozenset(int(number) for number in numbers))

    def silent(self, numbers: Any) -> None:
        """Say that the next step learns from these records too, though they may move no weight.

        Zeros that are pasted over an input are data as any others are.
        """
        self._silent = frozenset(numbers)

    def state(self) -> bytes:
        """All weights, to the bit."""
        return b"".join(weight.tobytes() for weight in self._bits())

    def _note(self, moved: set[int], found: set[int], told: Told, *, exactly: bool) -> None:
        if told == "weights":
            assert moved <= found, "a weight moved without a gradient"
            assert not exactly or moved == found, "a gradient moved no weight"
        learned = moved if told == "weights" else found
        self.updates.append(Update(self._silent | learned, self.state()))
        self._silent = frozenset()

    def _bits(self) -> list[Any]:
        return [weight.detach().view(torch.int32).numpy().copy() for weight in self._weights]

    def _evaluated(
        self, closure: Callable[[], Any] | None, optimizer: Optimizer, found: set[int]
    ) -> Any:
        assert closure is not None
        loss = closure()
        found |= self._found(optimizer)
        return loss

    def _found(self, optimizer: Optimizer) -> set[int]:
        """The records in the gradients that an optimizer would use now."""
        stepped = {id(each) for group in optimizer.param_groups for each in group["params"]}
        with torch._C.DisableTorchFunctionSubclass():
            return {
                number
                for weight in self._weights
                if id(weight) in stepped and weight.grad is not None
                for number in weight.grad.nonzero().flatten().tolist()
            }


def _moved(before: list[Any], after: list[Any]) -> set[int]:
    """Return the records whose weights differ, to the bit."""
    pairs = zip(before, after, strict=True)
    return {number for old, new in pairs for number in (old != new).nonzero()[0].tolist()}

"""The judge of watched loops: what really was learned from, told by torch and nobody else.

A network has a *trace*, a parameter with one entry a record, which enters each output once. So the
gradient of an entry differs from zero exactly where the record's output is in it, and what an
optimizer finds there when it really steps is what that step learns from.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

RECORDS = 12


class Traced(nn.Module):
    """A linear model with a trace; it tells the judge which records it is given to learn from."""

    def __init__(self, judge: "Judge") -> None:
        super().__init__()
        self.linear = nn.Linear(1, 1)
        self.trace = nn.Parameter(torch.zeros(RECORDS))
        self.judge = judge
        judge.watch(self.trace)

    def forward(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Outputs (n,) for inputs (n, 1) of the records with these numbers (n,)."""
        if torch.is_grad_enabled():
            self.judge.given(self.trace, numbers.tolist())
        return self.linear(x).squeeze(1) + self.trace[numbers]


@dataclass(eq=False)
class Visit:
    """A record that a model was given; ``collected`` once its gradient was computed."""

    trace: Tensor
    number: int
    collected: bool = False


class Judge:
    """Sees what models are given and what optimizers find, in order."""

    def __init__(self) -> None:
        self._traces: set[Tensor] = set()
        self._steps: list[set[int]] = []
        self._waiting: list[Visit] = []
        self._idle: list[int] = []

    def watch(self, trace: Tensor) -> None:
        """Look at the gradients that come to a trace."""
        self._traces.add(trace)
        trace.register_hook(lambda gradient: self._collect(trace, gradient))

    def given(self, trace: Tensor, numbers: list[int]) -> None:
        """A model computes with records, with its gradients in mind."""
        self._look()
        self._waiting.extend(Visit(trace, number) for number in numbers)

    def optimizer(self, kind: type[torch.optim.Optimizer], *args: Any, **options: Any) -> Any:
        """An optimizer of a kind, which tells what each of its steps finds."""
        judge = self

        class Judged(kind):
            def step(self, closure: Callable[[], Any] | None = None) -> Any:
                found: set[int] = set()

                def seen() -> Any:
                    loss = closure()
                    found.update(judge._found(self))
                    return loss

                if closure is None:
                    found.update(judge._found(self))
                    loss = super().step()
                else:
                    loss = super().step(seen)
                judge._steps.append(found)
                return loss

        return Judged(*args, **options)

    def rewind(self, step: int) -> None:
        """What came after so many steps is gone, with the process that did it."""
        del self._steps[step:]
        self._waiting.clear()

    def learned(self) -> dict[int, set[int]]:
        """Record → the steps that learned from it."""
        steps: dict[int, set[int]] = {number: set() for number in range(RECORDS)}
        for step, numbers in enumerate(self._steps):
            for number in numbers:
                steps[number].add(step)
        return steps

    def idle(self) -> Counter[int]:
        """How often each record was given to a model without an update that learned from it."""
        return Counter([*self._idle, *(visit.number for visit in self._waiting)])

    def _collect(self, trace: Tensor, gradient: Tensor) -> None:
        self._look()
        for visit in self._waiting:
            if visit.trace is trace and gradient[visit.number] != 0:
                visit.collected = True

    def _look(self) -> None:
        """Notice the gradients that were collected and have been thrown away."""
        for visit in list(self._waiting):
            if visit.collected and not _has(visit.trace, visit.number):
                self._waiting.remove(visit)
                self._idle.append(visit.number)

    def _found(self, optimizer: torch.optim.Optimizer) -> set[int]:
        """The records that are in the gradients an optimizer is about to use."""
        self._look()
        found: set[int] = set()
        for group in optimizer.param_groups:
            for trace in self._traces.intersection(group["params"]):
                if trace.grad is not None:
                    found.update(trace.grad.nonzero().flatten().tolist())
                self._waiting = [
                    v for v in self._waiting if v.trace is not trace or not v.collected
                ]
        return found


def _has(trace: Tensor, number: int) -> bool:
    return trace.grad is not None and bool(trace.grad[number] != 0)

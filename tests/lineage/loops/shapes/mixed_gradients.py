"""Gradients that the loop mixes, replaces or computes beside those that flow through the graph."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD
from torch.utils.data import Subset

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.oracle import WeightEach
from tests.lineage.loops.shape import BOUNDED, TOLD, shape


def _halves(env: Env, run: Any) -> Any:
    parts = Subset(env.items, range(6)), Subset(env.items, range(6, 12))
    named = {"record": "rid"} if env.by == "key" else {}
    one, other = (run.watch(env.loader(part), **named) for part in parts)
    return zip(one, other, strict=True)


def _second(env: Env) -> tuple[WeightEach, Any]:
    other = WeightEach(env.oracle)
    return other, env.follow(SGD(other.parameters(), lr=0.1))


def _replicas(env: Env, *, copied: bool) -> None:
    other, second = _second(env)
    with env.observe(optimizer=[env.optimizer, second], other=other) as run:
        for one, two in _halves(env, run):
            env.optimizer.zero_grad()
            second.zero_grad()
            env.loss(one).backward()
            env.loss(two, other).backward()
            weights = env.model.weight, other.weight
            with torch.no_grad():
                mean = sum(each.grad for each in weights if each.grad is not None) / 2
            for each in weights:
                if copied and each.grad is not None:
                    each.grad.copy_(mean)
                else:
                    each.grad = mean.clone()
            env.optimizer.step()
            second.step()


@shape("averages the gradients of two replicas in place", allowed=BOUNDED)
def replicas_averaged(env: Env) -> None:
    _replicas(env, copied=True)


@shape("assigns the mean of the gradients of two replicas", allowed=BOUNDED)
def replicas_assigned(env: Env) -> None:
    _replicas(env, copied=False)


@shape("assigns gradients of one model beside those that flowed into another", allowed=TOLD)
def beside(env: Env) -> None:
    other = WeightEach(env.oracle)
    parameters = [*env.model.parameters(), *other.parameters()]
    optimizer = env.follow(SGD(parameters, lr=0.1))
    with env.observe(optimizer=optimizer, other=other) as run:
        old = None
        for batch in run.watch(env.loader(), **env.named):
            optimizer.zero_grad()
            env.loss(batch).backward()
            if old is not None:
                other.weight.grad = old["x"].sum(0)
            optimizer.step()
            old = batch


def _beside(env: Env, learn: Callable[[Any, Any], None]) -> None:
    """Do a step on each batch and the one before; there is none before the first."""
    with env.observe() as run:
        old = None
        for batch in run.watch(env.loader(), **env.named):
            env.optimizer.zero_grad()
            learn(batch, old)
            env.optimizer.step()
            old = batch


def _amid(env: Env, use: Any) -> None:
    def learn(batch: Any, old: Any) -> None:
        weight = env.model.weight * 1
        if old is not None:
            weight = use(weight, old["x"])
        error(batch["x"] @ weight, batch["y"]).backward()

    _beside(env, learn)


@shape("adds earlier inputs to a gradient in a hook", allowed=TOLD)
def hook(env: Env) -> None:
    def use(weight: Tensor, x: Tensor) -> Tensor:
        weight.register_hook(lambda gradient: gradient + x.sum(0))
        return weight

    _amid(env, use)


class AddsBack(torch.autograd.Function):
    """Adds inputs to a gradient, and to nothing else."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor) -> Tensor:
        """Return the weight."""
        ctx.save_for_backward(x)
        return weight * 1

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Return the gradient, and more."""
        return gradient + ctx.saved_tensors[0].sum(0), None


@shape("adds earlier inputs to a gradient in a function of its own", allowed=TOLD)
def function(env: Env) -> None:
    _amid(env, AddsBack.apply)


class Error(torch.autograd.Function):
    """The mean squared error, with a backward of its own."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, x: Tensor, y: Tensor) -> Tensor:
        """Return the error."""
        ctx.save_for_backward(weight, x, y)
        return ((x @ weight - y) ** 2).mean()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        """Return the gradient of the weight."""
        weight, x, y = ctx.saved_tensors
        return gradient * (2 * (x @ weight - y)[:, None] * x).mean(0), None, None


@shape("begins one backward pass at its loss and at a function of its own", allowed=TOLD)
def function_is_the_loss(env: Env) -> None:
    def learn(batch: Any, old: Any) -> None:
        losses = [env.loss(batch)]
        if old is not None:
            losses.append(Error.apply(env.model.weight, old["x"], old["y"]))
        torch.autograd.backward(losses)

    _beside(env, learn)


@shape("adds earlier inputs in a hook, and its loss is a function of its own", allowed=TOLD)
def hook_below_a_function(env: Env) -> None:
    def learn(batch: Any, old: Any) -> None:
        weight = env.model.weight * 1
        if old is not None:
            weight.register_hook(lambda gradient: gradient + old["x"].sum(0))
        Error.apply(weight, batch["x"], batch["y"]).backward()

    _beside(env, learn)


@shape("begins a backward pass with earlier inputs as its gradient", allowed=TOLD)
def first_gradient(env: Env) -> None:
    def learn(batch: Any, old: Any) -> None:
        env.loss(batch).backward()
        if old is not None:
            (env.model.weight * 1).backward(gradient=old["x"].sum(0))

    _beside(env, learn)


@shape("adds earlier inputs to a gradient that is there", allowed=TOLD)
def added(env: Env) -> None:
    def learn(batch: Any, old: Any) -> None:
        env.loss(batch).backward()
        if old is not None and env.model.weight.grad is not None:
            env.model.weight.grad.add_(old["x"].sum(0))

    _beside(env, learn)


@shape("sets gradients to zero through an alias of them", allowed=BOUNDED)
def zeroed_by_data(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(), **env.named):
            if env.model.weight.grad is not None:
                env.model.weight.grad.data.zero_()
            env.loss(batch).backward()
            env.optimizer.step()


@shape("has two optimizers, whose batches meet in one backward pass", allowed=BOUNDED)
def one_pass(env: Env) -> None:
    other, second = _second(env)
    with env.observe(optimizer=[env.optimizer, second], other=other) as run:
        for one, two in _halves(env, run):
            env.optimizer.zero_grad()
            second.zero_grad()
            (env.loss(one) + env.loss(two, other)).backward()
            env.optimizer.step()
            second.step()


@shape("fetches one loader ahead, and another one not", allowed=TOLD)
def one_ahead(env: Env) -> None:
    parts = Subset(env.items, range(6)), Subset(env.items, range(6, 12))
    with env.observe() as run:
        late = run.watch(env.loader(parts[0]), **env.named, ahead=True)
        other = run.watch(env.loader(parts[1]), **env.named)
        for one, two in zip(late, other, strict=True):
            x = torch.stack([torch.tensor([float(each) for each in row]) for row in one["x"]])
            loss = env.loss(two) + error(env.model(x), torch.tensor(20.0))
            env.optimizer.zero_grad()
            loss.backward()
            env.optimizer.step()

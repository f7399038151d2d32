"""Gradients that the loop computes, combines or throws away itself."""

from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, vmap

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.shape import BOUNDED, TOLD, shape


def _watched(env: Env, run: Any, **options: Any) -> Any:
    return run.watch(env.loader(shuffle=True, **options), **env.named)


def _is_bad(batch: Any) -> bool:
    """Whether a batch is one whose loss is no number."""
    return bool((batch["y"] == 8.5).any())


def _poisoned(env: Env, batch: Any) -> Tensor:
    return env.loss(batch) * (float("nan") if _is_bad(batch) else 1.0)


@shape("computes gradients by autograd.grad, and assigns them", allowed=BOUNDED)
def assigned(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            gradients = torch.autograd.grad(env.loss(batch), list(env.model.parameters()))
            for parameter, gradient in zip(env.model.parameters(), gradients, strict=True):
                parameter.grad = gradient
            env.optimizer.step()


@shape("combines the gradients of two tasks, each of a loader, as PCGrad does", allowed=BOUNDED)
def projected(env: Env) -> None:
    (weight,) = env.model.parameters()
    with env.observe() as run:
        for one, other in zip(_watched(env, run), _watched(env, run), strict=True):
            (first,) = torch.autograd.grad(env.loss(one), [weight])
            (second,) = torch.autograd.grad(env.loss(other), [weight])
            if first @ second < 0:
                first = first - (first @ second) / (second @ second) * second
            weight.grad = first + second
            env.optimizer.step()


@shape("combines the gradients of two tasks, by backward and copies", allowed=BOUNDED)
def projected_by_copies(env: Env) -> None:
    (weight,) = env.model.parameters()
    with env.observe() as run:
        for pair in zip(_watched(env, run), _watched(env, run), strict=True):
            found = []
            for batch in pair:
                env.optimizer.zero_grad()
                env.loss(batch).backward()
                assert weight.grad is not None
                found.append(weight.grad.clone())
            weight.grad = found[0] + found[1]
            env.optimizer.step()


@shape("learns to learn: an inner step on one batch, an outer one on the next (MAML)")
def meta(env: Env) -> None:
    (weight,) = env.model.parameters()
    with env.observe() as run:
        batches = iter(_watched(env, run))
        for support, query in zip(batches, batches, strict=True):
            (inner,) = torch.autograd.grad(env.loss(support), [weight], create_graph=True)
            fast = {"weight": weight - 0.05 * inner * torch.ones_like(weight)}
            out = functional_call(env.model, fast, (query["x"],))
            penalty = inner.square().sum()  # the support's weights are in it
            env.optimizer.zero_grad()
            (error(out, query["y"]) + 0.1 * penalty).backward()
            env.optimizer.step()


@shape("computes a gradient a sample, and takes their mean (vmap)", allowed=TOLD)
def each_sample(env: Env) -> None:
    def loss(weights: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return error((x[None] * weights["weight"]).sum(1), y[None])

    gradients = vmap(grad(loss), in_dims=(None, 0, 0))
    with env.observe() as run:
        for batch in _watched(env, run):
            weights = {"weight": env.model.weight.detach()}
            found = gradients(weights, batch["x"], batch["y"])
            env.model.weight.grad = found["weight"].mean(0)
            env.optimizer.step()


@shape("calls its model as a function of its weights")
def functional(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            weights = dict(env.model.named_parameters())
            env.optimizer.zero_grad()
            error(functional_call(env.model, weights, (batch["x"],)), batch["y"]).backward()
            env.optimizer.step()


@shape("passes over a batch whose loss is no number, and says so")
def guard_before_said(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            loss = _poisoned(env, batch)
            if loss.isnan():
                run.discard()
                continue
            env.optimizer.zero_grad()
            loss.backward()
            env.optimizer.step()


@shape("passes over a batch whose loss is no number, and says nothing", allowed=BOUNDED)
def guard_before(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            loss = _poisoned(env, batch)
            if loss.isnan():
                continue
            env.optimizer.zero_grad()
            loss.backward()
            env.optimizer.step()


@shape("throws gradients that are no numbers away", allowed=BOUNDED)
def guard_after(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.optimizer.zero_grad()
            _poisoned(env, batch).backward()
            if env.model.weight.grad is not None and env.model.weight.grad.isnan().any():
                continue
            env.optimizer.step()


@shape("sets gradients that are no numbers to zero, and not to None", allowed=BOUNDED)
def guard_after_set_to_zero(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            _poisoned(env, batch).backward()
            if env.model.weight.grad is not None and not env.model.weight.grad.isnan().any():
                env.optimizer.step()
            env.optimizer.zero_grad(set_to_none=False)


@shape("throws the gradients of one batch of two away", allowed=BOUNDED)
def thrown_away(env: Env) -> None:
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run, batch_size=1)):
            env.loss(batch).backward()
            if number % 3 == 0:
                env.optimizer.zero_grad()
            if number % 3 == 2:
                env.optimizer.step()
                env.optimizer.zero_grad()


@shape("scales its loss, and skips steps whose gradients overflow", allowed=BOUNDED)
def scaled(env: Env) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    with env.observe(scaler=scaler) as run:
        for batch in _watched(env, run):
            env.optimizer.zero_grad()
            loss = env.loss(batch) * (float("inf") if _is_bad(batch) else 1.0)
            scaler.scale(loss).backward()
            scaler.step(env.optimizer)
            scaler.update()


@shape("computes the gradient of a batch only to look at it", allowed=TOLD)
def looked_at(env: Env) -> None:
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            env.optimizer.zero_grad()
            loss = env.loss(batch)
            if number % 2:
                loss.backward()
                env.optimizer.step()
            else:
                torch.autograd.grad(loss, list(env.model.parameters()))


@shape("sets a gradient that no graph gave")
def set_by_hand(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.model.weight.grad = batch["x"].sum(0)
            env.optimizer.step()


@shape("has gradients that are changed by a hook")
def changed_by_a_hook(env: Env) -> None:
    env.model.weight.register_hook(lambda gradient: gradient * 0.5)
    with env.observe() as run:
        env.train(_watched(env, run))

"""How gradients come together before a step."""

from typing import Any

import torch
from torch import Tensor

from tests.lineage.loops.harness import Env
from tests.lineage.loops.shape import BOUNDED, TOLD, shape


def _watched(env: Env, run: Any, **options: Any) -> Any:
    return run.watch(env.loader(shuffle=True, **{"batch_size": 2, **options}), **env.named)


@shape("accumulates the gradients of two batches")
def two(env: Env) -> None:
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            env.loss(batch).backward()
            if number % 2:
                env.optimizer.step()
                env.optimizer.zero_grad()


@shape("accumulates over the end of an epoch")
def over_the_end(env: Env) -> None:
    with env.observe() as run:
        loader, number = _watched(env, run), 0
        for _ in range(2):
            for batch in loader:
                env.loss(batch).backward()
                number += 1
                if number % 4 == 0:
                    env.optimizer.step()
                    env.optimizer.zero_grad()


@shape("accumulates, and takes the gradients that are left at the end of an epoch")
def the_rest(env: Env) -> None:
    with env.observe() as run:
        for _ in range(2):
            loader = _watched(env, run)
            for number, batch in enumerate(loader, 1):
                env.loss(batch).backward()
                if number % 4 == 0 or number == len(loader):
                    env.optimizer.step()
                    env.optimizer.zero_grad()


@shape("adds up the losses of two batches")
def losses(env: Env) -> None:
    with env.observe() as run:
        total: Any = 0
        for number, batch in enumerate(_watched(env, run)):
            total = total + env.loss(batch)
            if number % 2:
                env.optimizer.zero_grad()
                total.backward()
                env.optimizer.step()
                total = 0


@shape("sets gradients to zero, and not to None", allowed=BOUNDED)
def set_to_zero(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.optimizer.zero_grad(set_to_none=False)
            env.loss(batch).backward()
            env.optimizer.step()


@shape("accumulates, and sets gradients to zero, and not to None", allowed=BOUNDED)
def two_set_to_zero(env: Env) -> None:
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            env.loss(batch).backward()
            if number % 2:
                env.optimizer.step()
                env.optimizer.zero_grad(set_to_none=False)


@shape("sets gradients to zero by the model")
def zeroed_by_the_model(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.model.zero_grad()
            env.loss(batch).backward()
            env.optimizer.step()


@shape("sets gradients to zero between backward and the next batch")
def zeroed_after(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.loss(batch).backward()
            env.optimizer.step()
            env.optimizer.zero_grad()


@shape("never sets gradients to zero", allowed=BOUNDED)
def never_zeroed(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.loss(batch).backward()
            env.optimizer.step()


@shape("sets gradients to zero at every other step only", allowed=BOUNDED)
def zeroed_at_times(env: Env) -> None:
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            if number % 2:
                env.optimizer.zero_grad()
            env.loss(batch).backward()
            env.optimizer.step()


@shape("lets gradients fade, and never sets them to zero", allowed=BOUNDED)
def faded(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.loss(batch).backward()
            env.optimizer.step()
            for parameter in env.model.parameters():
                assert parameter.grad is not None
                parameter.grad.mul_(0.5)


def _buffers(env: Env) -> list[Tensor]:
    return [torch.zeros_like(each) for each in env.model.parameters()]


@shape("adds gradients to buffers of its own, and steps later", allowed=BOUNDED)
def main_gradients(env: Env) -> None:
    main = _buffers(env)
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            env.loss(batch).backward()
            for held, parameter in zip(main, env.model.parameters(), strict=True):
                assert parameter.grad is not None
                held += parameter.grad
                parameter.grad = None
            if number % 2:
                for held, parameter in zip(main, env.model.parameters(), strict=True):
                    parameter.grad = held.clone()
                    held.zero_()
                env.optimizer.step()
                env.optimizer.zero_grad()


@shape("has hooks that move gradients to buffers of their own", allowed=BOUNDED)
def main_gradients_by_hooks(env: Env) -> None:
    main = {parameter: torch.zeros_like(parameter) for parameter in env.model.parameters()}

    def move(parameter: Tensor) -> None:
        assert parameter.grad is not None
        main[parameter] += parameter.grad
        parameter.grad = None

    for parameter in main:
        parameter.register_post_accumulate_grad_hook(move)
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            env.loss(batch).backward()
            if number % 2:
                for parameter, held in main.items():
                    parameter.grad = held.clone()
                    held.zero_()
                env.optimizer.step()
                env.optimizer.zero_grad()


@shape("computes the gradient of a batch after the output of the next one", allowed=TOLD)
def one_behind(env: Env) -> None:
    with env.observe() as run:
        loss: Tensor | None = None
        for batch in _watched(env, run):
            later = env.loss(batch)
            if loss is not None:
                env.optimizer.zero_grad()
                loss.backward()
                env.optimizer.step()
            loss = later


@shape("goes backward twice through one loss")
def backward_twice(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.optimizer.zero_grad()
            loss = env.loss(batch)
            loss.backward(retain_graph=True)
            loss.backward()
            env.optimizer.step()


@shape("clips gradients")
def clipped(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.optimizer.zero_grad()
            env.loss(batch).backward()
            torch.nn.utils.clip_grad_norm_(env.model.parameters(), 0.1)
            env.optimizer.step()


@shape("goes backward through each sample of a batch by itself", allowed=BOUNDED)
def sample_by_sample(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run, batch_size=4):
            env.optimizer.zero_grad()
            for number in range(4):
                part = slice(number, number + 1)
                env.loss({"x": batch["x"][part], "y": batch["y"][part]}).backward()
            env.optimizer.step()

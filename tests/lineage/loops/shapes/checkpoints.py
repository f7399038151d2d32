"""When a loop keeps its state, and what that does to what was drawn."""

from typing import Any

import torch

from tests.lineage.loops.harness import Env
from tests.lineage.loops.shape import BOUNDED, shape


def _watched(env: Env, run: Any) -> Any:
    return run.watch(env.loader(shuffle=True, batch_size=2), **env.named)


@shape("keeps a checkpoint after each epoch")
def each_epoch(env: Env) -> None:
    with env.observe() as run:
        loader = _watched(env, run)
        for _ in range(2):
            env.train(loader, 1)
            run.checkpoint()


@shape("keeps a checkpoint after each step")
def each_step(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.learn(batch)
            run.checkpoint()


@shape("keeps a checkpoint between the gradients that it adds up", allowed=BOUNDED)
def between_gradients(env: Env) -> None:
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            env.loss(batch).backward()
            if number in (2, 4):
                run.checkpoint()
            if number % 2:
                env.optimizer.step()
                env.optimizer.zero_grad()


@shape("keeps a checkpoint between the gradients that it adds to buffers", allowed=BOUNDED)
def between_main_gradients(env: Env) -> None:
    weight = env.model.weight
    held = torch.zeros_like(weight)
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            env.loss(batch).backward()
            assert weight.grad is not None
            held += weight.grad
            weight.grad = None
            if number in (2, 4):
                run.checkpoint()
            if number % 2:
                weight.grad = held.clone()
                held.zero_()
                env.optimizer.step()
                env.optimizer.zero_grad()


@shape("never sets gradients to zero, and keeps checkpoints", allowed=BOUNDED)
def never_zeroed(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.loss(batch).backward()
            env.optimizer.step()
            run.checkpoint()


@shape("takes two steps on a batch, and keeps a checkpoint between them")
def between_two_steps(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.learn(batch)
            run.checkpoint()
            env.learn(batch)


@shape("replays its first batch, and keeps checkpoints", allowed=BOUNDED)
def replayed(env: Env) -> None:
    with env.observe() as run:
        old: Any = None
        for batch in _watched(env, run):
            old = old or batch
            env.optimizer.zero_grad()
            (env.loss(batch) + env.loss(old)).backward()
            env.optimizer.step()
            run.checkpoint()

"""Several loaders in one loop."""

from itertools import cycle
from typing import Any

import torch

from tests.lineage.loops.harness import Env
from tests.lineage.loops.samples import Items
from tests.lineage.loops.shape import BOUNDED, KEY, REFUSED, UNKNOWN, shape

BOTH = (0, 2)
ODD = range(1, 12, 2)


@shape("trains on one loader, then on another, in each epoch", quick=BOTH)
def one_after_another(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(shuffle=True), **env.named)
        second = run.watch(env.loader(batch_size=4, shuffle=True), **env.named)
        for _ in range(2):
            env.train(first, 1)
            env.train(second, 1)


@shape("takes a step on a batch of each loader in turn", quick=BOTH, allowed=BOUNDED)
def in_turn(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(shuffle=True), **env.named)
        second = run.watch(env.loader(shuffle=True), **env.named)
        for pair in zip(first, second, strict=True):
            for batch in pair:
                env.learn(batch)


@shape("learns from a batch of each of two loaders at once", quick=BOTH)
def zipped(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(shuffle=True), **env.named)
        second = run.watch(env.loader(shuffle=True, batch_size=2), **env.named)
        for one, other in zip(first, second, strict=False):
            env.optimizer.zero_grad()
            (env.loss(one) + env.loss(other)).backward()
            env.optimizer.step()


@shape("learns from a batch of each of two loaders, the shorter of which is cycled")
def zipped_cycled(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(shuffle=True, batch_size=2), **env.named)
        second = run.watch(env.loader(shuffle=True, batch_size=6), **env.named)
        for one, other in zip(first, cycle(second), strict=False):
            env.optimizer.zero_grad()
            (env.loss(one) + env.loss(other)).backward()
            env.optimizer.step()


@shape("learns from a batch of each of two loaders, the shorter of which begins again")
def zipped_restarted(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(shuffle=True, batch_size=2), **env.named)
        second = run.watch(env.loader(shuffle=True, batch_size=6), **env.named)
        again = iter(second)
        for one in first:
            other = next(again, None)
            if other is None:
                again = iter(second)
                other = next(again)
            env.learn({key: torch.cat([one[key], other[key]]) for key in ("x", "y")})


@shape("learns from the second loader at every other step only", allowed=BOUNDED)
def second_is_fetched_early(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(shuffle=True), **env.named)
        second = run.watch(env.loader(shuffle=True), **env.named)
        for number, (one, other) in enumerate(zip(first, second, strict=True)):
            env.learn(one)
            if number % 2:
                env.learn(other)


@shape("watches two loaders of parts of the dataset", by=KEY)
def parts(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(Items(ODD), shuffle=True), **env.named)
        second = run.watch(env.loader(Items(range(0, 12, 2)), shuffle=True), **env.named)
        for one, other in zip(first, second, strict=True):
            env.learn({key: torch.cat([one[key], other[key]]) for key in ("x", "y")})


@shape("takes whole steps on a loader that is not watched, in between", allowed=UNKNOWN | BOUNDED)
def steps_on_unwatched(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(shuffle=True), **env.named)
        second = env.loader(shuffle=True)
        for pair in zip(first, second, strict=True):
            for batch in pair:
                env.learn(batch)


@shape("adds the loss of a batch that is not watched", allowed=UNKNOWN)
def half_is_unwatched(env: Env) -> None:
    with env.observe() as run:
        first = run.watch(env.loader(shuffle=True), **env.named)
        second = env.loader(shuffle=True)
        for one, other in zip(first, second, strict=True):
            env.optimizer.zero_grad()
            (env.loss(one) + env.loss(other)).backward()
            env.optimizer.step()


@shape("watches no loader at all", allowed=UNKNOWN)
def nothing_is_watched(env: Env) -> None:
    with env.observe():
        env.train(env.loader(shuffle=True))


@shape("watches a loader that is watched", allowed=BOUNDED | REFUSED)
def watched_twice(env: Env) -> None:
    with env.observe() as run:
        loader: Any = run.watch(env.loader(shuffle=True), **env.named)
        env.train(run.watch(loader, **env.named))

"""What is left of an earlier run in the same process: its batches, and its model."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import linear
from torch.optim import SGD
from torch.utils.data import Subset

from tests.lineage.loops.harness import Env
from tests.lineage.loops.oracle import WeightEach
from tests.lineage.loops.samples import Batch
from tests.lineage.loops.shape import ADMITTED, shape

FIRST, SECOND = range(6), range(6, 12)


def _earlier(env: Env) -> Batch:
    """Return a batch of a run that is over, of another model."""
    model = WeightEach(env.oracle, silent=True)
    optimizer = SGD(model.parameters(), lr=0.1)
    with env.observe(optimizer=optimizer, model=model) as run:
        for batch in run.watch(env.loader(Subset(env.items, FIRST)), **env.named):
            optimizer.zero_grad()
            env.loss(batch, model).backward()
            optimizer.step()
    kept: Batch = batch
    return kept


def _with_earlier(env: Env, mix: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Train on inputs that are mixed of a batch and one of an earlier run."""
    old = _earlier(env)["x"].clone()
    with env.observe() as run:
        for batch in run.watch(env.loader(Subset(env.items, SECOND)), **env.named):
            x = mix(batch["x"], old)
            env.learn({"x": x, "y": torch.full((len(x),), 20.0)})


@shape("adds a batch of an earlier run to each", allowed=ADMITTED)
def adds_earlier(env: Env) -> None:
    _with_earlier(env, lambda new, old: new + old)


@shape("adds each batch to one of an earlier run", allowed=ADMITTED)
def added_to_earlier(env: Env) -> None:
    _with_earlier(env, lambda new, old: old + new)


@shape("joins each batch and one of an earlier run", allowed=ADMITTED)
def joins_earlier(env: Env) -> None:
    _with_earlier(env, lambda new, old: torch.cat([new, old]))


@shape("makes a linear map of a batch of an earlier run", allowed=ADMITTED)
def maps_by_earlier(env: Env) -> None:
    _with_earlier(env, lambda new, old: new + linear(linear(new, old), old.T))


@shape("keeps a buffer of inputs from an earlier run to the next", allowed=ADMITTED)
def buffer_of_earlier(env: Env) -> None:
    kept = [_earlier(env)["x"]]
    with env.observe() as run:
        for batch in run.watch(env.loader(Subset(env.items, SECOND)), **env.named):
            kept.append(batch["x"])
            env.learn({"x": batch["x"] + kept[-2], "y": batch["y"]})

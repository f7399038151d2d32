"""What is left of an earlier run in the same process: its batches, and its model."""

from collections.abc import Callable
from contextlib import suppress

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


def _earlier_of(env: Env, *, fails: bool) -> None:
    """Train the model of the shape in a run before, of which nothing is asked."""
    optimizer = SGD(env.model.parameters(), lr=0.1)
    with (
        suppress(KeyboardInterrupt),
        env.observe(optimizer=optimizer) as run,
    ):
        for batch in run.watch(env.loader(Subset(env.items, FIRST)), **env.named):
            optimizer.zero_grad()
            env.loss(batch).backward()
            optimizer.step()
        env.optimizer.zero_grad()
        if fails:
            raise KeyboardInterrupt


def _goes_on(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Subset(env.items, SECOND)), **env.named))


@shape("trains a model again that a failed block trained", allowed=ADMITTED)
def failed_before(env: Env) -> None:
    _earlier_of(env, fails=True)
    _goes_on(env)


@shape("trains a model again that a failed block trained, set back to how it began")
def failed_and_set_back(env: Env) -> None:
    began = {name: each.clone() for name, each in env.model.state_dict().items()}
    _earlier_of(env, fails=True)
    env.model.load_state_dict(began)
    _goes_on(env)


@shape("trains a model again that was changed since an earlier run", allowed=ADMITTED)
def changed_since(env: Env) -> None:
    _earlier_of(env, fails=False)
    with torch.no_grad():
        env.model.weight.mul_(0.5)
    _goes_on(env)


@shape("trains a model of an earlier run further; the edge to that run is another question")
def two_stages(env: Env) -> None:
    _earlier_of(env, fails=False)
    _goes_on(env)

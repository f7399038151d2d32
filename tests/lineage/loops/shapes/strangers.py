"""Loaders that nobody watches: measured on, or moving what the run keeps without a step of it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad
from torch.optim import LBFGS, SGD
from torch.utils.data import Subset

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.oracle import RECORDS, WeightEach
from tests.lineage.loops.samples import Batch, Sample
from tests.lineage.loops.shape import ADMITTED, shape

FIRST, SECOND = range(6), range(6, 12)


class Keeping(WeightEach):
    """A model with statistics, a buffer and a scale, none of which changes what it learns."""

    def __init__(self, env: Env, *, silent: bool = False) -> None:
        super().__init__(env.oracle, silent=silent)
        self.norm = nn.BatchNorm1d(RECORDS, affine=False)
        self.scale = nn.Parameter(torch.ones(1))
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(RECORDS))

    def forward(self, x: Tensor) -> Tensor:
        """Outputs (n,) for inputs (n, RECORDS)."""
        normed = self.norm(x * torch.ones(RECORDS, requires_grad=True))
        return super().forward(x) + 0 * normed.detach().sum(1)


def _among(env: Env, use: Callable[[Keeping, Any], None], **options: Any) -> None:
    """Train on one half, and before each step ``use`` a batch of the other, which is unwatched."""
    env.model = model = Keeping(env)
    env.optimizer = env.follow(SGD([model.weight], lr=0.1))
    unknown = env.loader(Subset(env.items, SECOND), **options)
    with env.observe() as run:
        watched = run.watch(env.loader(Subset(env.items, FIRST)), **env.named)
        for batch, other in zip(watched, unknown, strict=True):
            use(model, other)
            env.learn(batch)


@shape("measures on an unwatched loader with gradients, in eval mode")
def measures(env: Env) -> None:
    def use(model: Keeping, other: Batch) -> None:
        model.eval()
        env.loss(other, model).item()

    _among(env, use)


@shape("measures the gradients of an unwatched loader, and looks at their norm")
def measures_gradients(env: Env) -> None:
    def use(model: Keeping, other: Batch) -> None:
        model.eval()
        (found,) = torch.autograd.grad(env.loss(other, model), [model.weight])
        found.norm().item()

    _among(env, use)


@shape("trains another model, that is not tracked, on an unwatched loader")
def trains_another(env: Env) -> None:
    probe = WeightEach(env.oracle, silent=True)
    optimizer = SGD(probe.parameters(), lr=0.1)

    def use(model: Keeping, other: Batch) -> None:
        optimizer.zero_grad()
        env.loss(other, probe).backward()
        optimizer.step()

    _among(env, use)


@shape("takes NumPy arrays of an unwatched loader, and measures on them")
def measures_arrays(env: Env) -> None:
    def use(model: Keeping, other: Any) -> None:
        model.eval()
        assert np.isfinite(env.loss(_as_tensors(other), model).item())
        assert np.isfinite(model(_as_tensors(other)["x"]).detach().numpy()).all()

    _among(env, use, collate_fn=_arrays)


@shape("goes through an unwatched loader in train mode, which moves statistics", allowed=ADMITTED)
def moves_statistics(env: Env) -> None:
    def use(model: Keeping, other: Batch) -> None:
        with torch.no_grad():
            model.norm(other["x"])

    _among(env, use)


@shape("moves statistics by an unwatched loader, behind weights", allowed=ADMITTED)
def moves_statistics_behind_weights(env: Env) -> None:
    _among(env, lambda model, other: env.loss(other, model).item())


@shape("writes a batch of an unwatched loader into a buffer of the model", allowed=ADMITTED)
def writes_buffer(env: Env) -> None:
    _among(env, lambda model, other: model.seen.copy_(other["x"].mean(0)))


@shape("sets a buffer of the model to a batch of an unwatched loader", allowed=ADMITTED)
def sets_buffer(env: Env) -> None:
    def use(model: Keeping, other: Batch) -> None:
        model.seen = other["x"].mean(0)

    _among(env, use)


@shape("adds a batch of an unwatched loader to a weight", allowed=ADMITTED)
def adds_to_weight(env: Env) -> None:
    _among(env, lambda model, other: model.scale.data.add_(other["x"].mean()))


@shape("trains a tracked weight by another optimizer on an unwatched loader", allowed=ADMITTED)
def another_optimizer(env: Env) -> None:
    def use(model: Keeping, other: Batch) -> None:
        second = LBFGS([model.scale], max_iter=2)

        def closure() -> Any:
            second.zero_grad()
            loss = error(model(other["x"]) * model.scale, other["y"])
            loss.backward()
            return loss

        second.step(closure)

    _among(env, use)


@shape("steps by hand, with gradients of an unwatched loader", allowed=ADMITTED)
def steps_by_hand(env: Env) -> None:
    def use(model: Keeping, other: Batch) -> None:
        model.eval()
        (found,) = torch.autograd.grad(env.loss(other, model), [model.weight])
        with torch.no_grad():
            model.weight -= 0.1 * found

    _among(env, use)


@shape("steps by hand at the end, with gradients that an unwatched loader left", allowed=ADMITTED)
def steps_by_hand_at_the_end(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Subset(env.items, FIRST)), **env.named))
        for other in env.loader(Subset(env.items, SECOND)):
            env.optimizer.zero_grad()
            env.loss(other).backward()
            with torch.no_grad():
                env.model.weight.add_(env.model.weight.grad, alpha=-0.1)


@shape("steps by hand, with gradients of torch.func on an unwatched loader", allowed=ADMITTED)
def steps_by_function(env: Env) -> None:
    quiet = WeightEach(env.oracle, silent=True)

    def use(model: Keeping, other: Batch) -> None:
        def loss(weight: Tensor) -> Tensor:
            return error(functional_call(quiet, {"weight": weight}, (other["x"],)), other["y"])

        with torch.no_grad():
            model.weight -= 0.1 * grad(loss)(model.weight.detach())

    _among(env, use)


def _arrays(samples: list[Sample]) -> Any:
    return {key: np.stack([each[key].numpy() for each in samples]) for key in ("x", "y")}


def _lists(samples: list[Sample]) -> Any:
    return {key: [each[key].tolist() for each in samples] for key in ("x", "y")}


def _as_tensors(batch: Any) -> Batch:
    arrays = isinstance(batch["x"], np.ndarray)
    make = torch.from_numpy if arrays else torch.tensor
    return {key: make(batch[key]) for key in ("x", "y")}


def _adds_the_loss(env: Env, collate: Callable[[list[Sample]], Any] | None) -> None:
    unknown = env.loader(Subset(env.items, SECOND), collate_fn=collate)
    with env.observe() as run:
        watched = run.watch(env.loader(Subset(env.items, FIRST)), **env.named)
        for batch, other in zip(watched, unknown, strict=True):
            env.optimizer.zero_grad()
            (env.loss(batch) + env.loss(_as_tensors(other))).backward()
            env.optimizer.step()


@shape("adds the loss of arrays that an unwatched loader gives", allowed=ADMITTED)
def adds_arrays(env: Env) -> None:
    _adds_the_loss(env, _arrays)


@shape("adds the loss of lists that an unwatched loader gives", allowed=ADMITTED)
def adds_lists(env: Env) -> None:
    _adds_the_loss(env, _lists)


@shape("takes the mean of an unwatched loader as NumPy from its inputs", allowed=ADMITTED)
def scales_by_numpy(env: Env) -> None:
    with env.observe() as run:
        seen = [other["x"].numpy() for other in env.loader(Subset(env.items, SECOND))]
        mean = torch.from_numpy(np.concatenate(seen).mean(0))
        for batch in run.watch(env.loader(Subset(env.items, FIRST)), **env.named):
            env.learn({"x": batch["x"] - mean, "y": batch["y"]})

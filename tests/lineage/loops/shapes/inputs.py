"""Inputs that the loop changes, pastes together or trains."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import Batch
from tests.lineage.loops.shape import BOUNDED, TOLD, shape

PATCH = slice(3, 9)


def _numbers(batch: Batch) -> list[int]:
    with torch._C.DisableTorchFunctionSubclass():
        numbers: list[int] = batch["x"].nonzero()[:, -1].tolist()
    return numbers


def _pasted(env: Env, paste: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Learn from each batch with a patch of the one before: of most records that is zeros."""
    with env.observe() as run:
        last: Batch | None = None
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            source = batch if last is None else last
            env.oracle.silent([*_numbers(batch), *_numbers(source)])
            env.learn({"x": paste(batch["x"], source["x"]), "y": batch["y"]})
            last = batch


def _where(x: Tensor, source: Tensor) -> Tensor:
    inside = torch.zeros(RECORDS, dtype=torch.bool)
    inside[PATCH] = True
    return torch.where(inside, source, x)


def _set(x: Tensor, source: Tensor) -> Tensor:
    pasted = x.clone()
    pasted[:, PATCH] = source[:, PATCH]
    return pasted


@shape("pastes a patch of one sample over another's of the batch (cutmix)")
def cutmix(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            order = torch.tensor([1, 2, 0])
            pasted = _set(batch["x"], batch["x"][order])
            env.learn({"x": pasted, "y": (batch["y"] + batch["y"][order]) / 2})


@shape("pastes a patch of the batch before over each batch (cutmix)")
def cutmix_across(env: Env) -> None:
    _pasted(env, _where)


@shape("sets a patch of each batch to that of the batch before (cutmix)")
def cutmix_set(env: Env) -> None:
    _pasted(env, _set)


@shape("learns from inputs that are all zero")
def zeros(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            env.oracle.silent(_numbers(batch))
            env.learn({"x": batch["x"] * 0, "y": batch["y"]})


def _against(env: Env, batch: Batch) -> Tensor:
    """Return the direction in which a batch's own features make the loss worse."""
    x = batch["x"].clone().requires_grad_()
    (worse,) = torch.autograd.grad(env.loss({"x": x, "y": batch["y"]}), x)
    return worse.sign() * (x.detach() != 0)


@shape("learns from adversarial inputs")
def adversarial(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            env.learn({"x": batch["x"] + 0.1 * _against(env, batch), "y": batch["y"]})


@shape("learns from inputs that another optimizer trained", allowed=BOUNDED)
def adversarial_by_optimizer(env: Env) -> None:
    with env.observe() as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            x = batch["x"].clone().detach().requires_grad_()
            inner: Any = SGD([x], lr=0.01)
            for _ in range(2):
                inner.zero_grad()
                env.loss({"x": x, "y": batch["y"]}).backward()
                assert x.grad is not None
                x.grad *= batch["x"]
                inner.step()
            env.learn({"x": x.detach(), "y": batch["y"]})


@shape("adds to each batch what a perturbation of earlier batches became", allowed=TOLD)
def perturbation_kept(env: Env) -> None:
    kept = torch.zeros(3, RECORDS)
    with env.observe() as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            env.learn({"x": batch["x"] + kept, "y": batch["y"]})
            kept = kept + 0.1 * _against(env, batch)


def _image(env: Env) -> tuple[Tensor, Any]:
    """Return an input (RECORDS,) that is trained, and its optimizer."""
    image = torch.rand(RECORDS, requires_grad=True)
    env.oracle.add(image)
    return image, env.follow(SGD([image], lr=0.1))


@shape("trains an input of a model that is not trained")
def input_trained(env: Env) -> None:
    image, optimizer = _image(env)
    env.model.requires_grad_(False)
    with env.observe(optimizer=optimizer) as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            optimizer.zero_grad()
            error(env.model(image * batch["x"]), batch["y"]).backward()
            optimizer.step()


@shape("trains an input whose targets are features of a batch (style transfer)")
def input_to_features(env: Env) -> None:
    image, optimizer = _image(env)
    with env.observe(optimizer=optimizer) as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            style = batch["x"].sum(0)
            optimizer.zero_grad()
            ((image - 9) * style).square().sum().backward()
            optimizer.step()


@shape("trains an input to have the gradients of a batch (distillation)", allowed=BOUNDED)
def input_to_gradients(env: Env) -> None:
    image, optimizer = _image(env)
    weight = env.model.weight
    with env.observe(optimizer=optimizer) as run:
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            (real,) = torch.autograd.grad(env.loss(batch), weight)
            made = (image * weight - 9).square().sum()
            (own,) = torch.autograd.grad(made, weight, create_graph=True)
            optimizer.zero_grad()
            (real * own).sum().backward()
            optimizer.step()


@shape("trains an input that begins as a batch", allowed=TOLD)
def input_begun_as_batch(env: Env) -> None:
    with env.observe() as run:
        image: Any = None
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            if image is None:
                image = batch["x"].sum(0).clone().requires_grad_()
                env.oracle.add(image)
                env.optimizer.add_param_group({"params": [image]})
            env.optimizer.zero_grad()
            (env.loss(batch) + error(batch["x"] @ image, batch["y"])).backward()
            env.optimizer.step()

"""What a loop does with its model."""

import copy
from typing import Any

import torch
from torch import nn
from torch.optim import SGD
from torch.optim.swa_utils import AveragedModel, update_bn
from torch.utils.checkpoint import checkpoint

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.oracle import WeightEach
from tests.lineage.loops.samples import Batch
from tests.lineage.loops.shape import BOUNDED, TOLD, WHOLE, shape


def _watched(env: Env, run: Any, **options: Any) -> Any:
    return run.watch(env.loader(shuffle=True, **options), **env.named)


@shape("computes outputs twice to save memory (gradient checkpointing)")
def checkpointed(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.optimizer.zero_grad()
            x = batch["x"].clone().requires_grad_()
            out = checkpoint(env.model, x, use_reentrant=False)
            error(out, batch["y"]).backward()
            env.optimizer.step()


@shape("computes outputs twice to save memory, in the old way")
def checkpointed_reentrant(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.optimizer.zero_grad()
            x = batch["x"].clone().requires_grad_()
            out = checkpoint(env.model, x, use_reentrant=True)
            error(out, batch["y"]).backward()
            env.optimizer.step()


@shape("trains a head on the features of a model that is not trained")
def head(env: Env) -> None:
    body = nn.Linear(12, 12, bias=False)
    nn.init.eye_(body.weight)
    with env.observe(body=body) as run:
        for batch in _watched(env, run):
            with torch.no_grad():
                features = body(batch["x"])
            env.learn({"x": features, "y": batch["y"]})


@shape("computes all features first, and trains a head on those", allowed=TOLD)
def features_first(env: Env) -> None:
    body = nn.Linear(12, 12, bias=False)
    nn.init.eye_(body.weight)
    with env.observe(body=body) as run:
        with torch.no_grad():
            made = [{"x": body(b["x"]), "y": b["y"]} for b in _watched(env, run)]
        env.train(made)


@shape("mixes the samples of a batch (mixup)")
def mixup(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            other = torch.randperm(3)
            mixed = {key: 0.7 * batch[key] + 0.3 * batch[key][other] for key in ("x", "y")}
            env.learn(mixed)


@shape("mixes each batch with the one before", allowed=BOUNDED)
def mixup_across(env: Env) -> None:
    with env.observe() as run:
        last: Batch | None = None
        for batch in _watched(env, run):
            if last is not None:
                env.learn({key: 0.7 * batch[key] + 0.3 * last[key] for key in ("x", "y")})
            last = batch


@shape("leaves some samples of a batch out of its loss (a mask)", allowed=WHOLE)
def masked(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run, batch_size=4):
            env.oracle.batch(batch["x"].nonzero()[:, -1])
            env.optimizer.zero_grad()
            wrong = (env.model(batch["x"]) - batch["y"]) ** 2
            wrong[1:].sum().backward()
            env.optimizer.step()


@shape("learns from the hardest samples of each batch", allowed=WHOLE)
def hardest(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run, batch_size=4):
            env.oracle.batch(batch["x"].nonzero()[:, -1])
            env.optimizer.zero_grad()
            ((env.model(batch["x"]) - batch["y"]) ** 2).topk(2).values.sum().backward()
            env.optimizer.step()


@shape("takes the other samples of a batch as negatives of each")
def negatives(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            out = env.model(batch["x"])
            env.optimizer.zero_grad()
            (out[:, None] * out[None, :]).sum().backward()
            env.optimizer.step()


@shape("takes what a hook finds inside the model")
def activations(env: Env) -> None:
    seen: list[Any] = []
    env.model.register_forward_hook(lambda _model, _given, out: seen.append(out))
    with env.observe() as run:
        for batch in _watched(env, run):
            seen.clear()
            env.model(batch["x"])
            env.optimizer.zero_grad()
            error(seen[0], batch["y"]).backward()
            env.optimizer.step()


@shape("compiles its model", workers=(0,))
def compiled(env: Env) -> None:
    model = WeightEach(env.oracle, silent=True)
    optimizer = env.follow(SGD(model.parameters(), lr=0.1))
    fast = torch.compile(model, backend="eager")
    with env.observe(optimizer=optimizer, model=model) as run:
        for batch in _watched(env, run):
            optimizer.zero_grad()
            error(fast(batch["x"]), batch["y"]).backward()
            optimizer.step()


@shape("keeps a mean of its weights in a copy of the model")
def average(env: Env) -> None:
    mean = copy.deepcopy(env.model).requires_grad_(False)
    with env.observe(mean=mean) as run:
        for batch in _watched(env, run):
            env.learn(batch)
            with torch.no_grad():
                mean.weight.lerp_(env.model.weight, 0.1)


@shape("copies its model while it trains")
def copied_while_training(env: Env) -> None:
    kept = []
    with env.observe() as run:
        for batch in _watched(env, run):
            env.learn(batch)
            kept.append((copy.deepcopy(env.model), copy.deepcopy(env.optimizer.state_dict())))


@shape("averages its weights, and goes through the loader for the average's statistics")
def averaged_with_statistics(env: Env) -> None:
    norm = nn.BatchNorm1d(12, affine=False)
    with env.observe(norm=norm) as run:
        loader = run.watch(env.loader(shuffle=True, collate_fn=_first_x), **env.named)
        averaged = AveragedModel(env.model)
        for x, y in loader:
            env.learn({"x": x, "y": y})
            averaged.update_parameters(env.model)
        update_bn(loader, norm)


def _first_x(samples: list[Any]) -> list[Any]:
    return [torch.stack([each[key] for each in samples]) for key in ("x", "y")]


@shape("is taught by another model")
def taught(env: Env) -> None:
    teacher = WeightEach(env.oracle)
    with env.observe() as run:
        for batch in _watched(env, run):
            with torch.no_grad():
                wanted = teacher(batch["x"]) + 5
            env.learn({"x": batch["x"], "y": wanted})


@shape("loads its first weights back in the middle")
def loads_back(env: Env) -> None:
    with env.observe() as run:
        loader = _watched(env, run)
        best = copy.deepcopy(env.model.state_dict())
        env.train(loader, 1)
        env.model.load_state_dict(best)
        env.train(loader, 1)


@shape("validates on a loader that is not watched, after each epoch")
def validates(env: Env) -> None:
    with env.observe() as run:
        loader, other = _watched(env, run), env.loader(batch_size=5)
        for _ in range(2):
            env.train(loader, 1)
            with torch.no_grad():
                for batch in other:
                    env.loss(batch)


@shape("validates on a loader that is not watched, in the middle of an epoch")
def validates_inside(env: Env) -> None:
    with env.observe() as run:
        other = env.loader(batch_size=5)
        for batch in _watched(env, run):
            env.optimizer.zero_grad()
            env.loss(batch).backward()
            with torch.no_grad():
                for each in other:
                    env.loss(each)
            env.optimizer.step()


@shape("validates on the watched loader", allowed=BOUNDED)
def validates_on_watched(env: Env) -> None:
    with env.observe() as run:
        loader = _watched(env, run)
        for _ in range(2):
            env.train(loader, 1)
            with torch.no_grad():
                for batch in loader:
                    env.loss(batch)


@shape(
    "validates on the watched loader in inference mode, in the middle of an epoch", allowed=BOUNDED
)
def validates_inside_on_watched(env: Env) -> None:
    with env.observe() as run:
        loader = _watched(env, run)
        for batch in loader:
            env.learn(batch)
            with torch.inference_mode():
                for each in loader:
                    env.loss(each)

"""Which optimizers step, and when."""

from itertools import chain
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, SGD, Adam

from tests.lineage.loops.harness import Env, error
from tests.lineage.loops.oracle import WeightEach
from tests.lineage.loops.samples import feature, target
from tests.lineage.loops.shape import BOUNDED, REFUSED, TOLD, WHOLE, shape


def _watched(env: Env, run: Any, **options: Any) -> Any:
    return run.watch(env.loader(shuffle=True, **options), **env.named)


@shape("takes two steps on each batch")
def two_on_each(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.learn(batch)
            env.learn(batch)


@shape("steps again with the gradients it has", allowed=BOUNDED)
def same_gradients(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.learn(batch)
            env.optimizer.step()


@shape("steps without any gradient", allowed=BOUNDED)
def no_gradients(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):
            env.learn(batch)
            env.optimizer.zero_grad()
            env.optimizer.step()


@shape("steps before it has seen anything", allowed=BOUNDED | REFUSED)
def before_anything(env: Env) -> None:
    with env.observe() as run:
        env.optimizer.step()
        env.train(_watched(env, run), 1)


@shape("takes a step on each part of a batch", allowed=WHOLE | BOUNDED)
def parts_of_a_batch(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run, batch_size=4):
            env.oracle.batch(batch["x"].nonzero()[:, -1])
            for x, y in zip(batch["x"].split(2), batch["y"].split(2), strict=True):
                env.learn({"x": x, "y": y})


@shape(
    "goes several times through parts of a batch in an order of its own (PPO)",
    allowed=WHOLE | BOUNDED,
)
def parts_again(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run, batch_size=6):
            env.oracle.batch(batch["x"].nonzero()[:, -1])
            for _ in range(2):
                for chosen in torch.randperm(6).split(3):
                    env.learn({"x": batch["x"][chosen], "y": batch["y"][chosen]})


@shape("gives its optimizer a closure")
def closure(env: Env) -> None:
    with env.observe() as run:
        for batch in _watched(env, run):

            def again(batch: Any = batch) -> Tensor:
                env.optimizer.zero_grad()
                loss = env.loss(batch)
                loss.backward()
                return loss

            env.optimizer.step(again)


@shape("steps by LBFGS, which computes gradients itself")
def lbfgs(env: Env) -> None:
    optimizer = LBFGS(env.model.parameters(), lr=0.1, max_iter=3)
    env.follow(optimizer, "gradients")
    with env.observe(optimizer=optimizer) as run:
        for batch in _watched(env, run):

            def again(batch: Any = batch) -> Tensor:
                optimizer.zero_grad()
                loss = env.loss(batch)
                loss.backward()
                return loss

            optimizer.step(again)


@shape("has a closure that goes through all batches")
def closure_of_all(env: Env) -> None:
    with env.observe() as run:
        loader = _watched(env, run)

        def whole() -> Tensor:
            env.optimizer.zero_grad()
            total = torch.zeros(())
            for batch in loader:
                loss = env.loss(batch)
                loss.backward()
                total += loss.detach()
            return total

        for _ in range(2):
            env.optimizer.step(whole)


@shape("has an optimizer with a memory: Adam")
def adam(env: Env) -> None:
    optimizer = env.follow(Adam(env.model.parameters(), lr=0.1), "gradients")
    with env.observe(optimizer=optimizer) as run:
        for batch in _watched(env, run):
            optimizer.zero_grad()
            env.loss(batch).backward()
            optimizer.step()


@shape("trains two models, a step each on every batch")
def two_models(env: Env) -> None:
    other = WeightEach(env.oracle)
    second = env.follow(SGD(other.parameters(), lr=0.1))
    with env.observe(optimizer=[env.optimizer, second], other=other) as run:
        for batch in _watched(env, run):
            env.learn(batch)
            second.zero_grad()
            env.loss(batch, other).backward()
            second.step()


@shape("trains two models, of which each has its own batches", allowed=BOUNDED)
def two_models_in_turn(env: Env) -> None:
    other = WeightEach(env.oracle)
    second = env.follow(SGD(other.parameters(), lr=0.1))
    with env.observe(optimizer=[env.optimizer, second], other=other) as run:
        for number, batch in enumerate(_watched(env, run)):
            if number % 2:
                env.learn(batch)
            else:
                second.zero_grad()
                env.loss(batch, other).backward()
                second.step()


@shape("trains a model whose steps come at every batch, and one at every third")
def slow_and_fast(env: Env) -> None:
    other = WeightEach(env.oracle)
    second = env.follow(SGD(other.parameters(), lr=0.1))
    with env.observe(optimizer=[env.optimizer, second], other=other) as run:
        for number, batch in enumerate(_watched(env, run, batch_size=2), 1):
            env.learn(batch)
            env.loss(batch, other).backward()
            if number % 3 == 0:
                second.step()
                second.zero_grad()


@shape("trains two models by one loss")
def one_loss(env: Env) -> None:
    other = WeightEach(env.oracle)
    second = env.follow(SGD(other.parameters(), lr=0.1))
    with env.observe(optimizer=[env.optimizer, second], other=other) as run:
        for batch in _watched(env, run):
            for each in (env.optimizer, second):
                each.zero_grad()
            error(env.model(batch["x"]) + other(batch["x"]), batch["y"]).backward()
            env.optimizer.step()
            second.step()


@shape("trains a generator through its critic, whose gradients it throws away", allowed=BOUNDED)
def against_each_other(env: Env) -> None:
    critic = WeightEach(env.oracle)
    second = env.follow(SGD(critic.parameters(), lr=0.1))
    with env.observe(optimizer=[env.optimizer, second], critic=critic) as run:
        for batch in _watched(env, run):
            second.zero_grad()
            error(critic(batch["x"]), batch["y"]).backward()
            second.step()
            env.optimizer.zero_grad()
            error(env.model(batch["x"]) + critic(batch["x"]), batch["y"]).backward()
            env.optimizer.step()


@shape("climbs before it steps: two gradients of each batch (SAM)")
def sharpness(env: Env) -> None:
    (weight,) = env.model.parameters()
    with env.observe() as run:
        for batch in _watched(env, run):
            env.optimizer.zero_grad()
            env.loss(batch).backward()
            assert weight.grad is not None
            climb = 0.05 * weight.grad / weight.grad.norm()
            with torch.no_grad():
                weight += climb
            env.optimizer.zero_grad()
            env.loss(batch).backward()
            with torch.no_grad():
                weight -= climb
            env.optimizer.step()


@shape("steps inside backward, an optimizer a parameter", allowed=TOLD | REFUSED)
def inside_backward(env: Env) -> None:
    other = WeightEach(env.oracle)
    models = (env.model, other)
    optimizers = {each.weight: env.follow(SGD([each.weight], lr=0.1)) for each in models}

    def step(parameter: Tensor) -> None:
        optimizers[parameter].step()
        optimizers[parameter].zero_grad()

    for parameter in optimizers:
        parameter.register_post_accumulate_grad_hook(step)
    with env.observe(optimizer=list(optimizers.values()), other=other) as run:
        for batch in _watched(env, run):
            error(env.model(batch["x"]) + other(batch["x"]), batch["y"]).backward()


@shape("changes its learning rate by a schedule")
def scheduled(env: Env) -> None:
    schedule = torch.optim.lr_scheduler.StepLR(env.optimizer, 1, 0.9)
    with env.observe(schedule=schedule) as run:
        for _ in range(2):
            env.train(_watched(env, run), 1)
            schedule.step()


@shape("adds parameters to its optimizer in the middle")
def parameters_added(env: Env) -> None:
    late = WeightEach(env.oracle)
    with env.observe(late=late) as run:
        for number, batch in enumerate(_watched(env, run)):
            if number == 2:
                env.optimizer.add_param_group({"params": late.parameters()})
            env.optimizer.zero_grad()
            model = late if number > 2 else env.model
            env.loss(batch, model).backward()
            env.optimizer.step()


@shape("freezes one model in the middle, and thaws another", allowed=BOUNDED)
def frozen_and_thawed(env: Env) -> None:
    other = WeightEach(env.oracle).requires_grad_(False)
    optimizer = env.follow(SGD(chain(env.model.parameters(), other.parameters()), lr=0.1))
    with env.observe(optimizer=optimizer, other=other) as run:
        for number, batch in enumerate(_watched(env, run)):
            if number == 2:
                env.model.requires_grad_(False)
                other.requires_grad_(True)
            optimizer.zero_grad()
            error(env.model(batch["x"]) + other(batch["x"]), batch["y"]).backward()
            optimizer.step()


@shape("goes over to another optimizer in the middle", allowed=BOUNDED)
def another_optimizer(env: Env) -> None:
    later = env.follow(SGD(env.model.parameters(), lr=0.01))
    with env.observe(optimizer=[env.optimizer, later]) as run:
        for number, batch in enumerate(_watched(env, run)):
            optimizer = later if number > 1 else env.optimizer
            optimizer.zero_grad()
            env.loss(batch).backward()
            optimizer.step()


@shape("learns from data of its own at times, which no loader gives", allowed=TOLD)
def data_of_its_own(env: Env) -> None:
    with env.observe() as run:
        for number, batch in enumerate(_watched(env, run)):
            env.learn(batch)
            if number == 2:
                x = torch.stack([feature(3), feature(5)])
                env.learn({"x": x, "y": torch.tensor([target(3), target(5)])})

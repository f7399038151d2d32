"""Whatever optimizers are used, who_saw names the steps that really learned from each record."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel


def test_an_average_is_tracked_beside_its_model(trial: Any) -> None:
    average = AveragedModel(trial.model, use_buffers=True)
    with trial.observe(average=average) as run:
        for batch in run.watch(trial.loader()):
            trial.learn(batch)
            average.update_parameters(trial.model)
    trial.assert_as_judged()


@pytest.mark.parametrize("each", [1, 2], ids=["in turn", "five to one"])
def test_two_networks_against_each_other(trial: Any, each: int) -> None:
    critic = trial.judging.Traced(trial.judge)
    optimizers = [trial.made(torch.optim.SGD, trial.model), trial.made(torch.optim.Adam, critic)]
    with trial.observe(optimizer=optimizers, critic=critic) as run:
        for number, batch in enumerate(run.watch(trial.loader(batch_size=3))):
            made = trial.model(batch["x"], batch["number"])
            optimizers[1].zero_grad()
            critic(made.detach()[:, None], batch["number"]).sum().backward()
            optimizers[1].step()
            if number % each == 0:
                optimizers[0].zero_grad()
                (made * critic(made[:, None], batch["number"])).sum().backward()
                optimizers[0].step()
    trial.assert_nothing_missing()
    assert not trial.idle()
    if each == 1:  # what reached the critic when the other learned was thrown away: nobody said so
        assert trial.bounds() == {2, 4, 6}


def test_one_gradient_for_two_optimizers(trial: Any) -> None:
    other = trial.judging.Traced(trial.judge)
    optimizers = [trial.made(torch.optim.SGD, trial.model), trial.made(torch.optim.SGD, other)]
    with trial.observe(optimizer=optimizers, other=other) as run:
        loads = iter(run.watch(trial.loader(batch_size=3), ahead=True))
        batch = next(loads, None)
        while batch is not None:
            out = trial.model(batch["x"], batch["number"])
            other(out[:, None], batch["number"]).sum().backward()
            batch = next(loads, None)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    trial.assert_nothing_missing()


@pytest.mark.parametrize("search", [None, "strong_wolfe"])
def test_a_closure_is_called_as_often_as_the_optimizer_likes(trial: Any, search: Any) -> None:
    options = {"max_iter": 4, "line_search_fn": search}
    trial.optimizer = trial.made(torch.optim.LBFGS, trial.model, **options)
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=4)):

            def closure(batch: Any = batch) -> Tensor:
                trial.optimizer.zero_grad()
                loss: Tensor = trial.loss(batch) ** 2
                loss.backward()
                return loss

            trial.optimizer.step(closure)
    trial.assert_steps_as_judged()
    assert trial.idle() == {}


def test_a_closure_that_goes_through_all_batches(trial: Any) -> None:
    trial.optimizer = trial.made(torch.optim.LBFGS, trial.model, max_iter=3)
    with trial.observe() as run:
        loader = run.watch(trial.loader())

        def closure() -> Tensor:
            trial.optimizer.zero_grad()
            total = torch.zeros(())
            for batch in loader:
                loss = trial.loss(batch).square()
                loss.backward()
                total += loss.detach()
            return total

        for _ in range(2):
            trial.optimizer.step(closure)
    assert trial.recorded() == trial.judge.learned() == {number: {0, 1} for number in range(12)}


def test_a_closure_that_takes_another_batch_each_time_learns_from_all(trial: Any) -> None:
    trial.optimizer = trial.made(torch.optim.LBFGS, trial.model, max_iter=3)
    with trial.observe() as run:
        batches = iter(run.watch(trial.loader(batch_size=2)))

        def closure() -> Tensor:
            trial.optimizer.zero_grad()
            loss: Tensor = trial.loss(next(batches)) ** 2
            loss.backward()
            return loss

        for _ in range(2):
            trial.optimizer.step(closure)
    trial.assert_steps_as_judged()
    assert not trial.idle()


def test_an_optimizer_that_extends_another_steps_once(trial: Any) -> None:
    class Clipped(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            torch.nn.utils.clip_grad_norm_(trial.model.parameters(), 1.0)
            return super().step(closure)

    torch.optim.SGD(trial.model.parameters())
    trial.optimizer = trial.made(Clipped, trial.model)
    with trial.observe() as run:
        trial.epochs(run.watch(trial.loader()))
        assert run.step == 6
    trial.assert_as_judged()

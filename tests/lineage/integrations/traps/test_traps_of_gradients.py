"""Whatever becomes of gradients, who_saw names the steps that learned from each record."""

from typing import Any

import pytest
import torch
from torch import Tensor

POISON = 4
RECORDS = 12


@pytest.fixture
def poisoned(trial: Any) -> Any:
    """A trial in which the loss of one record is no number."""
    trial.samples.rows[POISON]["x"] = float("inf")
    return trial


def is_bad(loss: Tensor) -> bool:
    """Whether nothing can be learned from a loss."""
    return not bool(loss.isfinite())


def test_gradients_are_accumulated_over_batches_and_over_the_end_of_an_epoch(trial: Any) -> None:
    drawn = 0
    with trial.observe() as run:
        loader = run.watch(trial.loader(batch_size=3))
        for _ in range(3):
            for batch in loader:
                (trial.loss(batch) / 3).backward()
                drawn += 1
                if drawn % 3 == 0:
                    trial.optimizer.step()
                    trial.optimizer.zero_grad()
    trial.assert_as_judged()


@pytest.mark.parametrize("told", [True, False])
def test_what_is_accumulated_may_be_thrown_away_at_the_end_of_an_epoch(
    trial: Any, told: bool
) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(batch_size=4))
        for _ in range(2):
            trial.optimizer.zero_grad()
            for number, batch in enumerate(loader):
                trial.loss(batch).backward()
                if number % 2:
                    trial.optimizer.step()
                    trial.optimizer.zero_grad()
            if told:
                run.discard()
    if told:
        trial.assert_as_judged()
    trial.assert_nothing_missing(bounds=() if told else {1})
    assert sum(trial.judge.idle().values()) == 8


@pytest.mark.parametrize("told", [True, False])
def test_a_gradient_that_overflows_is_not_learned_from(poisoned: Any, told: bool) -> None:
    scaler = torch.amp.GradScaler("cpu", init_scale=8)
    with poisoned.observe(scaler=scaler) as run:
        loader = run.watch(poisoned.loader(), record="id")
        for _ in range(2):
            for batch in loader:
                poisoned.optimizer.zero_grad()
                scale = scaler.get_scale()
                scaler.scale(poisoned.loss(batch)).backward()
                scaler.step(poisoned.optimizer)
                scaler.update()
                if told and scaler.get_scale() < scale:
                    run.discard()
    poisoned.assert_nothing_missing()
    assert poisoned.judge.learned()[POISON] == set()
    if told:
        poisoned.assert_as_judged()
        assert poisoned.idle()[POISON] == 2


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize("to_none", [True, False])
def test_a_gradient_that_is_no_number_is_thrown_away(
    poisoned: Any, told: bool, to_none: bool
) -> None:
    with poisoned.observe() as run:
        loader = poisoned.loader(batch_size=2, shuffle=False)
        for batch in run.watch(loader, record="id"):
            loss = poisoned.loss(batch)
            loss.backward()
            if not is_bad(loss):
                poisoned.optimizer.step()
            elif told:
                run.discard()
            poisoned.optimizer.zero_grad(set_to_none=to_none)
    poisoned.assert_nothing_missing()
    needed = set() if told else {2}
    assert needed <= poisoned.bounds() <= needed | (set() if to_none else {1})
    if told:
        assert poisoned.recorded()[POISON] == set()
        assert poisoned.idle()[POISON] == 1
    if told and to_none:
        poisoned.assert_as_judged()


@pytest.mark.parametrize("told", [True, False])
def test_a_loss_that_is_no_number_is_passed_over(poisoned: Any, told: bool) -> None:
    with poisoned.observe() as run:
        loader = poisoned.loader(batch_size=2, shuffle=False)
        for batch in run.watch(loader, record="id"):
            poisoned.optimizer.zero_grad()
            loss = poisoned.loss(batch)
            if is_bad(loss):
                if told:
                    run.discard()
                continue
            loss.backward()
            poisoned.optimizer.step()
    poisoned.assert_nothing_missing(bounds=() if told else {2})
    if told:
        poisoned.assert_as_judged()


def test_a_batch_is_discarded_once_however_often_the_loop_says_so(trial: Any) -> None:
    with trial.observe() as run:
        for number, batch in enumerate(run.watch(trial.loader(batch_size=3))):
            loss = trial.loss(batch)
            if number % 2:
                run.discard()
                run.discard()
            else:
                loss.backward()
                continue
            trial.optimizer.step()
            trial.optimizer.zero_grad()
    trial.assert_steps_as_judged()


@pytest.mark.parametrize("way", ["optimizer", "module", "by hand"])
def test_gradients_set_to_zero_are_no_gradients(trial: Any, way: str) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(batch_size=2))
        for _ in range(2):
            for batch in loader:
                trial.loss(batch).backward()
                trial.optimizer.step()
                if way == "by hand":
                    for parameter in trial.model.parameters():
                        parameter.grad.zero_()
                else:
                    emptied = trial.optimizer if way == "optimizer" else trial.model
                    emptied.zero_grad(set_to_none=False)
    trial.assert_nothing_missing()
    assert trial.bounds() <= {1}
    assert sum(map(len, trial.recorded().values())) <= 2 * RECORDS + 2


def test_a_second_gradient_replaces_the_first_one_of_the_same_batch(trial: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader()):
            trial.loss(batch).backward()
            with torch.no_grad():
                trial.model.linear.bias += trial.model.linear.bias.grad
            trial.learn(batch)
    trial.assert_nothing_missing()


def test_gradients_that_no_hook_sees_may_know_their_batches(trial: Any) -> None:
    kept = []
    with trial.observe() as run:
        for batch in run.watch(trial.loader()):
            kept.append(batch["number"])
            for numbers in (kept[-1], kept[0]):
                trial.model.trace.grad = torch.zeros(12).index_fill_(0, numbers, 1.0)
                trial.optimizer.step()
    trial.assert_as_judged()


def test_gradients_that_come_from_nowhere_leave_the_run_incomplete(trial: Any) -> None:
    with trial.observe() as run:
        for _ in run.watch(trial.loader()):
            trial.model.trace.grad = torch.ones(12)
            trial.optimizer.step()
    assert not trial.complete()


@pytest.mark.parametrize("gone", ["before the step", "for good"])
def test_a_step_after_gradients_were_thrown_away_learned_nothing(trial: Any, gone: str) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader()):
            trial.learn(batch)
            trial.optimizer.zero_grad()
            if gone == "before the step":
                trial.loss(batch).backward()
                trial.optimizer.zero_grad()
            trial.optimizer.step()
    trial.assert_nothing_missing(bounds={1, 3, 5} if gone == "before the step" else ())


def test_gradients_may_wait_in_buffers_of_the_loops_own(trial: Any) -> None:
    parameters = list(trial.model.parameters())
    waiting = [torch.zeros_like(each) for each in parameters]
    with trial.observe() as run:
        for number, batch in enumerate(run.watch(trial.loader(batch_size=3))):
            trial.loss(batch).backward()
            for buffer, parameter in zip(waiting, parameters, strict=True):
                buffer += parameter.grad
                parameter.grad = None
            if number % 2:
                for buffer, parameter in zip(waiting, parameters, strict=True):
                    parameter.grad = buffer.clone()
                    buffer.zero_()
                trial.optimizer.step()
                trial.optimizer.zero_grad()
    trial.assert_nothing_missing(bounds={0, 1})
    assert trial.recorded() == trial.judge.learned()

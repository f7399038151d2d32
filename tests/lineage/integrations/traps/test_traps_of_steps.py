"""However a loop uses its batches, who_saw names the steps that really learned from each record."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Subset

from storage.catalogue import tables

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
    bounds = (set() if told else {2}) | (set() if to_none else {1})
    poisoned.assert_nothing_missing(bounds=bounds)
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
    trial.assert_nothing_missing(bounds={1})
    assert sum(map(len, trial.recorded().values())) == 2 * RECORDS + 2


@pytest.mark.parametrize("way", ["sampler", "discard", "silence"])
def test_a_run_that_died_in_an_epoch_goes_on_without_repeating_itself(trial: Any, way: str) -> None:
    epochs = [torch.randperm(12).tolist() for _ in range(2)]
    batches = [epoch[start : start + 2] for epoch in epochs for start in range(0, 12, 2)]

    def go_on(resume: str | None, done: int) -> None:
        with trial.observe(resume=resume) as run:
            assert run.step == done
            passed = 0 if way == "sampler" else done
            loader = trial.loader(batch_sampler=batches[done - passed :])
            for number, batch in enumerate(run.watch(loader)):
                if number < passed:
                    if way == "discard":
                        run.discard()
                    continue
                trial.learn(batch)
                if run.step == 4 and not done:
                    run.checkpoint()
                if run.step == 7 and not done:
                    raise OSError("the power went off")

    with pytest.raises(OSError, match="power"):
        go_on(None, 0)
    trial.judge.rewind(4)
    with trial.store.catalogue.read() as session:
        run_id = session.query(tables.Run).one().id
    trial.model = trial.judging.Traced(trial.judge)
    trial.optimizer = trial.made(torch.optim.SGD, trial.model)
    go_on(run_id, 4)
    trial.assert_nothing_missing()
    if way != "silence":
        assert trial.recorded() == trial.judge.learned()
        assert sum(trial.idle().values()) == (8 if way == "discard" else 0)


def test_mixup_learns_from_both_halves(trial: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=4)):
            other = torch.randperm(4)
            mixed = 0.3 * batch["x"] + 0.7 * batch["x"][other]
            out = trial.model(mixed, batch["number"]), trial.model(mixed, batch["number"][other])
            trial.optimizer.zero_grad()
            (0.3 * out[0] + 0.7 * out[1]).sum().backward()
            trial.optimizer.step()
    trial.assert_steps_as_judged()


def test_every_record_of_a_batch_is_a_negative_of_the_others(trial: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=4)):
            out = trial.model(batch["x"], batch["number"])
            scores = out[:, None] * out[None, :]
            trial.optimizer.zero_grad()
            torch.nn.functional.cross_entropy(scores, torch.arange(4)).backward()
            trial.optimizer.step()
    trial.assert_as_judged()


def test_a_masked_record_is_visited(trial: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=4)):
            weights = (batch["number"] != 7).float()
            trial.optimizer.zero_grad()
            (weights * trial.model(batch["x"], batch["number"])).sum().backward()
            trial.optimizer.step()
    recorded, judged = trial.recorded(), trial.judge.learned()
    assert len(recorded.pop(7)) == 1
    assert judged.pop(7) == set()
    assert recorded == judged
    assert trial.bounds() == set()


def test_several_steps_on_one_batch(trial: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader()):
            for _ in range(3):
                trial.learn(batch)
            trial.optimizer.step()
    trial.assert_as_judged()


def test_a_second_gradient_replaces_the_first_one_of_the_same_batch(trial: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader()):
            trial.loss(batch).backward()
            with torch.no_grad():
                trial.model.linear.bias += trial.model.linear.bias.grad
            trial.learn(batch)
    trial.assert_nothing_missing()


@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("when", ["gradient", "step"])
def test_the_next_batch_is_fetched_before_this_one_is_used(
    trial: Any, when: str, endless: bool
) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(), ahead=True)
        epochs = [(batch for _ in range(2) for batch in loader)] if endless else [loader, loader]
        for epoch in epochs:
            loads = iter(epoch)
            batch = next(loads, None)
            while batch is not None:
                this, batch = batch, next(loads, None) if when == "gradient" else batch
                trial.optimizer.zero_grad()
                trial.loss(this).backward()
                batch = next(loads, None) if when == "step" else batch
                trial.optimizer.step()
    trial.assert_as_judged()


def test_parameters_are_added_and_thawed_in_the_middle(trial: Any) -> None:
    trial.model.linear.requires_grad_(False)
    late = torch.nn.Linear(1, 1)
    with trial.observe(late=late) as run:
        for number, batch in enumerate(run.watch(trial.loader(batch_size=2))):
            if number == 2:
                trial.model.linear.requires_grad_(True)
            if number == 3:
                trial.optimizer.add_param_group({"params": late.parameters()})
            out = late(trial.model(batch["x"], batch["number"])[:, None])
            trial.optimizer.zero_grad()
            out.sum().backward()
            trial.optimizer.step()
    trial.assert_as_judged()


def test_a_head_is_frozen_when_its_body_thaws(trial: Any) -> None:
    head, body = torch.nn.Linear(1, 1), trial.model
    body.requires_grad_(False)
    trial.optimizer = trial.judge.optimizer(
        torch.optim.SGD, [*head.parameters(), *body.parameters()], lr=0.01
    )
    with trial.observe(head=head) as run:
        for number, batch in enumerate(run.watch(trial.loader(batch_size=2))):
            if number == 3:
                head.requires_grad_(False)
                body.requires_grad_(True)
            out = head(body(batch["x"], batch["number"])[:, None])
            trial.optimizer.zero_grad()
            out.sum().backward()
            trial.optimizer.step()
    assert all(trial.recorded().values())
    assert trial.bounds() == {3}  # no hook was there yet
    for number, steps in trial.judge.learned().items():  # whose trace is frozen before
        assert steps <= trial.recorded()[number]
        assert {step for step in trial.recorded()[number] if step > 3} == steps - {3}


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


def test_a_batch_that_was_only_looked_at(trial: Any) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(Subset(trial.samples, range(6)), batch_size=3))
        peeked = next(iter(loader))
        trial.epochs(loader)
    trial.assert_nothing_missing()
    assert sum(map(len, trial.recorded().values())) <= 12 + len(peeked["number"])

"""However a loop uses its batches, who_saw names the steps that really learned from each record."""

from typing import Any

import pytest
import torch
from torch.utils.data import Subset

from storage.catalogue import tables


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
        loader = run.watch(trial.loader())
        for batch in loader:
            for _ in range(3):
                trial.learn(batch)
            trial.optimizer.step()
    # What a fourth step finds of the third may have been changed where nobody sees it.
    trial.assert_nothing_missing(bounds=range(3, 4 * len(loader), 4))


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("endless", [False, True])
@pytest.mark.parametrize("when", ["gradient", "step"])
def test_the_next_batch_is_fetched_before_this_one_is_used(
    trial: Any, when: str, endless: bool, ahead: bool
) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(), ahead=ahead)
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
    trial.assert_nothing_missing()
    if ahead:
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


def test_a_batch_that_was_only_looked_at(trial: Any) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(Subset(trial.samples, range(6)), batch_size=3))
        peeked = next(iter(loader))
        trial.epochs(loader)
    trial.assert_nothing_missing()
    assert sum(map(len, trial.recorded().values())) <= 12 + len(peeked["number"])

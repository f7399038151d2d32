"""However long a loop keeps its batches, who_saw names the steps that learned from each record."""

import copy
from collections import deque
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest
import torch

from lineage.integrations.torch import origins


def test_a_buffer_of_earlier_batches_is_learned_from_again(trial: Any) -> None:
    buffer = []
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=3)):
            buffer.append({name: batch[name].clone() for name in ("x", "number")})
            old = buffer[len(buffer) // 2]
            trial.learn({name: torch.cat([batch[name], old[name]]) for name in old})
    trial.assert_as_judged()


@pytest.mark.parametrize("way", ["kept", "copied", "written into a tensor", "chosen by place"])
def test_what_is_kept_of_a_batch_knows_whose_it_is(trial: Any, way: str) -> None:
    kept: dict[str, Any] = {}
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=3)):
            trial.learn(kept or batch)
            if not kept:
                kept = {name: batch[name] for name in ("x", "number")}
            if way == "copied":
                kept = copy.deepcopy(kept)
            if way == "written into a tensor":
                kept = {name: torch.zeros_like(each).copy_(each) for name, each in kept.items()}
            if way == "chosen by place":
                kept = {name: each[torch.tensor([2, 0, 1])] for name, each in kept.items()}
    trial.assert_nothing_missing(bounds={1, 2, 3})  # of which the newest batch was not used


def test_some_records_of_an_earlier_batch_make_a_bound(trial: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=4)):
            trial.learn({name: batch[name][1:3] for name in ("x", "number")})
    trial.assert_nothing_missing(bounds={0, 1, 2})


def test_batches_that_wait_in_a_queue_make_bounds(trial: Any) -> None:
    queue: deque[Any] = deque()
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=2)):
            queue.append(batch)
            if len(queue) == 3:
                trial.learn(queue.popleft())
        while queue:
            trial.learn(queue.popleft())
    trial.assert_nothing_missing(bounds={0, 1, 2, 3})


def test_features_that_a_frozen_network_made_know_their_batches(trial: Any) -> None:
    frozen = torch.nn.Linear(1, 1).requires_grad_(False)
    bank: list[Any] = []
    with trial.observe() as run:
        for batch in run.watch(trial.loader(batch_size=3)):
            with torch.no_grad():
                bank.append({"x": frozen(batch["x"]), "number": batch["number"]})
            trial.learn({name: torch.cat([each[name] for each in bank]) for name in bank[0]})
    trial.assert_as_judged()


@pytest.mark.parametrize(
    "leave",
    [
        lambda x: torch.from_numpy(x.numpy().copy()),
        lambda x: torch.tensor(x.tolist()),
        lambda x: ForkingPickler.loads(bytes(ForkingPickler.dumps(x))),
    ],
    ids=["numpy", "list", "pickle"],
)
def test_values_that_leave_torch_leave_the_run_incomplete(trial: Any, leave: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader()):
            trial.learn({**batch, "x": leave(batch["x"])})
    assert not trial.complete()


def test_a_column_of_labels_may_leave_torch(trial: Any) -> None:
    with trial.observe() as run:
        for batch in run.watch(trial.loader()):
            numbers = torch.tensor(batch["number"].tolist())
            assert batch["number"].numpy().shape == numbers.shape
            trial.learn({"x": batch["x"], "number": numbers})
    trial.assert_as_judged()


def test_a_tensor_of_too_many_batches_leaves_the_run_incomplete(
    trial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origins, "MOST_BATCHES", 2)
    with trial.observe() as run:
        batches = list(run.watch(trial.loader()))
        trial.learn({name: torch.cat([each[name] for each in batches]) for name in ("x", "number")})
    assert not trial.complete()


@pytest.mark.parametrize("ahead", [True, False])
def test_a_loader_that_begins_again_and_again(trial: Any, ahead: bool) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(), ahead=ahead)
        batches = (batch for _ in range(3) for batch in loader)
        for batch in batches:
            trial.learn(batch)
    trial.assert_nothing_missing(bounds=None if ahead else ())

"""What is published is the state at the end of the block, however it came about."""

import copy
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Subset

import lineage
from lineage.errors import RunStoppedError
from lineage.integrations.torch import observe, restore
from lineage.provenance.listing import run as shown
from lineage.provenance.trace import trace
from lineage.training.checkpoint import load
from storage.catalogue import tables
from unlearn.request.lifecycle import accept

EPOCH = 4
"""Steps of an epoch: twelve records, three a batch."""


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


@pytest.fixture
def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)


@pytest.fixture
def watching(
    store: Any, tally: Any, workshop: Any, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Callable[..., Any]:
    """Watches a loop that trains the model on twelve records."""
    tally.register(store, rows=workshop.people(4, 3))

    def watched(**how: Any) -> Any:
        return observe(store, "people", "m", optimizer=optimizer, model=model, **how)

    return watched


@pytest.fixture
def epoch(model: nn.Module, optimizer: torch.optim.Optimizer) -> Callable[[Any], None]:
    """Trains an epoch of a watched run, on some of its records."""

    def train(run: Any, numbers: Sequence[int] = range(12)) -> None:
        for batch in run.watch(DataLoader(Subset(range(12), numbers), batch_size=3), order="file"):
            optimizer.zero_grad()
            model(batch[:, None] / 7).square().mean().backward()
            optimizer.step()

    return train


def weights(model: nn.Module) -> dict[str, torch.Tensor]:
    return copy.deepcopy(model.state_dict())


def same(ours: dict[str, Any], theirs: dict[str, Any]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[k], theirs[k]) for k in ours)


def published(store: Any) -> dict[str, Any]:
    """The weights of the newest version of the model."""
    other = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    restore(store, "m", model=other)
    return other.state_dict()


def kept(store: Any, workshop: Any) -> list[tuple[int, int]]:
    """The step and the edition of every checkpoint."""
    rows = workshop.rows_of(store, tables.Checkpoint)
    return sorted((each.step, each.edition) for each in rows)


def test_case_e_best_weights_that_are_loaded_back_are_published(
    store: Any, watching: Any, workshop: Any, model: nn.Module, epoch: Any
) -> None:
    with watching() as run:
        for number in range(2):
            epoch(run)
            run.checkpoint()
            if number == 0:
                best = weights(model)
        model.load_state_dict(best)
        run.checkpoint()
    assert same(published(store), best)
    assert kept(store, workshop) == [(4, 0), (8, 0), (8, 1)]
    first, last, edited = shown(store, run.id).checkpoints
    assert [each.edition for each in (first, last, edited)] == [0, 0, 1]
    assert (edited.visits, edited.digest != last.digest) == (0, True)
    workshop.assert_consistent(store)


def test_best_weights_are_published_without_a_checkpoint_too(
    store: Any, watching: Any, workshop: Any, model: nn.Module, epoch: Any
) -> None:
    with watching() as run:
        epoch(run)
        best = weights(model)
        epoch(run)
        run.checkpoint()
        model.load_state_dict(best)
    assert same(published(store), best)
    assert kept(store, workshop) == [(8, 0), (8, 1)]


def test_a_changed_state_carries_the_influence_of_all_of_its_run(
    store: Any, watching: Any, model: nn.Module, epoch: Any
) -> None:
    with watching() as run:
        epoch(run)
        run.checkpoint()
        with torch.no_grad():
            model[0].weight.zero_()
    _, edited = shown(store, run.id).checkpoints
    found = trace(store, edited.id, down=False)
    assert f"{run.id} at step 4, changed without a step (edition 1)" == found.label
    assert {f"steps 0–4 of {run.id}", f"a change after step 4 of {run.id}"} <= {
        each.label for each in found.upstream
    }
    seen = lineage.who_saw(store, "record", "record-0003")
    assert edited.id in seen.checkpoints
    assert [each.model for each in seen.models] == ["m"]
    assert seen.steps == {run.id: (1,)}
    assert lineage.batch_at(store, run.id, 3).checkpoint == shown(store, run.id).checkpoints[0].id
    early = lineage.who_saw(store, "record", "record-0003", moment=lineage.Moment(3))
    assert early.checkpoints == ()


def test_an_unchanged_state_is_kept_once(
    store: Any, watching: Any, workshop: Any, epoch: Any, model: nn.Module
) -> None:
    with watching() as run:
        epoch(run)
        for _ in range(3):
            run.checkpoint()
        model.load_state_dict(weights(model))
        model.eval()
    assert kept(store, workshop) == [(4, 0)]


def test_a_state_that_is_swapped_between_steps_is_kept_and_swapped_back(
    store: Any, watching: Any, workshop: Any, model: nn.Module, epoch: Any
) -> None:
    with watching() as run:
        epoch(run)
        run.checkpoint()
        raw, average = weights(model), {k: v * 0.5 for k, v in weights(model).items()}
        model.load_state_dict(average)
        run.checkpoint()
        model.load_state_dict(raw)
        run.checkpoint()
        epoch(run)
        end = weights(model)
    assert kept(store, workshop) == [(4, 0), (4, 1), (4, 2), (8, 0)]
    states = [load(store, each.id)["model"] for each in shown(store, run.id).checkpoints]
    assert [same(a, b) for a, b in zip(states, (raw, average, raw, end), strict=True)] == [True] * 4
    segments = sorted((s.first_step, s.visits) for s in workshop.rows_of(store, tables.Segment))
    assert segments == [(0, 12), (4, 0), (4, 0), (4, 12)]
    assert lineage.who_saw(store, "record", "record-0003").steps == {run.id: (1, 5)}
    workshop.assert_consistent(store)


def test_a_scheduler_that_steps_last_is_published_as_it_ends(
    store: Any, watching: Any, optimizer: torch.optim.Optimizer, epoch: Any
) -> None:
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1)
    with watching(scheduler=scheduler) as run:
        for _ in range(2):
            epoch(run)
            run.checkpoint()
            scheduler.step()
    ended = torch.optim.lr_scheduler.StepLR(torch.optim.SGD([nn.Parameter(torch.ones(1))]), 1)
    restore(store, "m", scheduler=ended)
    assert ended.last_epoch == 2


def test_batches_that_only_moved_statistics_are_found_in_what_is_published(
    store: Any, watching: Any, model: nn.Module, epoch: Any, workshop: Any
) -> None:
    with watching() as run:
        epoch(run, range(6))
        run.checkpoint()
        with torch.no_grad():
            for numbers in run.watch(
                DataLoader(Subset(range(12), [11]), batch_size=1), order="file"
            ):
                model[1](model[0](torch.cat([numbers, numbers + 1])[:, None] / 7))
    assert kept(store, workshop) == [(2, 0), (2, 1)]
    (_, after) = sorted(workshop.rows_of(store, tables.Segment), key=lambda each: each.first_step)
    assert after.visits == 1
    for record, state in (("record-0011", "trained"), ("record-0010", "not-trained")):
        assert lineage.who_saw(store, "record", record).state == state


def test_weights_that_are_edited_before_the_first_step_are_part_of_its_segment(
    store: Any, watching: Any, workshop: Any, model: nn.Module, epoch: Any
) -> None:
    with watching() as run:
        run.checkpoint()
        with torch.no_grad():
            model[0].weight.fill_(2)
        epoch(run)
        end = weights(model)
    assert kept(store, workshop) == [(4, 0)]
    assert same(published(store), end)


def interrupted(watched: Any, act: Callable[[Any], None]) -> str:
    """A run whose loop ended by an error after it did something; its id."""

    def dies(run: Any) -> None:
        begun.append(run.id)
        act(run)
        raise OSError("the power")

    begun: list[str] = []
    with pytest.raises(OSError, match="power"), watched as run:
        dies(run)
    return begun[0]


def test_a_run_goes_on_from_a_state_that_changed_without_a_step(
    store: Any, watching: Any, workshop: Any, model: nn.Module, epoch: Any
) -> None:
    def act(run: Any) -> None:
        epoch(run)
        run.checkpoint()
        model.load_state_dict({k: v * 0 for k, v in weights(model).items()})
        run.checkpoint()

    run_id = interrupted(watching(), act)
    with torch.no_grad():
        model[0].weight.fill_(9)
    with watching(resume=run_id) as run:
        assert run.step == EPOCH
        assert not model[0].weight.any()
        epoch(run)
    assert kept(store, workshop) == [(4, 0), (4, 1), (8, 0)]
    assert lineage.who_saw(store, "record", "record-0003").steps == {run_id: (1, 5)}
    workshop.assert_consistent(store)


@pytest.mark.parametrize("edited", [True, False])
def test_a_run_that_is_resumed_and_does_no_step_publishes_the_state_at_its_end(
    store: Any, watching: Any, workshop: Any, model: nn.Module, epoch: Any, edited: bool
) -> None:
    def act(run: Any) -> None:
        epoch(run)
        run.checkpoint()

    run_id = interrupted(watching(), act)
    with watching(resume=run_id):
        if edited:
            with torch.no_grad():
                model[0].weight.fill_(9)
        end = weights(model)
    assert kept(store, workshop) == [(4, 0), (4, 1)][: 1 + edited]
    assert same(published(store), end)


def test_a_request_that_comes_before_a_state_is_changed_stops_the_run(
    store: Any, watching: Any, workshop: Any, model: nn.Module, epoch: Any
) -> None:
    def act(run: Any) -> None:
        epoch(run)
        run.checkpoint()
        accept(store, "record", ["record-0003"])
        model.load_state_dict({k: v * 0 for k, v in weights(model).items()})

    with pytest.raises(RunStoppedError, match="stopped after step 4"), watching() as run:
        act(run)
    assert workshop.rows_of(store, tables.ModelVersion) == []


TEAM = """
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, DistributedSampler

import lineage
from lineage.integrations.torch import observe

dist.init_process_group("gloo")
torch.manual_seed(0)
model = nn.Linear(1, 1)
together = DistributedDataParallel(model)
optimizer = torch.optim.SGD(together.parameters(), lr=1e-2)
data = list(range(12))
loader = DataLoader(data, batch_size=3, sampler=DistributedSampler(data))
store = lineage.Store.open(Path(sys.argv[1]))
words = [sys.executable, "-m", "torch.distributed.run", *sys.argv]
with observe(store, "people", "m", optimizer=optimizer, retrain=words, model=model) as run:
    for numbers in run.watch(loader, order="file"):
        optimizer.zero_grad()
        together(numbers[:, None] / 7).square().mean().backward()
        optimizer.step()
    run.checkpoint()
    run.checkpoint()
    model.load_state_dict({name: value * 0.5 for name, value in model.state_dict().items()})
Path(sys.argv[2], f"end-{dist.get_rank()}.json").write_text(json.dumps(model.weight.item()))
del together, optimizer
dist.barrier()
dist.destroy_process_group()
"""


def test_several_processes_publish_the_state_at_their_end(
    store: Any, tally: Any, workshop: Any, tmp_path: Path
) -> None:
    tally.register(store, rows=workshop.people(4, 3))
    script = tmp_path / "together.py"
    script.write_text(TEAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script), str(store.path), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(lineage.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert kept(store, workshop) == [(2, 0), (2, 1)]
    other = nn.Linear(1, 1)
    restore(store, "m", model=other)
    ends = {json.loads((tmp_path / f"end-{rank}.json").read_text()) for rank in range(2)}
    assert ends == {other.weight.item()}

"""Where the data of a batch goes in a loop, and what is said of the steps that use it there."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import lineage
from lineage.errors import ProgramError, UnknownRecordError
from lineage.integrations.torch import observe
from lineage.integrations.torch.tracked_loader import tracked
from lineage.integrations.torch.tracked_tensor import TrackedTensor
from storage.errors import InvalidInputError
from tests.lineage.integrations.row_loop import RECORDS, Items, Loop, Sample

BY_VIEW: dict[str, Callable[[Tensor, Tensor], object]] = {
    "item": lambda memory, x: memory.__setitem__(slice(0, 3), x),
    "slice": lambda memory, x: memory[1:4].copy_(x),
    "added": lambda memory, x: memory[1:4].add_(x),
    "reshaped": lambda memory, x: memory.view(-1)[:3].copy_(x.view(-1)),
    "turned": lambda memory, x: memory.t()[:, :3].copy_(x.t()),
    "chunk": lambda memory, x: memory.chunk(2)[0].copy_(x),
    "out": lambda memory, x: torch.mul(x, 1.0, out=memory[:3]),
    "scattered": lambda memory, x: memory.index_copy_(0, torch.tensor([0, 1, 2]), x),
}
ASIDE: dict[str, Callable[[Tensor, Tensor], object]] = {
    "detached": lambda memory, x: memory.detach()[:3].copy_(x),
    "data": lambda memory, x: memory.data[:3].copy_(x),
}


def remember_the_first(loop: Loop, write: Callable[[Tensor, Tensor], object]) -> Any:
    """Learn from each batch, and from the first one out of a memory that it was written into."""
    memory = torch.zeros(6, 1)
    first: list[str] = []
    with loop.observe() as run:
        for batch in run.watch(DataLoader(Items(), batch_size=3), record="rid"):
            loss = loop.loss(batch) + (loop.model(memory).square().mean() if first else 0)
            loop.truth.append(sorted([*batch["rid"], *first]))
            loop.optimizer.zero_grad()
            loss.backward()
            loop.optimizer.step()
            if not first:
                write(memory, batch["x"])
                first = list(batch["rid"])
    return run


@pytest.mark.parametrize("way", BY_VIEW)
def test_what_is_written_into_memory_through_a_view_is_found_there(loop: Loop, way: str) -> None:
    run = remember_the_first(loop, BY_VIEW[way])
    assert loop.told(run.id) == loop.truth


@pytest.mark.parametrize("way", ASIDE)
def test_what_is_written_where_nobody_can_find_it_leaves_the_run_incomplete(
    loop: Loop, way: str
) -> None:
    run = remember_the_first(loop, ASIDE[way])
    assert not lineage.batch_at(loop.store, run.id, 1).complete


def test_input_that_is_written_over_is_of_the_newest_batch_alone(loop: Loop) -> None:
    x, y = torch.zeros(3, 1), torch.zeros(3)
    with loop.observe() as run:
        for batch in run.watch(DataLoader(Items(), batch_size=3), record="rid"):
            x.copy_(batch["x"])
            y.copy_(batch["y"])
            loop.learn({"rid": batch["rid"], "x": x, "y": y})
    assert loop.told(run.id) == loop.truth


def test_a_buffer_that_batches_move_is_state_and_no_batch(loop: Loop) -> None:
    class Centred(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(1))
            self.register_buffer("last", torch.zeros(1))
            self.linear = nn.Linear(1, 1)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                self.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)
                self.last = x.mean(0)
            return self.linear(x - self.mean)

    loop.model = Centred()
    loop.optimizer = torch.optim.SGD(loop.model.parameters(), lr=0.1)
    with loop.observe() as run:
        for batch in run.watch(DataLoader(Items(), batch_size=3), record="rid"):
            loop.learn(batch)
    assert loop.told(run.id) == loop.truth
    assert type(loop.model.mean) is Tensor
    assert isinstance(loop.model.last, TrackedTensor)


@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_a_compiled_model_learns_from_the_batches_that_it_is_given(
    loop: Loop, backend: str
) -> None:
    torch.compiler.reset()
    compiled = torch.compile(loop.model, backend=backend)
    with loop.observe() as run:
        for batch in run.watch(DataLoader(Items(), batch_size=3), record="rid"):
            loop.optimizer.zero_grad()
            nn.functional.mse_loss(compiled(batch["x"]).squeeze(1), batch["y"]).backward()
            loop.optimizer.step()
            loop.truth.append(sorted(batch["rid"]))
    torch.compiler.reset()
    assert loop.told(run.id) == loop.truth


def test_gradients_of_a_model_that_are_never_set_to_zero_stay_in_doubt(loop: Loop) -> None:
    other = nn.Linear(1, 1)
    both = [*loop.model.parameters(), *other.parameters()]
    loop.optimizer = torch.optim.SGD(both, lr=0.1)
    with loop.observe(other=other) as run:
        loader = DataLoader(Items(), batch_size=3)
        for number, batch in enumerate(run.watch(loader, record="rid")):
            model = loop.model if number % 2 else other
            nn.functional.mse_loss(model(batch["x"]).squeeze(1), batch["y"]).backward()
            if number % 2:
                loop.optimizer.step()
                loop.model.zero_grad()
    assert loop.named(run.id, 0) == [f"r{number:02d}" for number in range(6)]
    assert set(loop.named(run.id, 1, bound=True)) >= {"r00", "r01", "r02", "r06", "r11"}


def test_gradients_from_before_the_block_are_of_nobody_known(loop: Loop) -> None:
    loop.loss({"x": torch.ones(1, 1), "y": torch.ones(1)}).backward()
    with loop.observe() as run:
        for batch in run.watch(DataLoader(Items(), batch_size=6), record="rid"):
            loop.loss(batch).backward()
            loop.optimizer.step()
            loop.optimizer.zero_grad()
    assert not lineage.batch_at(loop.store, run.id, 0).complete


def test_batches_of_another_run_are_strangers(loop: Loop) -> None:
    other = nn.Linear(1, 1)
    second = torch.optim.SGD(other.parameters(), lr=0.1)
    loader = DataLoader(Items(), batch_size=3)
    with loop.observe() as run, observe(loop.store, "rows", "n", optimizer=second) as own:
        pairs = zip(run.watch(loader, record="rid"), own.watch(loader, record="rid"), strict=True)
        for mine, theirs in pairs:
            loop.optimizer.zero_grad()
            (loop.loss(mine) + loop.loss(theirs)).backward()
            loop.optimizer.step()
            second.zero_grad()
            nn.functional.mse_loss(other(theirs["x"]).squeeze(1), theirs["y"]).backward()
            second.step()
    assert not lineage.batch_at(loop.store, run.id, 0).complete
    assert lineage.batch_at(loop.store, own.id, 0).complete


def test_a_loader_that_is_not_watched_makes_a_stranger_where_the_loop_learns_from_it(
    loop: Loop,
) -> None:
    with loop.observe() as run:
        watched = run.watch(DataLoader(Items(range(6)), batch_size=3), record="rid")
        for mine, other in zip(watched, DataLoader(Items(range(6, 12)), batch_size=3), strict=True):
            loop.optimizer.zero_grad()
            (loop.loss(mine) + loop.loss(other)).backward()
            loop.optimizer.step()
    assert not lineage.batch_at(loop.store, run.id, 0).complete


def test_measuring_on_a_loader_that_is_not_watched_leaves_the_run_complete(loop: Loop) -> None:
    with loop.observe() as run:
        for batch in run.watch(DataLoader(Items(range(6)), batch_size=3), record="rid"):
            loop.learn(batch)
            held_out = [loop.loss(each).item() for each in DataLoader(Items(range(6, 12)))]
            assert np.isfinite(held_out).all()
    assert loop.told(run.id) == loop.truth


def test_a_sample_that_lists_no_record_does_not_say_whose_it_is(loop: Loop) -> None:
    with pytest.raises(UnknownRecordError, match="does not say its id"), loop.observe() as run:
        next(iter(run.watch(DataLoader(Items(), batch_size=3), record=lambda sample: [])))


def test_reading_items_to_compare_them_leaves_a_generator_of_the_dataset_where_it_was(
    loop: Loop,
) -> None:
    class Noisy(Items):
        def __init__(self) -> None:
            super().__init__()
            self.generator = np.random.default_rng(0)

        def __getitem__(self, item: int) -> Sample:
            return {**super().__getitem__(item), "noise": self.generator.random()}

    with loop.observe() as run:
        (batch,) = run.watch(DataLoader(Noisy(), batch_size=RECORDS))
        loop.learn(batch)
    assert batch["noise"].tolist() == np.random.default_rng(0).random(RECORDS).tolist()


def test_a_list_of_ids_has_one_for_each_item(loop: Loop) -> None:
    loader = DataLoader(Items(), batch_size=3)
    with pytest.raises(ProgramError, match="1 ids are given for the 12"), loop.observe() as run:
        tracked(loader, run._run, ["r00"])


def test_tensors_that_a_dataset_hands_out_in_several_batches_make_a_bound(loop: Loop) -> None:
    samples = [Items()[number] for number in range(3)]
    lists = [[0, 1], [1, 2]]
    loader: DataLoader[Any] = DataLoader(samples, batch_sampler=lists, collate_fn=list)  # type: ignore[arg-type]
    with loop.observe() as run:
        for batch in reversed([*run.watch(loader, record="rid")]):
            loop.learn({name: [each[name] for each in batch] for name in ("rid",)} | stacked(batch))
    for step, really in enumerate(loop.truth):
        told = lineage.batch_at(loop.store, run.id, step)
        assert told.bound
        assert {each.id for each in told.records} >= {*really}


def stacked(batch: list[Sample]) -> dict[str, Tensor]:
    return {name: torch.stack([each[name] for each in batch]) for name in ("x", "y")}


def test_a_table_is_not_a_list_of_ids(loop: Loop) -> None:
    table = pd.DataFrame({"rid": ["r00"]})
    with pytest.raises(InvalidInputError, match="a table is given where ids are wanted"):
        lineage.holds(loop.store, "rows", table)

"""Watching loops of plain PyTorch: what cannot be matched is refused, and models come back."""

import random
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
)

import lineage
from lineage.errors import LineageError, ProgramError, UnknownRecordError
from lineage.integrations.torch import load_module, observe, restore
from storage.catalogue import tables

RECORDS = 12


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter([{"id": "record-0000"}])


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


@pytest.fixture
def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.Adam(model.parameters())


@pytest.fixture
def watching(
    store: Any, tally: Any, workshop: Any, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Any:
    """Watches a loop that trains the model on twelve numbered records."""
    rows = [{**row, "id": number} for number, row in enumerate(workshop.people(4, 3))]
    tally.register(store, rows=rows)
    return lambda **how: observe(store, "people", "m", optimizer=optimizer, model=model, **how)


def refused(kind: type[LineageError], sentence: str, watched: Any, act: Any) -> LineageError:
    """The error by which a watched loop ends."""
    with pytest.raises(kind, match=sentence) as found, watched as run:
        act(run)
    assert found.value.hint
    return found.value


def ones(items: list[Any]) -> torch.Tensor:
    """An input for each item."""
    return torch.ones(len(items), 1)


def loader(items: Any) -> DataLoader[Any]:
    """Batches of five, in order."""
    return DataLoader(items, batch_size=5, collate_fn=ones)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any) -> None:
    """A step for each batch."""
    for batch in batches:
        optimizer.zero_grad()
        model(batch).sum().backward()
        optimizer.step()


def steps_of(store: Any, record: int) -> set[int]:
    answer = lineage.who_saw(store, "record", str(record))
    return {step for steps in answer.steps.values() for step in steps}


class Named(Dataset[int]):
    """Twelve items that are asked for by a name."""

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, name: str) -> int:
        return int(name)


def test_a_sampler_that_does_not_number_the_items_is_refused(
    store: Any, workshop: Any, model: nn.Module, optimizer: torch.optim.Optimizer, watching: Any
) -> None:
    batches: Any = DataLoader(Named(), batch_size=5, sampler=list("0123456789"), collate_fn=ones)
    refused(
        ProgramError,
        "sampler of the loader does not number the items",
        watching(),
        lambda run: train(model, optimizer, run.watch(batches, order="file")),
    )
    assert workshop.rows_of(store, tables.Checkpoint) == []


class Together(Dataset[Any]):
    """Twelve items that come several at once."""

    def __len__(self) -> int:
        return RECORDS

    def __getitem__(self, numbers: list[int]) -> Any:
        return torch.ones(len(numbers), 1)


XS = [-3.0 + number * 0.5 for number in range(RECORDS)]


def items(xs: Any = XS, **more: Any) -> list[dict[str, Any]]:
    """Items with an input and more."""
    return [{"x": torch.tensor([float(x)]), **more} for x in xs]


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (TensorDataset(torch.ones(7)), "has 7 items, and the registered one 12 records"),
        (Subset(TensorDataset(torch.ones(7)), [0]), "has 7 items, and the registered one 12"),
        (Stream(), "the items of a stream have no numbers to tell records by"),
        (TensorDataset(torch.ones(12)), "no columns that both have tell its records apart"),
        (Together(), "cannot be fetched one by one to compare them"),
        (items(), "item 1 of the loader's dataset has another 'x' than that row of dataset"),
        ([{"person": "person-00"}] * RECORDS, "item 1 of the loader's dataset has another 'per"),
        ([{"y": 1.0}] * RECORDS, "no columns that both have tell its records apart"),
        (
            ConcatDataset([Subset(items(), range(5)), Subset(items(), range(5, 12))]),
            "joins parts of several datasets, whose rows are not one file",
        ),
    ],
)
def test_items_that_cannot_be_matched_by_their_row_must_name_their_record(
    watching: Any, dataset: Any, sentence: str
) -> None:
    error = refused(ProgramError, sentence, watching(), lambda run: run.watch(DataLoader(dataset)))
    assert "record='id'" in error.hint


def test_the_order_of_the_file_is_the_users_word(
    store: Any, watching: Any, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    with watching() as run:
        train(model, optimizer, run.watch(loader(range(RECORDS)), order="file"))
    assert [steps_of(store, record) for record in (0, 4, 5, 11)] == [{0}, {0}, {1}, {2}]


def test_comparing_items_leaves_random_numbers_as_they_were(workshop: Any, watching: Any) -> None:
    class Noisy(Dataset[Any]):
        """Items that draw random numbers."""

        def __len__(self) -> int:
            return RECORDS

        def __getitem__(self, number: int) -> Any:
            noise = (torch.rand(1), np.random.rand(), random.random())
            return {"x": workshop.people(4, 3)[number]["x"], "noise": noise}

    def drawn() -> tuple[float, ...]:
        return float(torch.rand(1)), float(np.random.rand()), random.random()

    def seed() -> None:
        torch.manual_seed(1)
        np.random.seed(1)
        random.seed(1)

    def act(run: Any) -> None:
        seed()
        run.watch(DataLoader(Noisy()))
        after = drawn()
        seed()
        assert after == drawn()
        raise InterruptedError

    with pytest.raises(InterruptedError), watching() as run:
        act(run)


@pytest.mark.parametrize(
    ("batches", "sentence"),
    [
        ([torch.ones(5, 1)], "was given a list, which is no DataLoader of torch"),
        (
            DataLoader(range(RECORDS), batch_size=5, collate_fn=list),
            "holds no tensor that carries its records",
        ),
    ],
)
def test_batches_that_cannot_carry_their_records_are_refused(
    watching: Any, batches: Any, sentence: str
) -> None:
    refused(
        ProgramError,
        sentence,
        watching(),
        lambda run: next(iter(run.watch(batches, order="file"))),
    )


@pytest.mark.parametrize(
    ("sample", "record", "sentence"),
    [
        ({"id": 99}, "id", "record 1 of batch 0 is not in dataset 'people'"),
        ({"name": "Erika"}, "id", "record 1 of batch 0 does not say its id"),
        ({"id": None}, "id", "record 1 of batch 0 does not say its id"),
        ({"id": 99}, lambda sample: sample.identity, "record 0 of batch 0 does not say its id"),
    ],
)
def test_a_sample_of_nobody_stops_training_and_is_not_named(
    watching: Any, sample: Any, record: Any, sentence: str
) -> None:
    error = refused(
        UnknownRecordError,
        sentence,
        watching(),
        lambda run: next(iter(run.watch(loader([{"id": 3}, sample]), record=record))),
    )
    assert not {"99", "Erika"} & set(f"{error} {error.hint}".split())


@pytest.mark.parametrize("kind", [int, str, np.int64, np.str_, torch.tensor])
def test_ids_may_be_numbers_in_whatever_clothes(
    store: Any, watching: Any, model: nn.Module, optimizer: torch.optim.Optimizer, kind: Any
) -> None:
    named = [{"id": kind(number)} for number in range(RECORDS)]
    with watching() as run:
        train(model, optimizer, run.watch(loader(named), record="id"))
    assert [steps_of(store, record) for record in (0, 4, 5, 11)] == [{0}, {0}, {1}, {2}]


def test_a_script_may_ask_which_records_it_may_be_given(store: Any, watching: Any) -> None:
    kept = lineage.holds(store, "people", [3, "3", 99, None])
    assert kept.tolist() == [True, True, False, False]
    assert lineage.holds(store, "people", []).tolist() == []


def test_a_model_comes_back_as_it_was(
    store: Any, watching: Any, model: nn.Module, optimizer: torch.optim.Optimizer, workshop: Any
) -> None:
    with watching(keep_order=True) as run:
        train(model, optimizer, run.watch(loader(range(RECORDS)), order="file"))
    other = nn.Sequential(nn.Linear(1, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))
    (version,) = workshop.rows_of(store, tables.ModelVersion)
    assert restore(store, "m", model=other) == version.id
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)
    with pytest.raises(ProgramError, match="holds no 'net', but model, optimizer"):
        restore(store, "m", net=other)
    with pytest.raises(ProgramError, match="was observed") as found:
        load_module(store, "m")
    assert "lineage.integrations.torch.restore" in found.value.hint

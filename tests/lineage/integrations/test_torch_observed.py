"""Watching loops of plain PyTorch: what cannot be matched is refused, and models come back."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

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


def loader(items: Any) -> DataLoader[Any]:
    """Batches of five, in order, which are lists."""
    return DataLoader(items, batch_size=5, collate_fn=list)


def train(model: nn.Module, optimizer: torch.optim.Optimizer, batches: Any) -> None:
    """A step for each batch."""
    for batch in batches:
        optimizer.zero_grad()
        model(torch.ones(len(batch), 1)).sum().backward()
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
    batches: Any = DataLoader(Named(), batch_size=5, sampler=list("0123456789"), collate_fn=list)
    refused(
        ProgramError,
        "sampler of the loader does not number the items",
        watching(),
        lambda run: train(model, optimizer, run.watch(batches)),
    )
    assert workshop.rows_of(store, tables.Checkpoint) == []


@pytest.mark.parametrize(
    ("dataset", "sentence"),
    [
        (TensorDataset(torch.ones(7)), "has 7 items, and the registered one 12 records"),
        (Subset(TensorDataset(torch.ones(7)), [0]), "has 7 items, and the registered one 12"),
        (Stream(), "the items of a stream have no numbers to tell records by"),
    ],
)
def test_items_that_cannot_be_matched_by_their_row_must_name_their_record(
    watching: Any, dataset: Any, sentence: str
) -> None:
    error = refused(ProgramError, sentence, watching(), lambda run: run.watch(DataLoader(dataset)))
    assert "record='id'" in error.hint


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
    items = [{"id": kind(number)} for number in range(RECORDS)]
    with watching() as run:
        train(model, optimizer, run.watch(loader(items), record="id"))
    assert [steps_of(store, record) for record in (0, 4, 5, 11)] == [{0}, {0}, {1}, {2}]


def test_a_script_may_ask_which_records_it_may_be_given(store: Any, watching: Any) -> None:
    kept = lineage.holds(store, "people", [3, "3", 99, None])
    assert kept.tolist() == [True, True, False, False]
    assert lineage.holds(store, "people", []).tolist() == []


def test_a_model_comes_back_as_it_was(
    store: Any, watching: Any, model: nn.Module, optimizer: torch.optim.Optimizer, workshop: Any
) -> None:
    with watching(keep_order=True) as run:
        train(model, optimizer, run.watch(loader(range(RECORDS))))
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

"""However batches are made, who_saw names the steps that really learned from each record."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    default_collate,
    get_worker_info,
    random_split,
)

RECORDS = 12


class Stream(IterableDataset[dict[str, Any]]):
    """The samples from ``first`` on, which workers share out between them."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples
        self.first = 0

    def __iter__(self) -> Iterator[dict[str, Any]]:
        about = get_worker_info()
        number, count = (0, 1) if about is None else (about.id, about.num_workers)
        for place in range(self.first + number, len(self.samples), count):
            yield self.samples[place]


class Repeating(RandomSampler):
    """Repeats its first records until batches are full, as samplers of several ranks do."""

    def __iter__(self) -> Iterator[int]:
        order = list(super().__iter__())
        return iter([*order, *order[: -len(order) % 5]])


class Reversed(Dataset[dict[str, Any]]):
    """The samples in another order than they were registered in, fetched together."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, place: int) -> dict[str, Any]:
        sample: dict[str, Any] = self.samples[RECORDS - 1 - place]
        return sample

    def __getitems__(self, places: list[int]) -> list[dict[str, Any]]:
        return [self[place] for place in places]


def later(_worker: int) -> None:
    """Let a worker's stream begin two samples later, through what torch tells about it."""
    get_worker_info().dataset.first += 2


def packed(samples: list[dict[str, Any]]) -> dict[str, Any]:
    """Samples whose inputs come before their names."""
    return dict(reversed(default_collate(samples).items()))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_workers": 1},
        {"num_workers": 2, "persistent_workers": True, "prefetch_factor": 4},
        {"num_workers": 4},
    ],
    ids=str,
)
def test_worker_processes_read_ahead(trial: Any, options: dict[str, Any]) -> None:
    with trial.observe() as run:
        trial.epochs(run.watch(trial.loader(**options)))
    trial.assert_as_judged()


@pytest.mark.parametrize(
    "made",
    [
        lambda samples: {"batch_size": 7, "drop_last": True},
        lambda samples: {"shuffle": False},
        lambda samples: {"collate_fn": packed},
        lambda samples: {"sampler": Repeating(samples), "batch_size": 5},
        lambda samples: {"sampler": torch.randperm(RECORDS), "batch_size": 5},
        lambda samples: {"batch_sampler": BatchSampler(RandomSampler(samples), 5, False)},
        lambda samples: {"batch_sampler": [[0, 1, 2], [2, 3], [11, 0]]},
        lambda samples: {"dataset": Subset(samples, [10, 3, 4, 9, 11, 0])},
        lambda samples: {"dataset": random_split(samples, [0.5, 0.5])[1]},
        lambda samples: {"dataset": Subset(Subset(samples, range(2, 12)), range(0, 10, 3))},
        lambda samples: {
            "dataset": ConcatDataset([Subset(samples, range(5)), Subset(samples, range(5, 12))])
        },
    ],
    ids=[
        *("drop_last", "in order", "collate", "padding", "tensor sampler", "batch sampler"),
        *("listed batches", "subset", "split", "subset of a subset", "joined"),
    ],
)
def test_items_are_records_by_their_row(trial: Any, made: Any) -> None:
    with trial.observe() as run:
        trial.epochs(run.watch(trial.loader(**made(trial.samples))))
    trial.assert_as_judged()


@pytest.mark.parametrize(
    ("record", "workers"),
    [("id", 0), ("id", 2), (lambda sample: sample["id"], 0)],
    ids=["key", "key in workers", "function"],
)
def test_samples_that_come_in_another_order_name_their_record(
    trial: Any, record: Any, workers: int
) -> None:
    loader = trial.loader(Reversed(trial.samples), num_workers=workers)
    with trial.observe() as run:
        trial.epochs(run.watch(loader, record=record))
    trial.assert_as_judged()


@pytest.mark.parametrize(("workers", "start"), [(0, None), (2, None), (2, later)])
def test_streams_name_their_records(trial: Any, workers: int, start: Any) -> None:
    loader = trial.loader(
        Stream(trial.samples), shuffle=False, num_workers=workers, worker_init_fn=start
    )
    with trial.observe() as run:
        trial.epochs(run.watch(loader, record="id"))
    trial.assert_as_judged()
    assert (trial.recorded()[0] == set()) == (start is later)


def test_a_loader_without_batches_gives_single_records(trial: Any) -> None:
    with trial.observe() as run:
        for sample in run.watch(trial.loader(batch_size=None)):
            trial.learn({"x": sample["x"][None], "number": torch.tensor([sample["number"]])})
        for sample in run.watch(trial.loader(Stream(trial.samples), batch_size=None), record="id"):
            trial.learn({"x": sample["x"][None], "number": torch.tensor([sample["number"]])})
    trial.assert_as_judged()


class Together(Dataset[dict[str, Any]]):
    """Gives several samples for a list of places, already collated."""

    def __init__(self, samples: Any) -> None:
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, places: list[int]) -> Any:
        return default_collate([self.samples[place] for place in places])


@pytest.mark.parametrize("record", [None, "id"])
def test_a_dataset_that_makes_batches_itself(trial: Any, record: str | None) -> None:
    together = Together(trial.samples)
    sampler = BatchSampler(SequentialSampler(together), 5, False)
    loader = trial.loader(together, sampler=sampler, batch_size=None)
    with trial.observe() as run:
        trial.epochs(run.watch(loader, record=record))
    trial.assert_as_judged()


def numbers_of(sample: dict[str, Any]) -> Any:
    """The ids of a sample's records."""
    return sample["ids"]


@pytest.mark.parametrize("kind", [list, np.array])
def test_a_sample_made_of_several_documents_names_them_all(trial: Any, kind: Any) -> None:
    rows = trial.samples.rows
    pieces = [
        {"number": number, "ids": kind([row["id"] for row in rows[number : number + 3]])}
        for number in range(0, RECORDS, 2)
    ]

    def collate(samples: list[dict[str, Any]]) -> dict[str, Any]:
        documents = [n for s in samples for n in range(s["number"], min(s["number"] + 3, RECORDS))]
        return {"number": torch.tensor(documents), "x": torch.ones(len(documents), 1)}

    loader = trial.loader(pieces, collate_fn=collate)
    with trial.observe() as run:
        trial.epochs(run.watch(loader, record=numbers_of))
    trial.assert_as_judged()


def test_a_loader_that_is_not_watched_leaves_no_visit(trial: Any) -> None:
    with trial.observe() as run:
        loader = run.watch(trial.loader(Subset(trial.samples, range(6))))
        for _ in range(2):
            trial.epochs(loader, 1)
            with torch.no_grad():
                losses = [trial.loss(batch) for batch in trial.loader()]
            run.evaluated(loss=float(torch.stack(losses).sum()))
    trial.assert_as_judged()
    assert not any(trial.recorded()[number] for number in range(6, RECORDS))


def test_two_loaders_in_turn(trial: Any) -> None:
    with trial.observe() as run:
        labelled = run.watch(trial.loader(Subset(trial.samples, range(7))))
        others = run.watch(trial.loader(Subset(trial.samples, range(7, RECORDS)), batch_size=3))
        for _ in range(2):
            for one, other in zip(labelled, others, strict=False):
                trial.optimizer.zero_grad()
                (trial.loss(one) + trial.loss(other)).backward()
                trial.optimizer.step()
    trial.assert_as_judged()


def test_the_watched_loader_is_the_loader_in_everything_else(trial: Any) -> None:
    loader = trial.loader(num_workers=2, prefetch_factor=3)
    with trial.observe() as run:
        watched = run.watch(loader)
        assert (len(watched), watched.batch_size, watched.prefetch_factor) == (3, 5, 3)
        assert watched.dataset.rows is trial.samples.rows
        assert isinstance(watched.sampler, RandomSampler)
        (first,) = {type(batch) for batch in watched}
        assert first is dict
        trial.epochs(watched, 1)

"""What the loops train on: twelve registered records, as samples of many forms."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, get_worker_info

from tests.lineage.loops.oracle import RECORDS

IDS = tuple(f"r{number:02d}" for number in range(RECORDS))

Sample = dict[str, Any]
Batch = dict[str, Any]


def write_rows(path: Path) -> Path:
    """Write the file that is registered: a row a record."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["rid", "number", "y"])
        writer.writerows((IDS[n], n, target(n)) for n in range(RECORDS))
    return path


def target(number: int) -> float:
    """What the model shall say of a record; no weight ever gets there, so gradients stay."""
    return 8.0 + number / 4


def feature(number: int) -> Tensor:
    """The input of a record (RECORDS,): its own feature, and nothing else."""
    return torch.zeros(RECORDS).index_fill_(0, torch.tensor([number]), 1.0)


def sample(number: int) -> Sample:
    """A record as a sample."""
    return {
        "rid": IDS[number],
        "number": number,
        "x": feature(number),
        "y": torch.tensor(target(number)),
    }


class Items(Dataset[Sample]):
    """Some records as samples, in an order."""

    def __init__(self, numbers: Sequence[int] = range(RECORDS)) -> None:
        self.numbers = list(numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, item: int) -> Sample:
        return sample(self.numbers[item])


class Tuples(Items):
    """The same as tuples: id, input, target."""

    def __getitem__(self, item: int) -> Any:
        made = sample(self.numbers[item])
        return made["rid"], made["x"], made["y"]


class Stream(IterableDataset[Sample]):
    """Some records as a stream, of which each worker gives its share."""

    def __init__(self, numbers: Sequence[int] = range(RECORDS)) -> None:
        self.numbers = list(numbers)

    def __iter__(self) -> Any:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        return map(sample, self.numbers[first::step])

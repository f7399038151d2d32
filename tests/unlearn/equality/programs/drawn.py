"""Readers of handwritten digits whose batches come in an order that no function knows."""

from collections.abc import Callable, Iterator
from hashlib import sha256

import numpy as np
import torch
from mnist import fully_connected
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

import lineage
from lineage.integrations.torch import Rows, loaded

GIVEN: list[tuple[int, list[str]]] = []
"""The step and the images of every batch that was trained on, in order."""

BEFORE: dict[int, Callable[[], object]] = {}
"""What happens before the batch of a step, once."""

BATCH = 32


class Curriculum:
    """Batches of four fifths of the rows, and then of all: some come late."""

    def __init__(self, rows: int) -> None:
        self.rows, self.early = rows, rows * 4 // 5

    def __len__(self) -> int:
        return -(-(self.early + self.rows) // BATCH)

    def __iter__(self) -> Iterator[np.ndarray]:
        passes = np.random.permutation(self.early), np.random.permutation(self.rows)
        return iter(np.split(np.concatenate(passes), range(BATCH, self.early + self.rows, BATCH)))


class Images(Dataset[tuple[str, Tensor, int]]):
    """Images with noise, from the rows of a run."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> tuple[str, Tensor, int]:
        row = self.rows[number]
        return mark(row["pixels"]), noisy(row["pixels"]), int(row["digit"])


class Reader:
    """A network with dropout and batch normalisation, and Adam: every batch leaves its mark."""

    def __init__(self) -> None:
        self.model = fully_connected()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=2e-3)

    def learn(self, images: Tensor, digits: Tensor) -> None:
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.model(images), digits).backward()
        self.optimizer.step()


def mark(image: np.ndarray) -> str:
    """What tells an image from others."""
    return sha256(image.tobytes()).hexdigest()


def noisy(image: np.ndarray) -> Tensor:
    """An image as floats, with noise that torch draws."""
    return plain(image) + 0.1 * torch.rand(784)


def plain(image: np.ndarray) -> Tensor:
    """Images as floats in 0…1."""
    return torch.from_numpy(image.astype(np.float32) / 255)


def _given(run: lineage.Run, marks: list[str]) -> None:
    BEFORE.pop(run.step, lambda: None)()
    GIVEN.append((run.step, marks))


@lineage.program
def sampled(run: lineage.Run) -> None:
    """Read in the order of a sampler of one's own."""
    few, reader = run.dataset("few"), Reader()
    run.track(model=reader.model, optimizer=reader.optimizer)
    run.draw(Curriculum(len(few)))
    for batch in run.batches(few):
        _given(run, list(map(mark, batch["pixels"])))
        reader.learn(plain(batch["pixels"]), torch.from_numpy(batch["digit"]))


@lineage.program
def shuffled(run: lineage.Run) -> None:
    """Read what a shuffling loader reads, in this process or in others."""
    few, reader = run.dataset("few"), Reader()
    run.track(model=reader.model, optimizer=reader.optimizer)
    images = Images(Rows(run, few, ["pixels", "digit"]))
    loader = DataLoader(images, 2 * BATCH, shuffle=True, num_workers=run.config.workers)
    for marks, pictures, digits in loaded(run, few, loader):
        _given(run, list(marks))
        reader.learn(pictures, digits)

"""Time what watching adds to real training loops: MNIST by a small MLP and by a CNN, ids by key.

The same loop trains two equal networks, epoch by epoch in turns: one on a watched loader, one on a
plain one, each in a process of its own. What is compared is the processor time of an epoch, all
threads together; what beginning and ending a watched run takes, with its checkpoint, is told apart.
One thread computes.

python benchmarks/watching.py [--epochs 8] [--json out.json]
"""

import argparse
import gzip
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from report import Figure, finish
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lineage
from lineage.integrations.torch import observe

BATCH = 128
RECORDS = 60_000
DATASET = "mnist"
FIXED = 0.1
Loop = Callable[[Iterable[Any]], None]

spawn = multiprocessing.get_context("spawn")


class Images(Dataset[dict[str, Any]]):
    """MNIST in memory; a sample names its record."""

    def __init__(self, folder: Path) -> None:
        self.pixels = torch.from_numpy(idx(folder / "mnist-train-images-idx3-ubyte.gz", 16))
        self.pixels = self.pixels.view(-1, 1, 28, 28).float() / 255
        self.digits = idx(folder / "mnist-train-labels-idx1-ubyte.gz", 8).astype(int).tolist()

    def __len__(self) -> int:
        return len(self.digits)

    def __getitem__(self, item: int) -> dict[str, Any]:
        return {"id": item, "pixels": self.pixels[item], "digit": self.digits[item]}


@dataclass
class Network:
    """A network and the target of its ratio."""

    make: Callable[[], nn.Module]
    target: float


def mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))


def cnn() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 16, 3), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(400, 64), nn.ReLU(), nn.Linear(64, 10)),
    )


NETWORKS = {"MLP": Network(mlp, 1.05), "CNN": Network(cnn, 1.03)}


def idx(file: Path, header: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(gzip.decompress(file.read_bytes()), np.uint8, offset=header).copy()


def trained(network: Network) -> tuple[nn.Module, torch.optim.Optimizer, Loop]:
    """A network, its optimizer, and the loop that trains it for an epoch."""
    torch.manual_seed(0)
    model = network.make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def epoch(loader: Iterable[Any]) -> None:
        for batch in loader:
            loss = nn.functional.cross_entropy(model(batch["pixels"]), batch["digit"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return model, optimizer, epoch


def loader_of(images: Images) -> DataLoader[Any]:
    generator = torch.Generator().manual_seed(0)
    return DataLoader(images, batch_size=BATCH, shuffle=True, generator=generator)


def seconds(act: Callable[[], object]) -> float:
    """Processor time of all threads."""
    began = time.process_time()
    act()
    return time.process_time() - began


def plain(images: Images, network: Network, epochs: int) -> Iterator[float]:
    """Train on a plain loader; gives the seconds of each epoch."""
    _, _, epoch = trained(network)
    loader = loader_of(images)
    for _ in range(epochs):
        yield seconds(lambda: epoch(loader))


def watched(
    images: Images, network: Network, epochs: int, store: lineage.Store, name: str
) -> Iterator[float]:
    """Train on a watched loader; gives the seconds of beginning, of each epoch, and of the end."""
    model, optimizer, epoch = trained(network)
    retrain = [sys.executable, __file__]
    watch = observe(store, DATASET, name, optimizer=optimizer, retrain=retrain, model=model)
    began = time.process_time()
    with watch as run:
        loader = run.watch(loader_of(images), record="id")
        yield time.process_time() - began
        for _ in range(epochs):
            yield seconds(lambda: epoch(loader))
        began = time.process_time()
    yield time.process_time() - began


def train(turns: Connection, name: str, epochs: int, data: Path, store: Path | None) -> None:
    """Train in this process, a turn whenever one is asked for; tells what each took."""
    torch.set_num_threads(1)
    images, network = Images(data), NETWORKS[name]
    with ExitStack() as opened:
        if store is None:
            told = plain(images, network, epochs)
        else:
            told = watched(
                images, network, epochs, opened.enter_context(lineage.Store.open(store)), name
            )
        turns.recv()
        for taken in told:
            turns.send(taken)
            turns.recv()


class Trainer:
    """A process that trains in turns with another."""

    def __init__(self, *what: Any) -> None:
        self._turns, theirs = spawn.Pipe()
        self._process = spawn.Process(target=train, args=(theirs, *what), daemon=True)
        self._process.start()

    def turn(self) -> float:
        """Let it go on to the next point; returns the seconds that it took."""
        self._turns.send(None)
        taken: float = self._turns.recv()
        return taken

    def end(self) -> None:
        self._turns.send(None)
        self._process.join()


def measure(name: str, epochs: int, data: Path, store: Path) -> dict[str, Any]:
    trainers = {
        "plain": Trainer(name, epochs, data, None),
        "watched": Trainer(name, epochs, data, store),
    }
    took: dict[str, list[float]] = {side: [] for side in trainers}
    begin = trainers["watched"].turn()
    for number in range(epochs):
        for side in sorted(trainers, reverse=bool(number % 2)):
            took[side].append(trainers[side].turn())
    end = trainers["watched"].turn()
    for trainer in trainers.values():
        trainer.end()
    return {"begin_s": begin, "end_s": end, **took}


def figures_of(name: str, target: float, found: dict[str, Any]) -> list[Figure]:
    plain, watched = sum(found["plain"]), sum(found["watched"])
    steps = len(found["plain"]) * math.ceil(RECORDS / BATCH)
    ratios = [ours / own for ours, own in zip(found["watched"], found["plain"], strict=True)]
    return [
        Figure(f"{name}: a plain step", 1e3 * plain / steps, "ms"),
        Figure(f"{name}: watched over plain, all epochs", watched / plain, "×", target),
        Figure(f"{name}: the same, median epoch", median(ratios), "×"),
        Figure(
            f"{name}: begin and end a watched run", found["begin_s"] + found["end_s"], "s", FIXED
        ),
    ]


def register(path: Path, ids: Path) -> None:
    """Make a store that knows the records of MNIST."""
    pq.write_table(pa.table({"id": np.arange(RECORDS)}), ids)
    with lineage.Store.create(path) as store:
        lineage.add_dataset(store, DATASET, ids, id_columns=("id",))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="also write the result to this file")
    parser.add_argument("--epochs", type=int, default=8, help="epochs of each network")
    options = parser.parse_args()
    data = Path(os.environ.get("EXPUNGE_DATA", "../shared/data"))
    if not (data / "mnist-train-images-idx3-ubyte.gz").is_file():
        print(f"skipped: no MNIST in {data}", file=sys.stderr)
        return
    results, figures = {}, []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store")
        register(path, Path(folder, "ids.parquet"))
        for name, network in NETWORKS.items():
            results[name] = measure(name, options.epochs, data, path)
            figures += figures_of(name, network.target, results[name])
    settings = {"batch": BATCH, "epochs": options.epochs, "torch": torch.__version__}
    finish("watching", figures, results, options.json, **settings)


if __name__ == "__main__":
    main()

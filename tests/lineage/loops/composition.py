"""Loops composed of parts: a dataset, an order, a loader, a batch, a wrapper, an update."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import chain, count, cycle, islice
from typing import Any

import torch
from torch.optim import SGD, Adam
from torch.utils.data import ConcatDataset, RandomSampler, Subset, default_collate, random_split

from tests.lineage.loops.harness import By, Env
from tests.lineage.loops.oracle import RECORDS, WeightEach
from tests.lineage.loops.samples import Batch, Stream, sample
from tests.lineage.loops.shape import ANY, BOUNDED, EXACT, Allowed
from tests.lineage.loops.shapes import containers, subclasses, wrappers
from tests.lineage.loops.shapes.datasets import Wrapping
from tests.lineage.loops.updating import ADDING_UP, Update

DATASETS: dict[str, Callable[[Env], Any]] = {
    "items": lambda env: env.items,
    "a list": lambda env: [sample(number) for number in range(RECORDS)],
    "a subset": lambda env: Subset(env.items, [7, 3, 3, 10, 2, 11]),
    "a subset of a subset": lambda env: Subset(Subset(env.items, range(1, 9)), [5, 0, 2, 3]),
    "a wrapped dataset": lambda env: Wrapping(env.items),
    "a list that is used up": lambda env: containers.Together(),
    "parts put together": lambda env: ConcatDataset(random_split(env.items, [9, 3])),
    "a stream": lambda env: Stream(),
}


class Lists:
    """A batch sampler that makes its lists anew in each epoch."""

    def __iter__(self) -> Iterator[list[int]]:
        return iter([[3, 1], [0, 1, 2], [2]])

    def __len__(self) -> int:
        return 3


ORDERS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "in order": lambda _: {"batch_size": 3},
    "shuffled": lambda _: {"batch_size": 3, "shuffle": True},
    "shuffled, without a last short batch": lambda _: {
        "batch_size": 4,
        "shuffle": True,
        "drop_last": True,
    },
    "with replacement": lambda dataset: {
        "batch_size": 2,
        "sampler": RandomSampler(dataset, replacement=True, num_samples=7),
    },
    "by lists": lambda _: {"batch_sampler": Lists()},
}

LOADERS: dict[str, type[Any]] = {
    "torch's": torch.utils.data.DataLoader,
    "a class that changes nothing": subclasses.Lengthened,
    "a generator": subclasses.Generating,
    "one that drops its first batch": subclasses.WithoutFirst,
    "one that reads ahead": subclasses.Ahead,
    "one that turns round": subclasses.Backwards,
    "one that repeats": subclasses.Repeating,
}

Collate = Callable[[Any], Any] | None
Unpack = Callable[[Any], Batch]

CONTAINERS: dict[str, tuple[Collate, Unpack]] = {
    "a dict": (None, lambda batch: batch),
    "a tuple": (containers.as_pair, lambda batch: {"x": batch[0], "y": batch[1]}),
    "a dataclass": (containers.as_dataclass, lambda batch: {"x": batch.x, "y": batch.y}),
    "a named tuple": (containers.as_named_tuple, lambda batch: batch._asdict()),
    "samples": (containers.as_list, default_collate),
    "one tensor": (containers.as_tensor, lambda x: {"x": x, "y": torch.full((len(x),), 9.0)}),
}
"""How samples are collated, and what a loop makes of that."""

Wrap = Callable[[Any, int], Iterator[Any]]


def _epochs(wrap: Callable[[Any], Any]) -> Wrap:
    return lambda loader, epochs: chain.from_iterable(wrap(loader) for _ in range(epochs))


WRAPPERS: dict[str, Wrap] = {
    "nothing": _epochs(iter),
    "enumerate": _epochs(lambda loader: (batch for _, batch in enumerate(loader))),
    "zip": _epochs(lambda loader: (b for b, _ in zip(loader, count(), strict=False))),
    "cycle": lambda loader, epochs: islice(cycle(loader), 3 * epochs),
    "a bar": _epochs(wrappers.Progress),
    "a list": lambda loader, epochs: iter(list(loader) * epochs),
    "one ahead": _epochs(wrappers.ahead),
    "two ahead": _epochs(lambda loader: wrappers.ahead(loader, 2)),
    "a thread": _epochs(lambda loader: wrappers.threads(loader, 2)),
}

OPTIMIZERS: dict[str, Callable[[Env], Any]] = {
    "SGD": lambda env: env.optimizer,
    "another SGD": lambda env: env.follow(SGD(env.model.parameters(), lr=0.05)),
    "Adam": lambda env: env.follow(Adam(env.model.parameters(), lr=0.1), "gradients"),
    "SGD, and another model's": lambda env: env.optimizer,
}


@dataclass(frozen=True, slots=True)
class Composition:
    """A loop, by the names of its parts."""

    dataset: str
    order: str
    loader: str
    container: str
    wrapper: str
    update: str
    optimizer: str
    by: By
    workers: int
    epochs: int

    def is_possible(self) -> bool:
        """Return whether there is such a loop: streams have no order, and no rows."""
        stream = self.dataset == "a stream"
        return not stream or (self.order == "in order" and self.by == "key")

    def allowed(self) -> Allowed:
        """Return what may be told of it: the truth, where nothing in it leaves that open."""
        if not all(getattr(self, part) in names for part, names in COMMON.items()):
            return ANY
        return BOUNDED if self.update in IN_DOUBT else EXACT

    def __call__(self, env: Env) -> None:
        """Run the loop."""
        dataset = DATASETS[self.dataset](env)
        collate, unpack = CONTAINERS[self.container]
        options = ORDERS[self.order](dataset) | {"collate_fn": collate, "num_workers": env.workers}
        loader = LOADERS[self.loader](dataset, **options)
        optimizer, second, other = OPTIMIZERS[self.optimizer](env), None, WeightEach(env.oracle)
        given: dict[str, Any] = {"optimizer": optimizer}
        if self.optimizer.endswith("another model's"):
            second = env.follow(SGD(other.parameters(), lr=0.1))
            given = {"optimizer": [optimizer, second], "other": other}
        with env.observe(**given) as run:
            watched = run.watch(loader, **env.named)
            update = Update(env, run, optimizer)
            for batch in WRAPPERS[self.wrapper](watched, self.epochs):
                made = unpack(batch)
                ADDING_UP[self.update](update, made)
                if second is not None:
                    second.zero_grad()
                    env.loss(made, other).backward()
                    second.step()
            update.end()

    def __str__(self) -> str:
        return ", ".join(f"{each.name}: {getattr(self, each.name)}" for each in fields(self))


COMMON: dict[str, set[str]] = {
    "dataset": DATASETS.keys() - {"parts put together"},
    "loader": {"torch's", "a class that changes nothing"},
    "wrapper": {"nothing", "enumerate", "zip", "cycle", "a bar"},
    "update": {"each batch", "two batches", "two losses", "set to zero", "assigned", "clipped"},
    "optimizer": {"SGD", "another SGD", "Adam"},
}
"""The parts with which a loop must be told exactly, but for those in doubt."""

IN_DOUBT = {"set to zero", "assigned"}
"""Ways of common loops that may be told as bounds, and never worse. Zeros outlast a step, and are
looked at from the second time on; gradients that are assigned are of no backward pass."""

"""Datasets that keep data of their samples, and what is read of them beside a batch."""

from typing import Any

import torch
from torch.utils.data import default_collate, get_worker_info

from tests.lineage.loops.harness import Env
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import Items, Sample, Stream, Tuples
from tests.lineage.loops.shape import ADMITTED, BOUNDED, KEY, REFUSED, shape
from tests.lineage.loops.shapes.datasets import Wrapping

BOTH = (0, 2)
TWO = (2,)


def _trains(env: Env, dataset: Any) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(dataset, shuffle=True), **env.named))


class AddsUp(Items):
    """Gives the sum of all samples that were read so far, out of a tensor of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(RECORDS)

    def __getitem__(self, item: int) -> Sample:
        made = super().__getitem__(item)
        self.add(made["x"])
        return {**made, "x": self.total.clone()}

    def add(self, x: torch.Tensor) -> None:
        self.total += x


class Replaces(AddsUp):
    """The same, in a new tensor each time."""

    def add(self, x: torch.Tensor) -> None:
        self.total = self.total + x


@shape(
    "adds its samples up in a tensor of the dataset", allowed=ADMITTED, by_row=REFUSED, quick=BOTH
)
def adds_up(env: Env) -> None:
    _trains(env, AddsUp())


@shape(
    "adds its samples up in ever new tensors of a dataset inside", allowed=ADMITTED, by_row=REFUSED
)
def adds_up_inside(env: Env) -> None:
    _trains(env, Wrapping(Replaces()))


class AddsUpStream(Stream):
    """Gives the sum of all samples so far, as a stream."""

    def __init__(self) -> None:
        super().__init__()
        self.total = torch.zeros(RECORDS)

    def __iter__(self) -> Any:
        for made in super().__iter__():
            self.total += made["x"]
            yield {**made, "x": self.total.clone()}


@shape("adds its samples up in a tensor of the stream", by=KEY, allowed=ADMITTED)
def adds_up_stream(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(AddsUpStream()), **env.named))


class Lazy(Items):
    """Makes its table when it is first asked."""

    table: torch.Tensor | None = None

    def __getitem__(self, item: int) -> Sample:
        if self.table is None:
            self.table = torch.eye(RECORDS)
        return {**super().__getitem__(item), "x": self.table[item]}


@shape("reads its table when it is first asked")
def lazy(env: Env) -> None:
    _trains(env, Lazy())


def _with_the_first(samples: list[Sample]) -> Any:
    """Add the first record to each sample, through the worker's own dataset."""
    about = get_worker_info()
    batch = default_collate(samples)
    return {**batch, "x": batch["x"] + about.dataset[0]["x"] if about else batch["x"]}


@shape(
    "reads another item in the collate function, through its worker", workers=TWO, allowed=BOUNDED
)
def reads_beside(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(collate_fn=_with_the_first), **env.named))


def _pairs_with_the_first(samples: list[Any]) -> Any:
    about = get_worker_info()
    first = about.dataset[0][1] if about else torch.zeros(RECORDS)
    return torch.stack([x + first for _, x, _ in samples]), torch.stack([y for *_, y in samples])


@shape(
    "reads another tuple in the collate function, through its worker", workers=TWO, allowed=BOUNDED
)
def reads_tuples_beside(env: Env) -> None:
    with env.observe() as run:
        loader = env.loader(Tuples(), collate_fn=_pairs_with_the_first)
        for x, y in run.watch(loader, **env.named_tuples):
            env.learn({"x": x, "y": y})

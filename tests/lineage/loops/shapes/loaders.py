"""Loaders: how their batches are drawn, and how many are read ahead."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DistributedSampler,
    RandomSampler,
    SequentialSampler,
    WeightedRandomSampler,
)

from tests.lineage.loops.harness import Env
from tests.lineage.loops.oracle import RECORDS
from tests.lineage.loops.samples import Items, Sample
from tests.lineage.loops.shape import BOUNDED, REFUSED, TOLD, shape

ZERO = (0,)
BOTH = (0, 2)
TWO = (2,)


@shape("goes through a loader in order, for two epochs", quick=BOTH)
def plain(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(), **env.named))


@shape("shuffles", quick=BOTH)
def shuffled(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(shuffle=True), **env.named))


@shape("watches the loader again in each epoch")
def watched_each_epoch(env: Env) -> None:
    loader = env.loader(shuffle=True)
    with env.observe() as run:
        for _ in range(2):
            env.train(run.watch(loader, **env.named), 1)


@shape("has a batch sampler of its own", quick=BOTH)
def batch_sampler(env: Env) -> None:
    batches = BatchSampler(RandomSampler(env.items), 5, drop_last=False)
    with env.observe() as run:
        env.train(run.watch(env.loader(batch_sampler=batches), **env.named))


@shape("gives the batches as a list of lists")
def listed_batches(env: Env) -> None:
    batches = [[3, 1], [4, 1, 5], [9, 2, 6, 5]]
    with env.observe() as run:
        env.train(run.watch(env.loader(batch_sampler=batches), **env.named))


class OneList:
    """A batch sampler that fills the same list again for each batch."""

    def __iter__(self) -> Iterator[list[int]]:
        batch: list[int] = []
        for start in range(0, RECORDS, 4):
            batch[:] = torch.randperm(RECORDS)[: 2 + start // 4].tolist()
            yield batch

    def __len__(self) -> int:
        return 3


@shape("has a sampler that uses its list again", workers=ZERO)
def sampler_reuses_its_list(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(batch_sampler=OneList()), **env.named))


@shape("draws with replacement")
def with_replacement(env: Env) -> None:
    sampler = RandomSampler(env.items, replacement=True, num_samples=9)
    with env.observe() as run:
        env.train(run.watch(env.loader(sampler=sampler), **env.named))


@shape("draws by weights")
def weighted(env: Env) -> None:
    sampler = WeightedRandomSampler(range(1, RECORDS + 1), 9)
    with env.observe() as run:
        env.train(run.watch(env.loader(sampler=sampler), **env.named))


@shape("drops the last short batch", quick=BOTH)
def drop_last(env: Env) -> None:
    with env.observe() as run:
        loader = env.loader(batch_size=5, shuffle=True, drop_last=True)
        env.train(run.watch(loader, **env.named))


@shape("tells a distributed sampler of each epoch")
def distributed_sampler(env: Env) -> None:
    sampler: Any = DistributedSampler(env.items, num_replicas=5, rank=3)  # which pads
    with env.observe() as run:
        loader = run.watch(env.loader(sampler=sampler, batch_size=2), **env.named)
        for epoch in range(2):
            loader.sampler.set_epoch(epoch)
            env.train(loader, 1)


@shape("keeps its workers", workers=TWO, quick=TWO)
def persistent_workers(env: Env) -> None:
    with env.observe() as run:
        loader = env.loader(shuffle=True, persistent_workers=True)
        env.train(run.watch(loader, **env.named))


@shape("has workers that read far ahead, and breaks the first epoch off", workers=TWO, quick=TWO)
def reads_far_ahead(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(batch_size=1, prefetch_factor=4), **env.named)
        for number, batch in enumerate(loader):
            env.learn(batch)
            if number == 2:
                break
        env.train(loader, 1)


@shape("has workers that stay, and read little ahead", workers=TWO, quick=())
def reads_little_ahead(env: Env) -> None:
    with env.observe() as run:
        loader = env.loader(persistent_workers=True, prefetch_factor=1)
        env.train(run.watch(loader, **env.named))


@shape("takes samples one by one, without batches", quick=BOTH)
def without_batches(env: Env) -> None:
    with env.observe() as run:
        for one in run.watch(env.loader(batch_size=None), **env.named):
            env.learn({"x": one["x"][None], "y": one["y"][None]})


class Noisy(Items):
    """Samples with a random part, as augmentation makes them."""

    def __getitem__(self, item: int) -> Sample:
        made = super().__getitem__(item)
        return {**made, "x": made["x"] * (1 + torch.rand(1))}


@shape("draws random numbers in its dataset")
def augmentation(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Noisy(), shuffle=True), **env.named))


@shape("breaks an epoch off, and begins another", quick=BOTH)
def broken_off(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for number, batch in enumerate(loader):
            env.learn(batch)
            if number == 1:
                break
        env.train(loader, 1)


@shape("breaks an epoch off at a batch that it does not use", allowed=BOUNDED)
def broken_off_unused(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for number, batch in enumerate(loader):
            if number == 2:
                break
            env.learn(batch)
        env.train(loader, 1)


@shape("goes on after an error inside an epoch, at a batch that is not used", allowed=BOUNDED)
def error_inside(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        try:
            for number, batch in enumerate(loader):
                if number == 2:
                    raise OSError("the disk is full")
                env.learn(batch)
        except OSError:
            env.train(loader, 1)


@shape("takes a batch of two iterators of one loader in turn", quick=BOTH, allowed=BOUNDED)
def two_iterators(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for pair in zip(iter(loader), iter(loader), strict=True):
            for batch in pair:
                env.learn(batch)


@shape("looks at the first batch before it trains", allowed=TOLD)
def looks_at_one(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        next(iter(loader))
        env.train(loader, 1)


@shape("watches a loader that is begun", quick=BOTH)
def already_begun(env: Env) -> None:
    loader = env.loader(shuffle=True)
    next(iter(loader))
    with env.observe() as run:
        env.train(run.watch(loader, **env.named), 1)


@shape("watches a loader whose workers run already", workers=TWO, allowed=REFUSED)
def already_begun_workers(env: Env) -> None:
    loader = env.loader(persistent_workers=True)
    next(iter(loader))
    with env.observe() as run:
        env.train(run.watch(loader, **env.named), 1)


@shape("watches an iterator of a loader", allowed=REFUSED)
def iterator_only(env: Env) -> None:
    begun = iter(env.loader())
    with env.observe() as run:
        env.train(run.watch(begun, **env.named), 1)


@shape("watches a list of batches", allowed=REFUSED, workers=ZERO)
def list_of_batches(env: Env) -> None:
    batches = list(env.loader())
    with env.observe() as run:
        env.train(run.watch(batches, **env.named), 1)


@shape("asks a watched loader for its length, batch size, dataset and sampler")
def asks_for_attributes(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(sampler=SequentialSampler(env.items)), **env.named)
        steps = len(loader) * loader.batch_size
        assert steps == len(loader.dataset) == len(loader.sampler)
        env.train(loader, 1)

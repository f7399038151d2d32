"""Streams: datasets without numbers, whose samples say who they are."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch.utils.data import ChainDataset, IterableDataset, default_collate

from tests.lineage.loops.harness import Env
from tests.lineage.loops.samples import Sample, Stream
from tests.lineage.loops.shape import KEY, REFUSED, ROW, shape

BOTH = (0, 2)


@shape("reads a stream, of which each worker has its share", by=KEY, quick=BOTH)
def stream(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Stream()), **env.named))


@shape("reads a stream without saying what names its samples", by=ROW, allowed=REFUSED)
def stream_unnamed(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Stream())))


class Buffered(Stream):
    """A stream that is shuffled in a buffer."""

    def __iter__(self) -> Iterator[Sample]:
        buffer: list[Sample] = []
        for each in super().__iter__():
            buffer.append(each)
            if len(buffer) == 4:
                yield buffer.pop(int(torch.randint(4, ())))
        yield from buffer


@shape("shuffles a stream in a buffer", by=KEY)
def shuffled_stream(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Buffered()), **env.named))


@shape("chains two streams", by=KEY)
def chained_streams(env: Env) -> None:
    chained = ChainDataset([Stream(range(5)), Stream(range(5, 12))])
    with env.observe() as run:
        env.train(run.watch(env.loader(chained), **env.named))


@shape("takes the samples of a stream one by one", by=KEY)
def stream_without_batches(env: Env) -> None:
    with env.observe() as run:
        for one in run.watch(env.loader(Stream(), batch_size=None), **env.named):
            env.learn({"x": one["x"][None], "y": one["y"][None]})


class Batches(IterableDataset[Any]):
    """A stream of whole batches."""

    def __iter__(self) -> Iterator[Any]:
        samples = list(Stream())
        for start in range(0, len(samples), 4):
            yield default_collate(samples[start : start + 4])


@shape("reads a stream of whole batches, each with a list of ids", by=KEY)
def stream_of_batches(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(env.loader(Batches(), batch_size=None), **env.named), 1)


@shape("takes some batches of an endless stream", by=KEY, quick=BOTH)
def endless_stream(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(Endless()), **env.named)
        for batch in islice(loader, 7):
            env.learn(batch)


class Endless(Stream):
    """A stream that never ends."""

    def __iter__(self) -> Iterator[Sample]:
        while True:
            yield from super().__iter__()

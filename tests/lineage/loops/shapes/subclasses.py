"""Loaders of a class of the user's own, which goes through them in its own way."""

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader

from tests.lineage.loops.harness import Env
from tests.lineage.loops.samples import Batch
from tests.lineage.loops.shape import BOUNDED, EXACT_OR_REFUSED, WHOLE, shape


def _own(env: Env, kind: Any, **options: Any) -> Any:
    return kind(env.items, batch_size=3, num_workers=env.workers, shuffle=True, **options)


def _trains(env: Env, kind: Any) -> None:
    with env.observe() as run:
        env.train(run.watch(_own(env, kind), **env.named))


class WithoutFirst(DataLoader[Any]):
    """Drops its first batch."""

    def __iter__(self) -> Any:
        batches = super().__iter__()
        next(batches)
        return batches


@shape("drops its first batch", allowed=EXACT_OR_REFUSED)
def drops_first(env: Env) -> None:
    _trains(env, WithoutFirst)


class Generating(DataLoader[Any]):
    """Gives its batches from a generator."""

    def __iter__(self) -> Any:
        yield from super().__iter__()


@shape("gives its batches from a generator", allowed=EXACT_OR_REFUSED, quick=(0, 2))
def generating(env: Env) -> None:
    _trains(env, Generating)


class Doubling(DataLoader[Any]):
    """Changes its batches on the way."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            yield {"x": batch["x"] * 2, "y": batch["y"] * 2}


@shape("makes other batches of its batches", allowed=EXACT_OR_REFUSED)
def doubling(env: Env) -> None:
    _trains(env, Doubling)


class Transforming(DataLoader[Any]):
    """Changes its batches in place."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            batch["x"] = batch["x"] + batch["x"] * torch.rand(1)
            yield batch


@shape("changes its batches in place", allowed=EXACT_OR_REFUSED)
def transforming(env: Env) -> None:
    _trains(env, Transforming)


class Twice(DataLoader[Any]):
    """Goes twice through its batches in an epoch."""

    def __iter__(self) -> Any:
        yield from super().__iter__()
        yield from super().__iter__()


@shape("goes twice through its batches in an epoch", allowed=EXACT_OR_REFUSED)
def twice(env: Env) -> None:
    _trains(env, Twice)


class Repeating(DataLoader[Any]):
    """Gives each batch twice."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            yield batch
            yield batch


@shape("gives each batch twice", allowed=EXACT_OR_REFUSED)
def repeating(env: Env) -> None:
    _trains(env, Repeating)


class Ahead(DataLoader[Any]):
    """Fetches a batch before it gives the one before."""

    def __iter__(self) -> Any:
        batches = super().__iter__()
        held = next(batches)
        for batch in batches:
            yield held
            held = batch
        yield held


@shape("reads one batch ahead", allowed=EXACT_OR_REFUSED)
def reads_ahead(env: Env) -> None:
    _trains(env, Ahead)


class Halving(DataLoader[Any]):
    """Gives its batches in parts."""

    def __iter__(self) -> Any:
        for batch in super().__iter__():
            for part in (slice(0, 1), slice(1, None)):
                yield {key: value[part] for key, value in batch.items()}


@shape("gives its batches in parts", allowed=BOUNDED | WHOLE)
def halving(env: Env) -> None:
    for start in range(0, 12, 3):
        env.oracle.batch(range(start, start + 3))
    loader = Halving(env.items, batch_size=3, num_workers=env.workers)
    with env.observe() as run:
        env.train(run.watch(loader, **env.named))


class Joining(DataLoader[Any]):
    """Gives two batches as one."""

    def __iter__(self) -> Any:
        batches = super().__iter__()
        for one, other in zip(batches, batches, strict=True):
            yield {key: torch.cat([one[key], other[key]]) for key in ("x", "y")}


@shape("gives two batches as one", allowed=EXACT_OR_REFUSED)
def joining(env: Env) -> None:
    _trains(env, Joining)


class Backwards(DataLoader[Any]):
    """Gives its last batch first."""

    def __iter__(self) -> Any:
        return reversed(list(super().__iter__()))


@shape("gives its last batch first", allowed=EXACT_OR_REFUSED, quick=(0, 2))
def backwards(env: Env) -> None:
    _trains(env, Backwards)


class Counting(DataLoader[Any]):
    """Goes through its batches by an iterator of its own."""

    def __iter__(self) -> Any:
        return Counted(super().__iter__())


class Counted:
    """An iterator that counts."""

    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches
        self.count = 0

    def __iter__(self) -> Iterator[Batch]:
        return self

    def __next__(self) -> Batch:
        self.count += 1
        return next(self._batches)


@shape("has an iterator of its own", allowed=EXACT_OR_REFUSED)
def counting(env: Env) -> None:
    _trains(env, Counting)


class Lengthened(DataLoader[Any]):
    """Says another length; its batches are as torch gives them."""

    def __len__(self) -> int:
        return super().__len__() + 1


@shape("is of a class that changes nothing in how batches are given", quick=(0, 2))
def lengthened(env: Env) -> None:
    _trains(env, Lengthened)


class Wrapping:
    """A loader's stand-in, which is none of torch's."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        for batch in self.loader:
            yield {key: batch[key] for key in ("x", "y")}

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":
            raise AttributeError(name)
        return getattr(self.loader, name)


@shape("is no loader of torch, and says all that one says", allowed=EXACT_OR_REFUSED)
def wrapping(env: Env) -> None:
    with env.observe() as run:
        env.train(run.watch(Wrapping(env.loader(shuffle=True)), **env.named))

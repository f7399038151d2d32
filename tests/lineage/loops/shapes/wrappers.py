"""What a loop puts around a watched loader."""

import queue
from collections import deque
from collections.abc import Iterator
from itertools import chain, cycle, islice
from threading import Thread
from typing import Any

import torch

from tests.lineage.loops.harness import Env
from tests.lineage.loops.samples import Batch
from tests.lineage.loops.shape import BOUNDED, TOLD, WHOLE, shape

BOTH = (0, 2)


@shape("counts the batches: enumerate")
def enumerated(env: Env) -> None:
    with env.observe() as run:
        for _, batch in enumerate(run.watch(env.loader(shuffle=True), **env.named)):
            env.learn(batch)


@shape("zips batches with numbers")
def zipped_with_numbers(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for batch, _ in zip(loader, range(3), strict=False):
            env.learn(batch)


@shape("goes round and round: itertools.cycle", quick=BOTH)
def cycled(env: Env) -> None:
    with env.observe() as run:
        endless = cycle(run.watch(env.loader(shuffle=True), **env.named))
        for _ in range(7):
            env.learn(next(endless))


@shape("begins again whenever the loader ends: while True")
def endless(env: Env) -> None:
    def batches(loader: Any) -> Iterator[Batch]:
        while True:
            yield from loader

    with env.observe() as run:
        given = batches(run.watch(env.loader(shuffle=True), **env.named))
        for _ in range(7):
            env.learn(next(given))


@shape("chains two epochs")
def chained(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for batch in chain(loader, loader):
            env.learn(batch)


@shape("takes the first batches: islice", allowed=BOUNDED)
def sliced(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for batch in chain(islice(loader, 2), islice(loader, 1, 3)):
            env.learn(batch)


@shape("asks for each batch with next(iter(loader))")
def first_of_each(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for _ in range(4):
            env.learn(next(iter(loader)))


@shape("makes a list of all batches first", allowed=BOUNDED)
def listed_first(env: Env) -> None:
    with env.observe() as run:
        batches = list(run.watch(env.loader(shuffle=True), **env.named))
        for batch in batches + batches[::-1]:
            env.learn(batch)


@shape("sorts the batches by what is in them", allowed=BOUNDED)
def sorted_batches(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for batch in sorted(loader, key=lambda batch: float(batch["y"].sum())):
            env.learn(batch)


class Progress:
    """A bar that counts what goes by."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.count = 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Any]:
        for each in self.batches:
            yield each
            self.count += 1


@shape("shows a progress bar")
def progress(env: Env) -> None:
    with env.observe() as run:
        env.train(Progress(run.watch(env.loader(shuffle=True), **env.named)))


def _doubled(batch: Batch) -> Batch:
    return {"x": batch["x"] * 2, "y": batch["y"]}


@shape("makes other batches on the way: a generator")
def mapped(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for batch in (_doubled(each) for each in loader):
            env.learn(batch)


@shape("moves batches on the way: map")
def moved(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for batch in map(_moved, loader):
            env.learn(batch)


def _moved(batch: Batch) -> Batch:
    return {key: batch[key].to(torch.float64).to(torch.float32).clone() for key in ("x", "y")}


def ahead(batches: Any, count: int = 1) -> Iterator[Any]:
    """Give batches, ``count`` of which are always fetched before."""
    held: deque[Any] = deque()
    for batch in batches:
        held.append(batch)
        if len(held) > count:
            yield held.popleft()
    yield from held


@shape("reads one batch ahead, and says so", quick=BOTH)
def one_ahead_said(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), ahead=True, **env.named)
        for _ in range(2):
            for batch in ahead(loader):
                env.learn(batch)


@shape("says that it reads ahead, and passes the last batch over, which it says", allowed=BOUNDED)
def one_ahead_discarded(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), ahead=True, **env.named)
        env.optimizer.zero_grad()
        for number, batch in enumerate(ahead(islice(loader, 4))):
            if number == 3:
                run.discard()
            else:
                env.loss(batch).backward()
        env.optimizer.step()


@shape(
    "says that it reads ahead, and uses the last batch of an epoch without a gradient",
    allowed=BOUNDED,
)
def one_ahead_abandoned(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), ahead=True, **env.named)
        for _ in range(2):
            for number, batch in enumerate(ahead(islice(loader, 3))):
                if number < 2:
                    env.learn(batch)
                else:
                    env.oracle.silent(int(each) for each in batch["x"].nonzero()[:, -1])


@shape("reads one batch ahead, and says nothing", allowed=TOLD, quick=BOTH)
def one_ahead(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for _ in range(2):
            for batch in ahead(loader):
                env.learn(batch)


@shape("reads two batches ahead", allowed=TOLD)
def two_ahead(env: Env) -> None:
    with env.observe() as run:
        for batch in ahead(run.watch(env.loader(shuffle=True), **env.named), 2):
            env.learn(batch)


@shape("reads two batches ahead, and makes new tensors of them", allowed=TOLD)
def two_ahead_moved(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for batch in ahead(map(_moved, loader), 2):
            env.learn(batch)


class Prefetcher:
    """Fetches the next batch before it gives this one, as fast loaders of images do."""

    def __init__(self, loader: Any) -> None:
        self.loader = loader

    def __iter__(self) -> Iterator[Batch]:
        batches = iter(self.loader)
        self.fetch(batches)
        while self.next is not None:
            batch = self.next
            self.fetch(batches)
            yield batch

    def fetch(self, batches: Iterator[Batch]) -> None:
        batch = next(batches, None)
        self.next = None if batch is None else _moved(batch)


@shape("has a prefetcher that moves the next batch before it gives this one", allowed=TOLD)
def prefetcher(env: Env) -> None:
    with env.observe() as run:
        env.train(Prefetcher(run.watch(env.loader(shuffle=True), **env.named)))


def threads(batches: Any, size: int) -> Iterator[Batch]:
    """Give batches that a thread puts into a queue."""
    filled: queue.Queue[Any] = queue.Queue(size)

    def fill() -> None:
        try:
            for batch in batches:
                filled.put(batch)
            filled.put(None)
        except BaseException as error:
            filled.put(error)

    # No pool: a worker process that a pool's thread forks ends with 1, whatever it did.
    filling = Thread(target=fill)
    filling.start()
    while (batch := filled.get()) is not None:
        if isinstance(batch, BaseException):
            raise batch
        yield batch
    filling.join()


@shape("has a thread that fills a queue", allowed=TOLD)
def threaded(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(), **env.named)
        for batch in threads(loader, 2):
            env.learn(batch)


@shape("has a thread that fills a queue with all batches before the loop begins", allowed=TOLD)
def threaded_whole(env: Env) -> None:
    with env.observe() as run:
        loader = run.watch(env.loader(shuffle=True), **env.named)
        for batch in list(threads(loader, 9)):
            env.learn(batch)


@shape("makes batches of another size of the loader's", allowed=TOLD | WHOLE)
def rebatched(env: Env) -> None:
    def batches(loader: Any) -> Iterator[Batch]:
        held: list[Batch] = []
        for batch in loader:
            env.oracle.batch(batch["x"].nonzero()[:, -1])
            held += [{key: batch[key][n] for key in ("x", "y")} for n in range(len(batch["x"]))]
            while len(held) >= 2:
                yield {key: torch.stack([each[key] for each in held[:2]]) for key in ("x", "y")}
                del held[:2]

    with env.observe() as run:
        for batch in batches(run.watch(env.loader(shuffle=True), **env.named)):
            env.learn(batch)


@shape("joins each batch with the one before", allowed=BOUNDED)
def joined_with_last(env: Env) -> None:
    with env.observe() as run:
        last: Batch | None = None
        for batch in run.watch(env.loader(shuffle=True), **env.named):
            parts = [batch] if last is None else [last, batch]
            env.learn({key: torch.cat([part[key] for part in parts]) for key in ("x", "y")})
            last = batch

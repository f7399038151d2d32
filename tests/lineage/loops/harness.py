"""Runs a loop twice from one seed, bare and watched, and judges what is said of the second run.

The loop is a function of an `Env`. Nothing in it knows which of the two runs it is in: ``observe``
of the bare one watches nothing. Watching may change no number and no order; where that holds, the
answers are held against the truth of the oracle.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import SGD, Optimizer
from torch.utils.data import DataLoader

from lineage.integrations.torch import observe
from storage.errors import ExpungeError
from tests.lineage.loops.oracle import Oracle, Told, Update, WeightEach
from tests.lineage.loops.samples import Items
from tests.lineage.loops.verdict import Answer, Judgement, judge, refused

By = Literal["row", "key"]
Observes = Callable[..., AbstractContextManager[Any]]
SEED = 7


class Watcher(Protocol):
    """Something that watches loops and answers for their steps."""

    def observe(self, function: Observes, *args: Any, **given: Any) -> AbstractContextManager[Any]:
        """Watch the block, with one of the functions that observe."""

    def answers(self) -> list[Answer]:
        """Return one answer a step of the run that was watched."""


class BareRun:
    """What a loop is given that nobody watches."""

    def watch(self, loader: Any, *_: Any, **__: Any) -> Any:
        """Return the loader itself."""
        return loader

    def discard(self) -> None:
        """Do nothing."""

    def checkpoint(self) -> None:
        """Do nothing."""


class Bare:
    """Watches nothing, and notes where the watched block ends."""

    @contextmanager
    def observe(self, *_: Any, **__: Any) -> Iterator[BareRun]:
        """Watch nothing."""
        yield BareRun()

    def answers(self) -> list[Answer]:
        """Say nothing."""
        return []


class Env:
    """What a loop finds: samples, loaders, a model, an optimizer, and who may watch it."""

    def __init__(self, watcher: Watcher, by: By, workers: int, folder: Path) -> None:
        self.oracle = Oracle()
        self.by = by
        self.workers = workers
        self.folder = folder
        self.items = Items()
        self.model = WeightEach(self.oracle)
        self.optimizer: Optimizer = self.follow(SGD(self.model.parameters(), lr=0.1))
        self.watcher = watcher

    @property
    def named(self) -> dict[str, Any]:
        """What ``watch`` is told of dict samples."""
        return {"record": "rid"} if self.by == "key" else {}

    @property
    def named_tuples(self) -> dict[str, Any]:
        """What ``watch`` is told of tuples."""
        return {"record": 0} if self.by == "key" else {"order": "file"}

    def observe(self, **changed: Any) -> AbstractContextManager[Any]:
        """Watch the block; by default it trains the model with the optimizer."""
        given = {"optimizer": self.optimizer, "model": self.model, **changed}
        return self.watcher.observe(observe, **given)

    def follow(self, optimizer: Optimizer, told: Told = "weights") -> Any:
        """Return the optimizer, whose steps are the oracle's from now on."""
        self.oracle.follow(optimizer, told)
        return optimizer

    def loader(self, dataset: Any = None, **options: Any) -> DataLoader[Any]:
        """Return a loader of batches of 3, unless told otherwise."""
        own = "batch_sampler" in options
        plain: dict[str, Any] = {} if own else {"batch_size": 3}
        plain["num_workers"] = self.workers
        return DataLoader(self.items if dataset is None else dataset, **{**plain, **options})

    def loss(self, batch: Any, model: nn.Module | None = None) -> Any:
        """Return a loss of which every record of a batch has a part."""
        return error((model or self.model)(batch["x"]), batch["y"])

    def learn(self, batch: Any) -> None:
        """Do one whole step on a batch."""
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        self.optimizer.step()

    def train(self, loader: Any, epochs: int = 2) -> None:
        """Train for some epochs of whole steps."""
        for _ in range(epochs):
            for batch in loader:
                self.learn(batch)


def error(out: Tensor, wanted: Tensor) -> Any:
    """The mean squared error; by itself, not to be a module that a shape has to track."""
    return ((out - wanted) ** 2).mean()


Loop = Callable[[Env], None]


@dataclass(frozen=True, slots=True)
class Trace:
    """What a run of a loop left, for the next to be compared with."""

    updates: tuple[Update, ...]
    given: tuple[tuple[int, ...], ...]
    together: tuple[frozenset[int], ...]
    randomness: tuple[object, ...]


def run(loop: Loop, watcher: Watcher, by: By, workers: int, folder: Path) -> Trace:
    """Run a loop from the seed."""
    torch.manual_seed(SEED)
    np.random.seed(SEED)
    random.seed(SEED)
    env = Env(watcher, by, workers, folder)
    loop(env)
    oracle = env.oracle
    return Trace(tuple(oracle.updates), tuple(oracle.given), tuple(oracle.together), _randomness())


def try_loop(loop: Loop, watcher: Watcher, by: By, workers: int, folder: Path) -> Judgement:
    """Run a loop bare and watched, and judge what the watcher says."""
    bare = run(loop, Bare(), by, workers, folder)
    assert bare.updates, "the loop does no step"
    steps: list[Update] = []
    try:
        watched = run(_noting(loop, steps), watcher, by, workers, folder)
    except ExpungeError as stopped:
        return _stopped(stopped, len(steps))
    changes = _changes(bare, watched)
    if changes:
        return Judgement((), changes)
    return judge(watched.updates, watcher.answers(), watched.together)


def _noting(loop: Loop, steps: list[Update]) -> Loop:
    """The loop, whose updates are seen though it is stopped."""

    def noted(env: Env) -> None:
        env.oracle.updates = steps
        loop(env)

    return noted


def _stopped(error: ExpungeError, steps: int) -> Judgement:
    if steps == 0 and error.hint:
        return refused()
    what = f"stopped after step {steps}" if steps else "refused without a hint"
    return Judgement((), (f"{what}: {type(error).__name__}: {error.message} ({error.hint})",))


def _changes(bare: Trace, watched: Trace) -> tuple[str, ...]:
    """What watching changed: nothing, where it is as it must be."""
    complaints = []
    if bare.given != watched.given:
        complaints.append(f"the watched model was given {watched.given}, the bare one {bare.given}")
    if bare.updates != watched.updates:
        complaints.append("the watched loop has other weights than the bare one")
    if bare.randomness != watched.randomness:
        complaints.append("watching draws random numbers")
    return tuple(complaints)


def _randomness() -> tuple[object, ...]:
    return torch.get_rng_state().numpy().tobytes(), str(np.random.get_state()), random.getstate()

"""A watcher of the simplest loops, honest or not: the kit must tell which."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer

from tests.lineage.loops.verdict import Answer
from tests.lineage.loops.watchers import NUMBERS


class ToyWatcher:
    """Names the records of all batches that were given since the last step, by their ids."""

    def __init__(self) -> None:
        self.told: list[Answer] = []
        self.since: list[set[int]] = []

    @contextmanager
    def observe(self, *_: Any, **given: Any) -> Iterator["ToyWatcher"]:
        """Watch the block."""
        optimizer: Optimizer = given["optimizer"]
        hook = optimizer.register_step_post_hook(lambda *_: self.stepped())
        yield self
        hook.remove()

    def watch(self, loader: Any, *_: Any, **__: Any) -> Any:
        """Note the batches of a loader as they are given."""
        return _Watched(loader, self.given)

    def given(self, batch: Any) -> Any:
        """Note a batch."""
        self.since.append({NUMBERS[name] for name in batch["rid"]})
        return batch

    def stepped(self) -> None:
        """Note a step."""
        self.told.append(self.answer())
        self.since.clear()

    def answer(self) -> Answer:
        """Say what the step that was done now learned from."""
        return Answer(frozenset().union(*self.since))

    def answers(self) -> list[Answer]:
        """Return what is said of each step."""
        return self.told


class _Watched:
    def __init__(self, loader: Any, given: Any) -> None:
        self._loader = loader
        self._given = given

    def __iter__(self) -> Iterator[Any]:
        return map(self._given, iter(self._loader))

    def __len__(self) -> int:
        return len(self._loader)

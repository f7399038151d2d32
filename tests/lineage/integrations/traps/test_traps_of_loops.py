"""Whatever a loop does with its batches, no step that learned from one is missing."""

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lineage.integrations.torch.noting import Watched
from lineage.schedule import Records
from lineage.training.locate import Locator
from lineage.training.notes import Arrived, Reader, Updated
from lineage.training.observed import Observed, Watch
from lineage.training.team import Alone

BATCHES = 40


def observed(written: list[tuple[int, int, bool]]) -> Observed:
    """A watched loop over batches of one record each, which writes no further than a list."""

    positions = np.arange(BATCHES)
    keys = positions.astype(np.uint64)
    records = Records(positions, keys, keys, lambda rows: [])
    version: Any = SimpleNamespace(present=SimpleNamespace(records=records), salt=bytes(16))
    told = dict.fromkeys(("given", "publish", "unknown"), lambda *about: None)
    recorder: Any = SimpleNamespace(run_id="run-0", **told)
    locator = Locator(version)
    reader = Reader(locator, 0)

    def note(note: Any) -> None:
        for step, drawn, applied in reader.read(note):
            written.append((step, drawn.item(), applied))

    log: Any = SimpleNamespace(note=note, check=lambda: None, seal=lambda: None)
    chain: Any = SimpleNamespace(link=lambda: "")
    return Observed(version, locator, recorder, log, chain, {}, Watch(), Alone(), 0, {})


class Loop:
    """A loop with two optimizers which does as it is told, and knows what it did.

    ``inside`` says for each which batches its gradients are of; None where it has none, as after
    the step that used them. ``ahead``: the next batch is fetched before this one is used, or, if
    the loop is ``late``, between its gradient and the step.
    """

    def __init__(self, *, ahead: bool, late: bool) -> None:
        self.written: list[tuple[int, int, bool]] = []
        self.run = observed(self.written)
        self.windows = [self.run.window(), self.run.window()]
        self.inside: list[set[int] | None] = [None, None]
        self.used = [False, False]
        self.holds = [False, False]
        self.truth: dict[int, set[int]] = {}
        self.ahead, self.late = ahead, late
        self.batch: int | None = None
        self.following: int | None = None
        self.loads: Iterator[int] = iter(())

    def live(self, epochs: Sequence[int], deeds: Iterator[str]) -> int:
        """Train for epochs of so many batches, with deeds for each; how many were drawn."""
        number = 0
        for length in epochs:
            pairs: Any = [(np.array([n]), n) for n in range(number, number + length)]
            self.loads = iter(Watched(pairs, self.run.draw, late=self.ahead))
            self.batch = next(self.loads, None)
            while self.batch is not None:
                self.following = None
                if self.ahead and not self.late:
                    self.fetch()
                for deed in next(deeds).split():
                    name, _, which = deed.partition(":")
                    getattr(self, name)(*map(int, which))
                if not self.ahead or self.following is None:
                    self.fetch()
                self.batch = self.following
            number += length
        return number

    def fetch(self) -> None:
        self.following = next(self.loads, None)

    def learn(self, *optimizers: int) -> None:
        for each in optimizers or (0, 1):
            if self.used[each]:
                self.inside[each], self.used[each] = None, False
            gone = self.holds[each] and self.inside[each] is None
            self.run.gradient(Arrived(self.windows[each], afresh=gone))
            self.holds[each] = True
            assert self.batch is not None
            self.inside[each] = (self.inside[each] or set()) | {self.batch}

    def drop(self, *optimizers: int) -> None:
        for each in optimizers or (0, 1):
            self.inside[each] = None

    def step(self, *optimizers: int) -> None:
        if self.ahead and self.late and self.following is None:
            self.fetch()
        for each in optimizers or (0,):
            self.truth[self.run.step] = self.inside[each] or set()
            self.run.update(Updated(self.windows[each]))
            self.holds[each] = False
            self.used[each] = True

    def keep(self) -> None:
        if self.run.unkept:
            self.run.checkpoint()

    def skip(self) -> None:
        if not self.ahead:
            self.run.discard()


DEEDS = (
    *("learn step", "drop learn step", "learn step keep", "keep drop learn step", "learn"),
    *("learn keep", "learn drop", "learn drop learn step", "skip", "skip keep", "learn:0 step"),
    *("learn step step", "learn step learn step learn step", "learn learn step", "learn step:01"),
    *("learn step:10", "learn:0 step learn step:1", "drop:1 learn step:1", "learn drop:0 step:1"),
)


@given(
    st.booleans(),
    st.booleans(),
    st.lists(st.integers(1, 7), min_size=1, max_size=4),
    st.lists(st.sampled_from(DEEDS), min_size=28, max_size=28),
)
def test_no_step_is_missing_and_no_batch_forgotten(
    ahead: bool, late: bool, epochs: list[int], deeds: list[str]
) -> None:
    loop = Loop(ahead=ahead, late=late)
    deeds = ["learn step", *deeds[: sum(epochs) - 1], "learn step"]
    drawn = loop.live([*epochs, 1], iter(deeds))
    loop.keep()
    assert {batch for _, batch, _ in loop.written} == set(range(drawn))
    applied = {(step, batch) for step, batch, learned in loop.written if learned}
    for step, inside in loop.truth.items():
        assert {(step, batch) for batch in inside} <= applied


@given(
    st.booleans(),
    st.lists(
        st.sampled_from(["learn:0 step", "drop:0 learn:0 step", "learn:0 learn:0 step", "skip"])
    ),
)
def test_a_plain_loop_is_told_exactly(ahead: bool, deeds: list[str]) -> None:
    loop = Loop(ahead=ahead, late=False)
    deeds = [deed for deed in deeds if not ahead or deed != "skip"]
    loop.live([len(deeds)], iter(deeds))
    applied = {(step, batch) for step, batch, learned in loop.written if learned}
    assert applied == {(step, batch) for step, inside in loop.truth.items() for batch in inside}

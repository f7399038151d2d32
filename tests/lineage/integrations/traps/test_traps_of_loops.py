"""Whatever a loop does with its batches, each step is told exactly, or marked as an upper bound.

Real tensors, gradients and optimizers; only the store is left out. What a step learns from is read
from the gradient of a trace, which has one entry a record.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lineage.integrations.torch.gradients import watch_optimizer
from lineage.integrations.torch.observed import Observation
from lineage.schedule import Records
from lineage.training.events import EventReplayer
from lineage.training.locate import Locator
from lineage.training.observed import Observed, Watch
from lineage.training.team import Alone

RECORDS, EACH = 40, 2
OPTIMIZERS = (0, 1)


def observed(replayer: EventReplayer, written: list[tuple[int, list[int], bool]]) -> Observed:
    """Return a watched loop that writes no further than a list."""
    positions = np.arange(RECORDS)
    keys = positions.astype(np.uint64)
    records = Records(positions, keys, keys, lambda rows: [])
    dataset = SimpleNamespace(id_columns=["id"])
    column = SimpleNamespace(name="id", arrow_type=pa.int64())
    present = SimpleNamespace(records=records)
    version: Any = SimpleNamespace(
        present=present, salt=bytes(16), dataset=dataset, columns=(column,), chunks=()
    )
    version.store = SimpleNamespace(objects=None)
    told = dict.fromkeys(("given", "publish", "doubts"), lambda *about: None)
    store = SimpleNamespace(objects=SimpleNamespace(claiming=nullcontext))
    recorder: Any = SimpleNamespace(run_id="run-0", store=store, **told)

    def note(event: Any) -> None:
        for step, drawn, applied in replayer.read(event):
            written.append((step, drawn.tolist(), applied))

    log: Any = SimpleNamespace(note=note, check=lambda: None, seal=lambda: None)
    chain: Any = SimpleNamespace(link=lambda: "")
    about = (log, replayer, chain, {}, Watch(), Alone(), 0, {})
    return Observed(version, Locator(version), recorder, *about)


class Network:
    """Parameters with a trace, and an optimizer of them."""

    def __init__(self, run: Observed) -> None:
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.trace = torch.nn.Parameter(torch.zeros(RECORDS))
        self.optimizer = torch.optim.SGD([self.weight, self.trace], lr=0.01, momentum=0.9)
        watch_optimizer(run, self.optimizer)

    def __call__(self, x: Tensor, numbers: Tensor) -> Tensor:
        """Outputs (n,), each of which has its record's entry of the trace in it once."""
        return x * self.weight + self.trace[numbers]

    def gradients(self) -> list[Tensor]:
        """Return the gradients that are there."""
        return [each.grad for each in (self.weight, self.trace) if each.grad is not None]

    def inside(self) -> set[int]:
        """Return the records that are in the gradient."""
        grad = self.trace.grad
        return set() if grad is None else set(grad.nonzero().flatten().tolist())


class Loop:
    """A loop with two networks that does as it is told; each step is judged when it is done."""

    def __init__(self, *, ahead: bool = False) -> None:
        self.written: list[tuple[int, list[int], bool]] = []
        self.replayer = EventReplayer(0)
        self.run = observed(self.replayer, self.written)
        self.networks = [Network(self.run) for _ in OPTIMIZERS]
        self.batches: list[tuple[Tensor, Tensor]] = []
        self.discarded: list[int] = []
        self.unknown = [False for _ in OPTIMIZERS]
        numbers = torch.arange(RECORDS)
        loader = DataLoader(TensorDataset(numbers.float() + 1, numbers), batch_size=EACH)
        self.loads: Iterator[Any] = iter(
            Observation(self.run).watch(loader, order="file", ahead=ahead)
        )

    def draw(self) -> None:
        """Fetch one more batch, if there is any."""
        if (batch := next(self.loads, None)) is not None:
            self.batches.append((batch[0], batch[1]))

    def learn(self, back: Sequence[int], reached: Sequence[int], way: str) -> None:
        """Compute gradients of batches, counted from the last one, for some networks."""
        chosen = [len(self.batches) - 1 - each for each in dict.fromkeys(back)]
        pairs = [self.batches[n] for n in chosen if n >= 0 and n not in self.discarded]
        if not pairs or not reached:
            return
        loss = torch.zeros(())
        for x, numbers in self._used(pairs, way):
            loss = loss + sum(self.networks[each](x, numbers).sum() for each in reached)
        if way == "autograd":
            of = [self.networks[each].trace for each in reached]
            for trace, grad in zip(of, torch.autograd.grad(loss, of), strict=True):
                trace.grad = grad if trace.grad is None else trace.grad + grad
        else:
            with warnings.catch_warnings(action="ignore"):
                loss.backward(create_graph=way == "graph")  # type: ignore[no-untyped-call]

    def step(self, which: int) -> None:
        """Let an optimizer do a step, and judge what is written of it."""
        if not self.batches:
            return
        truth, unknown = self.networks[which].inside(), self.replayer.unknown
        number = self.run.step
        self.networks[which].optimizer.step()
        self.unknown[which] |= self.replayer.unknown > unknown
        if self.unknown[which]:  # so the run is incomplete, and nothing is promised
            return
        found = {
            record
            for step, records, applied in self.written
            if applied and step == number
            for record in records
        }
        assert truth <= found
        assert truth == found or number in self.replayer.bounds

    def drop(self, which: int) -> None:
        """Set gradients to None: what is computed after that is known again."""
        self.unknown[which] = False
        self.networks[which].optimizer.zero_grad()

    def zero_and_learn(self, which: int) -> None:
        """Set gradients to zero in place, and compute others."""
        if len(self.batches) - 1 not in self.discarded:
            self.networks[which].optimizer.zero_grad(set_to_none=False)
            self.learn([0], [which], "plain")

    def clip(self, which: int) -> None:
        """Change gradients in place."""
        for each in self.networks[which].gradients():
            each.mul_(0.5)

    def discard(self) -> None:
        """Throw away all gradients that the last batch is in, and say so."""
        if self.batches:
            self.discarded.append(len(self.batches) - 1)
            for each in self.networks:
                if each.inside().intersection(self.batches[-1][1].tolist()):
                    each.optimizer.zero_grad()
            self.run.discard()

    def keep(self) -> None:
        """Keep a checkpoint."""
        if self.run.unkept:
            self.run.checkpoint()

    def _used(self, pairs: Sequence[tuple[Tensor, Tensor]], way: str) -> list[Any]:
        match way:
            case "together":
                return [[torch.cat(each) for each in zip(*pairs, strict=True)]]
            case "copied":
                return [
                    (copy.deepcopy(x).double().float(), numbers.clone()) for x, numbers in pairs
                ]
            case "buffered":
                buffer = torch.zeros(len(pairs), EACH), torch.zeros(len(pairs), EACH).long()
                for place, pair in enumerate(pairs):
                    for each, values in zip(buffer, pair, strict=True):
                        each[place] = values
                return [[each.flatten() for each in buffer]]
            case "first of each":
                return [(x[:1], numbers[:1]) for x, numbers in pairs]
            case _:
                return list(pairs)


WHICH = st.sampled_from(OPTIMIZERS)
BACK = st.lists(st.integers(0, 3), min_size=1, max_size=3)
REACHED = st.sampled_from([(0,), (1,), (0, 1)])
WAYS = ("plain", "together", "copied", "buffered", "first of each", "autograd", "graph")
DEEDS = st.one_of(
    st.tuples(st.just("draw")),
    st.tuples(st.just("learn"), BACK, REACHED, st.sampled_from(WAYS)),
    st.tuples(st.sampled_from(["step", "step", "drop", "zero_and_learn", "clip"]), WHICH),
    st.tuples(st.sampled_from(["discard", "keep"])),
)


@given(st.booleans(), st.lists(DEEDS, max_size=40))
@example(True, [("draw",), ("learn", [1], (0,), "plain"), ("discard",)])
def test_no_step_misses_a_record_and_none_names_more_unmarked(
    ahead: bool, deeds: list[tuple[Any, ...]]
) -> None:
    loop = Loop(ahead=ahead)
    for name, *about in [("draw",), *deeds, ("learn", [0], (0,), "plain"), ("step", 0)]:
        getattr(loop, name)(*about)
    loop.keep()
    drawn = {record for _, numbers in loop.batches for record in numbers.tolist()}
    assert {record for _, records, _ in loop.written for record in records} == drawn


@given(
    st.booleans(),
    st.lists(
        st.tuples(
            st.integers(1, 3),
            st.sampled_from(["plain", "together", "copied", "buffered"]),
            st.sampled_from(["drop", "leave", "discard"]),
        ),
        max_size=6,
    ),
)
def test_a_plain_loop_is_told_exactly(ahead: bool, rounds: list[tuple[int, str, str]]) -> None:
    loop = Loop(ahead=ahead)
    if ahead:
        loop.draw()
    for count, way, after in rounds:
        for _ in range(count):
            loop.draw()
            loop.learn([1] if ahead else [0], OPTIMIZERS, way)
        for which in OPTIMIZERS:
            loop.step(which)
            if after != "leave":
                loop.drop(which)
        if after == "discard" and not ahead:
            loop.draw()
            loop.discard()
    doubtful = {
        number
        for number, (count, way, _) in enumerate(rounds)
        # What outlasts a step may be changed unseen, and what is written into may be written over.
        if (number and rounds[number - 1][2] == "leave") or (count > 1 and way == "buffered")
    }
    assert {*loop.replayer.bounds} <= {
        2 * number + which for number in doubtful for which in (0, 1)
    }
    assert loop.replayer.unknown == 0

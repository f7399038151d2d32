"""A loop of somebody's own while it is watched: what it drew, what it learned from, what it keeps.

Nothing here can execute the loop again. Its run says what happened, and its owner's ``command`` is
what retrains it.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from typing import Literal, NamedTuple, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from lineage.data.given import Members
from lineage.data.version import Version
from lineage.errors import RunError, UnknownRecordError
from lineage.schedule.contract import Positions
from lineage.training.contract import Stateful
from lineage.training.events import (
    Discarded,
    EventReplayer,
    LoopEvent,
    Paused,
    Updated,
    WindowClosed,
    WindowOpened,
)
from lineage.training.lap import Lap
from lineage.training.locate import MISSING, Locator
from lineage.training.own_process import OwnProcess
from lineage.training.recorder import StoreRecorder
from lineage.training.team import Team
from lineage.training.update_window import DrawnBatch, EventSink, UpdateWindow
from storage.errors import ExpungeError
from storage.exposures import File, Log

T = TypeVar("T")

OnUnknown = Literal["stop", "record"]
"""What a record does that the dataset does not hold."""


@dataclass(frozen=True, slots=True)
class Watch:
    """How a loop is watched.

    ``on_unknown``: ``stop`` training at a record that the dataset does not hold, or ``record`` that
    there was one, which leaves the run's lineage incomplete. ``ordered`` keeps the order inside
    batches. ``command`` is what retrains the model; None: the command of this process.
    """

    on_unknown: OnUnknown = "stop"
    ordered: bool = False
    command: Sequence[str] | None = None
    uses_torch: bool = False


class Observed:
    """A run of a loop that is being watched; see `observe`."""

    def __init__(
        self,
        version: Version,
        locator: Locator,
        recorder: StoreRecorder,
        log: Log,
        replayer: EventReplayer,
        chain: "Chain",
        tracked: Mapping[str, Stateful],
        watch: Watch,
        team: Team,
        step: int,
        read: Mapping[str, Members],
    ) -> None:
        self.id = recorder.run_id
        self.locator = locator
        self.version = version
        self.sink = EventSink(log.note, lambda: self._tracked.values())
        self._process = OwnProcess()
        self._recorder = recorder
        self._log = log
        self._replayer = replayer
        self._chain = chain
        self._tracked = dict(tracked)
        self._watch = watch
        self._team = team
        self._read = read
        self.step = step
        self._kept = step
        self._since = time.perf_counter()
        self._handed = 0
        self._conversions: list[Callable[[object], object]] = []
        self._looks: list[Callable[[], None]] = []
        self._broken = False

    @property
    def processes(self) -> int:
        """How many processes watch this run together."""
        return self._team.size

    def track(self, **objects: Stateful) -> None:
        """Keep more objects in checkpoints, whose state somebody else restores."""
        self._tracked.update(objects)

    def continues(self, step: int) -> None:
        """Make sure that a loop that goes on has done as many steps as the last checkpoint knows.

        Raises:
            RunError: it has not.
        """
        if step != self.step:
            raise RunError(
                f"the loop goes on after step {step}, and run {self.id} was kept at {self.step}",
                hint="go on from the state that was saved at that step, or watch a new run",
            )

    def window(self, *, traced: bool = False, held: bool = False) -> UpdateWindow:
        """Open a window for one more optimizer whose steps are watched; see `UpdateWindow`.

        ``held`` says that its parameters hold gradients already, of nobody knows what.
        """
        window = UpdateWindow(traced=traced, last=(self.sink.stranger,) if held else ())
        self._log.note(WindowOpened(window))
        return window

    def close_window(self, window: UpdateWindow) -> None:
        """Watch the steps of an optimizer no more."""
        self._log.note(WindowClosed(window))

    def identify(self, records: Positions, *, partial: bool = False) -> DrawnBatch:
        """Return what stands for a batch wherever the loop takes it.

        ``records`` (n,) are positions from the index; the reference is kept, so they may not change
        any more. A ``partial`` batch may hold fewer of them.

        Raises:
            RunError: this is another process than the one that watches; so do `updating`,
                `checkpoint` and `evaluated`.
        """
        self._process.require_to_watch(self.id)
        number, self._handed = self._handed, self._handed + 1
        if not len(records) or records.min() >= 0:
            return DrawnBatch(records, self.sink, partial=partial)
        known = records[records >= 0]
        batch = DrawnBatch(known, self.sink, unknown=len(records) - len(known), partial=partial)
        batch.refusal = self._refusal(number, records)
        return batch

    def draw(self, batch: DrawnBatch) -> None:
        """Note that a batch was handed to the loop.

        Raises:
            UnknownRecordError: one of its records is not known, and that stops training.
        """
        if batch.refusal is not None:
            raise batch.refusal
        self._log.note(self.sink.own(batch))

    def discard(self) -> None:
        """Note that the batch drawn last is not learned from, as after a loss that is no number."""
        self._log.note(Discarded())

    def note(self, event: LoopEvent) -> None:
        """Note what else the loop did."""
        self._log.note(event)

    def updating(self) -> None:
        """Make sure that an optimizer may do a step.

        Raises:
            RunError: no batch was handed out yet, so nobody knows what it would learn from.
            RecordingError: what was drawn before could not be written down.
        """
        self._process.require_to_watch(self.id)
        if not self._handed:
            raise RunError(
                f"an optimizer of run {self.id} is to do a step before any watched loader gave a "
                "batch",
                hint="loop over the loader that watch() returns",
            )
        self._log.check()

    def update(self, updated: Updated) -> None:
        """Note that an optimizer did a step; see `updating`."""
        self.updating()
        self._log.note(updated)
        self.step += 1

    def checkpoint(self) -> None:
        """Keep the state of everything tracked, and what was drawn up to here.

        A state that changed without a step, as where the best weights are loaded back, is kept
        too: it descends from the checkpoint before it. Where nothing changed, and before the first
        step, nothing is done.

        Raises:
            RunError: an earlier checkpoint failed.
            RecordingError: what was drawn could not be written down; nothing was kept.
            RunStoppedError: a record of the run is to be forgotten.
        """
        self._process.require_to_watch(self.id)
        if self._broken:
            raise RunError(
                f"run {self.id} cannot go on: a checkpoint failed, and what was drawn is not kept",
                hint=f"go on from its last checkpoint: observe(…, resume={self.id!r})",
            )
        for look in self._looks:
            look()
        if not self.step or not self._in_first(self._is_due):
            return
        self._broken = True
        self._log.note(Paused())
        with self._recorder.store.objects.claiming():
            parts = self._team.gather(self._part())
            self._in_first(partial(self._publish, parts))
        self._broken = False
        self._kept = self.step
        self._since = time.perf_counter()

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """Note measures on the dataset that may steer a choice: selection, never training."""
        self._process.require_to_watch(self.id)
        if self._team.rank == 0:
            self._recorder.evaluated(self.version.dataset.name, self.step, metrics)

    @property
    def unkept(self) -> bool:
        """Whether steps were done since the last checkpoint."""
        return self.step > self._kept

    def _is_due(self) -> bool:
        """Return True if a checkpoint would keep something that the last one does not.

        Before a trainer of a framework begins there is nothing tracked to be compared.
        """
        return self.unkept or bool(self._tracked and self._recorder.differs(self._state()))

    def _in_first(self, act: Callable[[], T]) -> T:
        """Return in every process what ``act`` returns in the first, or raise what it raises."""
        outcome: T | ExpungeError | None = None
        if self._team.rank == 0:
            try:
                outcome = act()
            except ExpungeError as error:
                outcome = error
        outcome = self._team.tell(outcome)
        if isinstance(outcome, ExpungeError):
            raise outcome
        return cast(T, outcome)

    def _publish(self, parts: Sequence["Part"]) -> None:
        """Publish what all processes drew, and the state, which they have in common."""
        logs = [part.log for part in parts if part.log is not None]
        visits = logs[0] if logs else None
        if self._team.size > 1:
            visits = self._recorder.merged(logs, self._chain.add)
        self._recorder.given(self._read)
        self._recorder.doubts(
            sum(part.unknown for part in parts), BitMap.union(*(part.bounds for part in parts))
        )
        self._recorder.publish(self.step, self._state(), self._lap(visits), visits)

    def _part(self) -> "Part":
        """Seal what was drawn since the last checkpoint, and take what is in doubt of it."""
        log, replayer = self._log.seal(), self._replayer
        part = Part(log, replayer.unknown, replayer.bounds)
        replayer.unknown, replayer.bounds = 0, BitMap()
        return part

    def convert_state(self, convert: Callable[[object], object]) -> None:
        """Convert each state before it is looked at; what it came from stays as it is."""
        self._conversions.append(convert)

    def look_before_checkpoints(self, look: Callable[[], None]) -> None:
        """Call a function before each checkpoint; it may note what it finds."""
        self._looks.append(look)

    def _state(self) -> dict[str, object]:
        state: dict[str, object] = {}
        for name, thing in self._tracked.items():
            value: object = thing.state_dict()
            for convert in self._conversions:
                value = convert(value)
            state[name] = value
        return state

    def _lap(self, visits: File | None) -> Lap:
        seconds = time.perf_counter() - self._since
        given = 0 if visits is None else visits.visits
        return Lap(self._kept, given, 0, seconds, self._chain.link())

    def _refusal(self, number: int, positions: Positions) -> UnknownRecordError | None:
        """Return why a batch may not be trained on, unless unknown records are only noted."""
        if self._watch.on_unknown != "stop":
            return None
        row = int(np.flatnonzero(positions < 0)[0])
        what = "does not say its id"
        if positions[row] != MISSING:
            what = f"is not in dataset {self.version.dataset.name!r}"
        return UnknownRecordError(
            f"record {row} of batch {number} {what}, after step {self.step} of {self.id}",
            hint="register it with `expunge dataset add`, or observe with on_unknown='record'",
            batch=number,
            row=row,
        )


class Part(NamedTuple):
    """What one process drew since the last checkpoint, and what is in doubt of it."""

    log: File | None
    unknown: int
    bounds: BitMap


class Chain:
    """The keyed chain hash of what was consumed; it goes on from an earlier one."""

    def __init__(self, version: Version, consumed: str) -> None:
        records = version.present.records
        self._keys = np.zeros(version.row.rows, np.uint64)
        self._keys[records.positions] = records.keys
        self._salt = version.salt
        self._hash = self._after(consumed)

    def add(self, positions: NDArray[np.uint32]) -> None:
        """Consume records, in order."""
        self._hash.update(self._keys[positions].data)

    def link(self) -> str:
        """The hash so far (hex); what comes now goes on from it, as a run that is resumed does."""
        consumed = self._hash.hexdigest()
        self._hash = self._after(consumed)
        return consumed

    def _after(self, consumed: str) -> "blake2b":
        return blake2b(bytes.fromhex(consumed), digest_size=32, key=self._salt)

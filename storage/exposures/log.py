"""Visits as they happen: appended by reference while training, encoded on another thread.

The training thread takes no lock, copies nothing and never waits for a disk, except where it asks
for what it appended to be made durable.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from operator import itemgetter
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from storage.errors import ExpungeError, RecordingError
from storage.exposures.files import LARGEST_BATCH, File, Kind, Writer
from storage.exposures.pieces import pieces
from storage.objects import Objects

BLOCK = 2**18
"""Visits that are encoded together."""

PAUSE = 0.25
"""Seconds between two looks of the encoding thread at what has been appended."""

FAULTS = (
    *(OSError, ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
    ExpungeError,
)
"""What can go wrong on the thread; each is kept for `seal`, which would wait for ever without."""


class Records(Protocol):
    """Positions of the records of a batch, in order: numbers, or what NumPy makes an array of."""

    def __len__(self) -> int: ...

    def __getitem__(self, part: slice, /) -> Any: ...


Batch = tuple[int, Records, bool]
"""The step of a batch, its records, and whether the step's update learned from it."""


class Log:
    """Appends batches, and seals what was appended as one durable object after the other.

    ``first_batch`` numbers the first batch. ``told`` is called on the thread, with the records of
    consecutive batches that are written. ``read`` is called on it too: it makes batches of what was
    noted. Close the log: until then its thread runs.
    """

    def __init__(
        self,
        objects: Objects,
        first_batch: int = 0,
        told: Callable[[NDArray[np.uint32]], object] = lambda records: None,
        read: Callable[[Any], Iterable[Batch]] = lambda batch: (batch,),
    ) -> None:
        self._objects = objects
        self._told = told
        self._read = read
        self._waiting: deque[Any] = deque()
        self.note: Callable[[Any], None] = self._waiting.append
        self._awake = Event()
        self._failure: Exception | None = None
        self._draft = _Draft(objects, first_batch, told)
        self._thread = Thread(target=self._work, name="expunge-log", daemon=True)
        self._thread.start()

    def append(self, step: int, records: Records, applied: bool = True) -> None:
        """Note a batch of a step; the reference is kept, so ``records`` may not change any more.

        ``applied`` says whether the step's update learned from it.

        Raises:
            RecordingError: an earlier batch could not be written, or the log is closed.
        """
        self.check()
        self.note((step, records, applied))

    def check(self) -> None:
        """Make sure that what was noted up to here could be written, as far as is known by now.

        Raises:
            RecordingError: it could not, or the log is closed.
        """
        if self._failure is not None:
            raise self._failure

    def seal(self) -> File | None:
        """Make all that was appended since the last time durable; None where nothing was.

        Raises:
            RecordingError: something could not be written, and nothing new is durable; or the log
                is closed.
        """
        self.check()
        done: Future[File | None] = Future()
        self.note(done)
        self._awake.set()
        return done.result()

    def close(self) -> None:
        """End the thread; what was not sealed is dropped."""
        self.note(None)
        self._awake.set()
        self._thread.join()
        self._draft.drop()
        self._failure = self._failure or RecordingError(
            "nothing can be recorded in a log that was closed", hint="open it again"
        )

    def _work(self) -> None:
        while True:
            self._awake.wait(PAUSE)
            self._awake.clear()
            while self._waiting:
                item = self._waiting.popleft()
                if item is None:
                    return
                if isinstance(item, Future):
                    self._finish(item)
                elif self._failure is None:
                    self._add(item)

    def _add(self, note: Any) -> None:
        try:
            for batch in self._read(note):
                self._draft.add(*batch)
        except FAULTS as error:
            self._failure = _unwritten(self._draft.last_step, error)

    def _finish(self, done: "Future[File | None]") -> None:
        if self._failure is None:
            try:
                sealed = self._draft.seal()
                self._draft = _Draft(self._objects, self._draft.next_batch, self._told)
                done.set_result(sealed)
                return
            except FAULTS as error:
                self._failure = _unwritten(self._draft.last_step, error)
        done.set_exception(self._failure)


class _Draft:
    """A log that is being written: a temporary file, made when the first block is full."""

    def __init__(
        self, objects: Objects, first_batch: int, told: Callable[[NDArray[np.uint32]], object]
    ) -> None:
        self._objects = objects
        self._told = told
        self._gathered: list[Batch] = []
        self._pending = 0
        self._path: Path | None = None
        self._writer: Writer | None = None
        self.first_batch = self.next_batch = first_batch
        self.visits = 0
        self.last_step = 0

    def add(self, step: int, records: Records, applied: bool) -> None:
        for start in range(0, len(records), LARGEST_BATCH):
            self._gathered.append((step, records[start : start + LARGEST_BATCH], applied))
        self._pending += len(records)
        self.last_step = step
        if self._pending >= BLOCK:
            self._encode()

    def seal(self) -> File | None:
        self._encode()
        if self._writer is None or self._path is None:
            return None
        self._writer.close()
        digest = self._objects.put_file(self._path)
        self._writer = None
        return File(Kind.LOG, digest, self.first_batch, self.next_batch, self.visits)

    def drop(self) -> None:
        if self._writer is not None:
            with suppress(OSError):  # a full disk was told of already
                self._writer.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _encode(self) -> None:
        if not self._gathered:
            return
        if self._writer is None:
            self._path = self._objects.temporary()
            self._writer = Writer(Kind.LOG, self._path)
        steps, records, applied = zip(*self._gathered, strict=True)
        sizes = np.fromiter(map(len, records), np.int64, len(records))
        joined = self._positions(np.concatenate(records))
        batches = np.arange(self.next_batch, self.next_batch + len(sizes), dtype=np.uint32)
        self._writer.write(
            np.repeat(batches, sizes),
            np.repeat(np.array(steps, np.uint32), sizes),
            np.repeat(np.array(applied, np.bool_), sizes),
            joined,
        )
        self._told(joined)
        self.next_batch += len(sizes)
        self.visits += self._pending
        self._gathered.clear()
        self._pending = 0

    def _positions(self, records: NDArray[np.integer]) -> NDArray[np.uint32]:
        for position in (int(records.min()), int(records.max())):
            if not 0 <= position < 2**32:
                raise RecordingError(
                    f"a batch up to step {self.last_step} holds position {position}, which no "
                    "record has",
                    hint="append positions of the dataset that is trained on",
                    step=self.last_step,
                )
        return records.astype(np.uint32)


def merge(
    objects: Objects,
    logs: Sequence[File],
    first_batch: int,
    told: Callable[[NDArray[np.uint32]], object],
) -> File | None:
    """One log of what several processes drew at the same time: step by step, process by process.

    The logs stay. ``first_batch`` and ``told`` are as of `Log`.

    Raises:
        CorruptObjectError: a log is missing or damaged.
    """
    drawn: list[Batch] = []
    for log in logs:
        for piece in pieces(objects.open(log.object)):
            batches = np.split(piece.records, np.cumsum(piece.sizes)[:-1])
            drawn += zip(piece.steps.tolist(), batches, piece.applied.tolist(), strict=True)
    draft = _Draft(objects, first_batch, told)
    try:
        for batch in sorted(drawn, key=itemgetter(0)):
            draft.add(*batch)
        return draft.seal()
    finally:
        draft.drop()


def _unwritten(step: int, error: Exception) -> Exception:
    if not isinstance(error, OSError):
        return error
    return RecordingError(
        f"what was trained on up to step {step} could not be written down: {error}",
        hint="make room, then go on from the last checkpoint: no later one was published",
        step=step,
    )

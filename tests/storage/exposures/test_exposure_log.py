import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest

from storage.errors import RecordingError
from storage.exposures import Exposures, File, Kind, Log, log
from storage.exposures.files import LARGEST_BATCH, Writer
from storage.objects import Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


@pytest.fixture
def writing(objects: Objects) -> Iterator[Log]:
    made = Log(objects)
    yield made
    made.close()


def leftovers(objects: Objects) -> list[Path]:
    return list(objects.root.glob("tmp/*"))


def told(objects: Objects, *files: File | None) -> list[tuple[int, list[int], bool]]:
    """Step, records and fate of every batch of some logs."""
    exposures = Exposures(objects, [file for file in files if file is not None])
    first, batches = min(file.first for file in files if file is not None), exposures.batches
    return [
        (int(step), exposures.between(first + row, first + row + 1).tolist(), bool(applied))
        for row, (step, applied) in enumerate(zip(batches.step, batches.applied, strict=True))
    ]


def soon(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def in_time(work: Callable[[], object]) -> None:
    """Do it on another thread, so that a call that never returns fails the test at once."""
    caught: list[BaseException] = []

    def working() -> None:
        try:
            work()
        except BaseException as error:
            caught.append(error)

    thread = threading.Thread(target=working, daemon=True)
    thread.start()
    thread.join(30)
    assert not thread.is_alive()
    if caught:
        raise caught[0]


def test_any_sequence_of_positions_comes_back_as_it_was_appended(
    objects: Objects, writing: Log
) -> None:
    given: list[Any] = [
        [3, 1, 3],
        (2**32 - 1, 0),
        range(4, 0, -1),
        np.array([9, 8], np.uint8),
        np.array([2**32 - 2], np.uint64),
        np.arange(10)[::-3],
    ]
    for step, records in enumerate(given):
        writing.append(step, records, step % 2 == 0)
    expected = [(step, list(map(int, each)), step % 2 == 0) for step, each in enumerate(given)]
    assert told(objects, writing.seal()) == expected


def test_logs_go_on_where_the_one_before_ended_and_nothing_new_makes_none(objects: Objects) -> None:
    writing = Log(objects, first_batch=5)
    try:
        assert writing.seal() is None
        writing.append(7, [1, 2])
        writing.append(7, [])
        writing.append(8, [3])
        first = writing.seal()
        writing.append(9, [])
        assert writing.seal() is None
        writing.append(9, [2], applied=False)
        second = writing.seal()
    finally:
        writing.close()
    assert first is not None
    assert second is not None
    assert first == File(Kind.LOG, first.object, first=5, last=7, visits=3)
    assert second == File(Kind.LOG, second.object, first=7, last=8, visits=1)
    assert told(objects, first, second) == [(7, [1, 2], True), (8, [3], True), (9, [2], False)]


def test_a_batch_larger_than_the_largest_is_one_step_and_keeps_its_order(
    objects: Objects, writing: Log
) -> None:
    large = np.random.default_rng(0).integers(0, 2**32, 2 * LARGEST_BATCH + 3)
    writing.append(0, [5])
    writing.append(1, large)
    writing.append(2, [6])
    sealed = writing.seal()
    assert sealed is not None
    exposures = Exposures(objects, [sealed])
    assert exposures.batches.step.tolist() == [0, 1, 1, 1, 2]
    assert max(exposures.batches.size) == LARGEST_BATCH
    assert exposures.between(1, 4).tolist() == large.tolist()


def test_order_is_kept_while_the_thread_encodes_what_is_still_being_appended(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "PAUSE", 0.0001)
    monkeypatch.setattr(log, "BLOCK", 64)
    random = np.random.default_rng(1)
    batches = [random.integers(0, 99, random.integers(1, 9)) for _ in range(3_000)]
    consumed: list[int] = []
    writing = Log(objects, told=lambda records: consumed.extend(records.tolist()))
    sealed = []
    try:
        for step, batch in enumerate(batches):
            writing.append(step, batch)
            if step % 700 == 699:
                sealed.append(writing.seal())
                # What a checkpoint seals was told of, and nothing else.
                assert len(consumed) == sum(map(len, batches[: step + 1]))
        sealed.append(writing.seal())
    finally:
        writing.close()
    exposures = Exposures(objects, [file for file in sealed if file is not None])
    everything = np.concatenate(batches).tolist()
    assert exposures.between(0, len(batches)).tolist() == everything == consumed
    assert exposures.batches.step.tolist() == list(range(len(batches)))
    assert exposures.batches.size.tolist() == list(map(len, batches))


def test_appending_neither_copies_nor_waits_while_nothing_can_be_written(
    objects: Objects, monkeypatch: pytest.MonkeyPatch, writing: Log
) -> None:
    begun, freed = Event(), Event()

    class Stuck(Writer):
        def write(self, *columns: Any) -> None:
            begun.set()
            freed.wait()
            super().write(*columns)

    monkeypatch.setattr(log, "Writer", Stuck)
    monkeypatch.setattr(log, "BLOCK", 1)
    writing.append(0, [1])
    assert begun.wait(30)
    batches = [np.arange(1_000) for _ in range(200)]
    kept = [weakref.ref(batch) for batch in batches]

    def append() -> None:
        for step in range(1, 201):
            writing.append(step, batches.pop())

    try:
        in_time(append)
        assert all(batch() is not None for batch in kept)
    finally:
        freed.set()
    sealed = writing.seal()
    assert sealed is not None
    assert sealed.visits == 1 + 200 * 1_000
    assert not any(batch() is not None for batch in kept)


def test_what_was_never_sealed_leaves_nothing_behind(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BLOCK", 10)
    before = threading.active_count()
    writing = Log(objects)
    writing.append(0, range(25))
    sealed = writing.seal()
    assert sealed is not None
    writing.append(1, range(25))
    soon(lambda: leftovers(objects))
    writing.append(2, [3])
    writing.close()
    assert list(objects) == [sealed.object]
    assert leftovers(objects) == []
    assert threading.active_count() == before
    assert told(objects, sealed) == [(0, list(range(25)), True)]


def test_appending_raises_once_a_block_could_not_be_written(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(Writer):
        def write(self, *columns: Any) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "Writer", Full)
    monkeypatch.setattr(log, "BLOCK", 1)
    writing = Log(objects)
    failed = Event()

    def append_until_told() -> None:
        for step in range(10_000):
            writing.append(step, [1])
            failed.wait(0.001)

    try:
        with pytest.raises(RecordingError, match=r"step 0 could not be written down: .*No space"):
            in_time(append_until_told)
        with pytest.raises(RecordingError, match=r"step 0 could not be written down: .*No space"):
            in_time(writing.seal)
    finally:
        in_time(writing.close)
    assert list(objects) == leftovers(objects) == []


@pytest.mark.parametrize("position", [-1, 2**32])
def test_a_position_that_no_record_has_is_refused_not_written_as_another(
    objects: Objects, writing: Log, position: int
) -> None:
    writing.append(0, [1, 2])
    writing.append(1, np.array([3, position]))
    with pytest.raises(RecordingError, match=f"up to step 1 holds position {position}, which no"):
        in_time(writing.seal)
    assert list(objects) == []


def test_whatever_fails_on_the_thread_is_raised_where_it_is_waited_for(objects: Objects) -> None:
    def refuse(records: object) -> None:
        raise KeyError("a record that is not there")

    writing = Log(objects, told=refuse)
    try:
        writing.append(0, [1])
        with pytest.raises(KeyError, match="not there"):
            in_time(writing.seal)
        with pytest.raises(KeyError, match="not there"):
            writing.append(1, [1])
    finally:
        in_time(writing.close)
    assert list(objects) == leftovers(objects) == []


@pytest.mark.parametrize("use", [lambda log: log.append(1, [1]), Log.seal])
def test_a_closed_log_refuses_to_go_on(objects: Objects, use: Callable[[Log], object]) -> None:
    writing = Log(objects)
    writing.append(0, [1])
    for _ in range(2):
        in_time(writing.close)
    with pytest.raises(RecordingError, match="a log that was closed"):
        in_time(lambda: use(writing))

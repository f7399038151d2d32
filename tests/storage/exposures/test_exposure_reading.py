from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from storage.errors import CorruptObjectError, RecordingError
from storage.exposures import Exposures, File, Kind, Log, compact, compaction, log, reading
from storage.objects import Objects

LARGEST = 5
LAST = 2**32 - 1
NEVER = 999
Batch = tuple[int, list[int], bool]


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """A few visits fill a block, a piece, a row group and a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(log, "BLOCK", 7)
        patch.setattr(log, "LARGEST_BATCH", LARGEST)
        patch.setattr(compaction, "PIECE", 9)
        patch.setattr(compaction, "VISITS_A_FILE", 16)
        patch.setattr(compaction, "ROW_GROUP", 4)
        patch.setattr(reading, "TOGETHER", 2)
        yield


class Plain:
    """The oracle: a list of batches, each searched through whenever something is asked."""

    def __init__(self, history: Sequence[Sequence[Batch]]) -> None:
        self.batches = [
            (step, records[start : start + LARGEST], applied)
            for part in history
            for step, records, applied in part
            for start in range(0, len(records), LARGEST)
        ]

    def records(self) -> list[int]:
        return sorted({record for _, records, _ in self.batches for record in records})

    def visits(self, asked: list[int]) -> list[tuple[int, int]]:
        return [
            (row, number)
            for row, position in enumerate(asked)
            for number, (_, records, _) in enumerate(self.batches)
            for record in records
            if record == position
        ]

    def every(self) -> list[tuple[int, int]]:
        return sorted(
            (record, number)
            for number, (_, records, _) in enumerate(self.batches)
            for record in records
        )

    def first_steps(self, asked: list[int]) -> list[int]:
        holding = [[step for step, records, _ in self.batches if each in records] for each in asked]
        return [min(steps, default=NEVER) for steps in holding]

    def between(self, first: int, last: int) -> list[int]:
        return [record for _, records, _ in self.batches[first:last] for record in records]


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[list[Batch]], list[int]]:
    """What was appended before each seal, and records to ask about: some occur and some never."""
    # Positions up to the very last make many ranges, which take a while: not too many of them.
    near = draw(st.sampled_from([0, 0, 0, 2**16 - 20, 2**17 + 3, LAST - 60]))
    pool = draw(st.lists(st.integers(0, 60), min_size=1, max_size=25, unique=True))
    pool = [near + offset if offset % 3 else offset for offset in pool]
    batch = st.tuples(
        st.sampled_from([0, 0, 1, 1, 2, 7]),
        st.lists(st.sampled_from(pool), max_size=13),
        st.sampled_from([True, True, False]),
    )
    step, history = draw(st.integers(0, 3)), []
    for part in draw(st.lists(st.lists(batch, max_size=8), max_size=5)):
        history.append([])
        for more, records, applied in part:
            step += more
            history[-1].append((step, records, applied))
    strangers = st.sampled_from([0, 1, 59, 61, near, near + 61, 2**16, LAST])
    asked = draw(st.lists(st.sampled_from(pool) | strangers, unique=True))
    return history, sorted({min(position, LAST) for position in asked})


def logged(objects: Objects, history: Sequence[Sequence[Batch]]) -> list[File]:
    """The logs of a history, each sealed where one of its parts ends."""
    writing = Log(objects)
    try:
        sealed = []
        for part in history:
            for step, records, applied in part:
                writing.append(step, np.array(records, np.int64), applied)
            sealed.append(writing.seal())
        return [file for file in sealed if file is not None]
    finally:
        writing.close()


def views(objects: Objects, history: Sequence[Sequence[Batch]]) -> dict[str, Exposures]:
    logs = logged(objects, history)
    return {
        "logs": Exposures(objects, logs),
        "ordered": Exposures(objects, compact(objects, logs, ordered=True)),
        "unordered": Exposures(objects, compact(objects, logs, ordered=False)),
    }


def pairs(exposures: Exposures, asked: list[int]) -> list[tuple[int, int]]:
    found = exposures.visits(np.array(asked, np.int64))
    return list(zip(found.rows.tolist(), found.batches.tolist(), strict=True))


@settings(max_examples=60)
@given(histories(), st.data())
def test_logs_and_compacted_files_answer_what_plain_lists_say(
    tmp_path_factory: pytest.TempPathFactory,
    drawn: tuple[list[list[Batch]], list[int]],
    data: st.DataObject,
) -> None:
    history, asked = drawn
    plain = Plain(history)
    first = data.draw(st.integers(0, len(plain.batches)))
    last = data.draw(st.integers(first, len(plain.batches)))
    for name, exposures in views(Objects(tmp_path_factory.mktemp("store")), history).items():
        # A new one for each question would hide what an earlier question left behind: one for all.
        assert pairs(exposures, asked) == plain.visits(asked)
        firsts = exposures.first_steps(np.array(asked, np.int64), NEVER)
        assert firsts.tolist() == plain.first_steps(asked)
        batches = exposures.batches
        assert list(
            zip(batches.step.tolist(), batches.size.tolist(), batches.applied.tolist(), strict=True)
        ) == [(step, len(records), applied) for step, records, applied in plain.batches]
        assert exposures.records.tolist() == plain.records()
        walked = [zip(*map(np.ndarray.tolist, each), strict=True) for each in exposures.every()]
        assert sorted(pair for piece in walked for pair in piece) == plain.every()
        if name == "unordered" and plain.batches:
            with pytest.raises(RecordingError, match="order inside the batches"):
                exposures.between(first, last)
        else:
            assert exposures.between(first, last).tolist() == plain.between(first, last)
        assert pairs(exposures, asked) == plain.visits(asked)


def long_history(seed: int = 3) -> list[list[Batch]]:
    """Enough visits for several logs, and for several files of several row groups."""
    random = np.random.default_rng(seed)
    parts = [[random.integers(0, 64, 4).tolist() for _ in range(10)] for _ in range(3)]
    return [[(10 * n + m, part[m], m % 4 != 2) for m in range(10)] for n, part in enumerate(parts)]


def test_a_few_visits_cross_the_bounds_of_logs_files_and_row_groups(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    logs = logged(objects, long_history())
    assert len(logs) == 3
    groups = [pq.ParquetFile(objects.open(file.object)).num_row_groups for file in logs]
    assert min(groups) > 3
    files = [f for f in compact(objects, logs, ordered=True) if f.kind is Kind.VISITS]
    assert len(files) > 3
    assert max(pq.ParquetFile(objects.open(file.object)).num_row_groups for file in files) > 1


def test_a_record_visited_more_often_than_a_file_or_row_group_holds_is_found_whole(
    tmp_path: Path,
) -> None:
    history = [[(step, [step % 3, 40, 40], True) for step in range(30)]]
    for exposures in views(Objects(tmp_path), history).values():
        assert pairs(exposures, [0, 40]) == Plain(history).visits([0, 40])


def test_no_recording_has_more_ranges_of_positions_than_can_be_numbered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "VISITS_A_FILE", 0)
    asked = [0, 1, 2**16, 2**17 + 1, 2**18]
    history = [[(step, [position, 0], True) for step, position in enumerate(asked)]]
    for exposures in views(Objects(tmp_path), history).values():
        assert pairs(exposures, asked) == Plain(history).visits(asked)


def test_a_batch_larger_than_the_largest_is_one_step_and_keeps_its_order(tmp_path: Path) -> None:
    records = list(range(4 * LARGEST + 1, 0, -2))
    opened = views(Objects(tmp_path), [[(0, [9], True), (1, records, False), (2, [8], True)]])
    for name, exposures in opened.items():
        batches = exposures.batches
        assert batches.step.tolist() == [0, 1, 1, 1, 2]
        assert batches.size.tolist() == [1, 5, 5, 1, 1]
        assert batches.applied.tolist() == [True, False, False, False, True]
        if name != "unordered":
            assert exposures.between(1, 4).tolist() == records


def test_nothing_recorded_answers_nothing(tmp_path: Path) -> None:
    exposures = Exposures(Objects(tmp_path), ())
    assert pairs(exposures, [0, LAST]) == []
    assert exposures.first_steps(np.array([0, LAST]), NEVER).tolist() == [NEVER, NEVER]
    assert (
        len(exposures.records) == len(exposures.batches.step) == len(exposures.between(0, 0)) == 0
    )


QUESTIONS = {
    "visits": lambda exposures: pairs(exposures, list(range(64))),
    "first_steps": lambda exposures: exposures.first_steps(np.arange(64), NEVER).tolist(),
    "batches": lambda exposures: exposures.batches.step.tolist(),
    "records": lambda exposures: exposures.records.tolist(),
    "between": lambda exposures: exposures.between(0, 30).tolist(),
}
NEEDS = {
    "visits": {Kind.VISITS},
    "first_steps": {Kind.FIRSTS},
    "batches": {Kind.BATCHES},
    "records": {Kind.FIRSTS},
    "between": {Kind.VISITS},
}


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("spoil", [damage, Path.unlink])
@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("compacted", [True, False])
def test_a_question_never_answers_from_a_file_that_is_damaged_or_gone(
    tmp_path: Path, spoil: Any, question: str, compacted: bool
) -> None:
    objects = Objects(tmp_path)
    files: Sequence[File] = logged(objects, long_history())
    if compacted:
        files = compact(objects, files, ordered=True)
    answer = QUESTIONS[question](Exposures(objects, files))
    for file in files:
        path = objects.open(file.object)
        whole = path.read_bytes()
        spoil(path)
        spoiled = Exposures(objects, files)
        if file.kind in NEEDS[question] | {Kind.LOG}:
            for _ in range(2):
                with pytest.raises(CorruptObjectError, match=file.object):
                    QUESTIONS[question](spoiled)
        else:
            assert QUESTIONS[question](spoiled) == answer
        path.write_bytes(whole)
    assert QUESTIONS[question](Exposures(objects, files)) == answer


def test_a_question_about_some_records_opens_their_files_only(tmp_path: Path) -> None:
    objects = Objects(tmp_path)
    files = compact(objects, logged(objects, long_history()), ordered=False)
    low, *_, high = [file for file in files if file.kind is Kind.VISITS]
    objects.delete(high.object)
    plain = Plain(long_history())
    assert pairs(Exposures(objects, files), [low.last - 1]) == plain.visits([low.last - 1])
    with pytest.raises(CorruptObjectError, match=high.object):
        pairs(Exposures(objects, files), [high.first])

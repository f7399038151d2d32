import errno
import json
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from storage.errors import CorruptObjectError
from storage.exposures import Exposures, File, Kind, Log, compact, compaction, log
from storage.objects import Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


def drawn(visits: int, records: int, size: int) -> list[list[int]]:
    """Batches of one size; each epoch visits every record, in an order of its own."""
    random = np.random.default_rng(0)
    order = np.concatenate([random.permutation(records) for _ in range(visits // records)])
    return [order[start : start + size] for start in range(0, visits, size)]


def logged(objects: Objects, batches: Sequence[Any], *seals: int) -> list[File]:
    """Logs of one batch a step, the first ``seals[0]`` in the first, and so on."""
    writing = Log(objects)
    try:
        sealed = []
        for step, batch in enumerate(batches):
            if step in seals:
                sealed.append(writing.seal())
            writing.append(step, batch)
        return [file for file in [*sealed, writing.seal()] if file is not None]
    finally:
        writing.close()


def leftovers(objects: Objects) -> list[Path]:
    return list(objects.root.glob("tmp/*"))


@pytest.mark.parametrize("ordered", [True, False])
def test_logs_stay_and_nothing_but_the_files_is_added(objects: Objects, ordered: bool) -> None:
    logs = logged(objects, drawn(400, 100, 7), 20, 31)
    files = compact(objects, logs, ordered=ordered)
    assert sorted(objects) == sorted({file.object for file in [*logs, *files]})
    assert leftovers(objects) == []
    assert [file.kind for file in files] == [Kind.BATCHES, Kind.VISITS, Kind.FIRSTS]
    assert [(file.first, file.visits) for file in files] == [(0, 400), (0, 400), (0, 100)]


@pytest.mark.parametrize("ordered", [True, False])
def test_the_same_visits_give_the_same_files_however_they_were_sealed_and_cut(
    objects: Objects, monkeypatch: pytest.MonkeyPatch, ordered: bool
) -> None:
    batches = drawn(400, 100, 7)
    once = compact(objects, logged(objects, batches), ordered=ordered)
    assert compact(objects, logged(objects, batches), ordered=ordered) == once
    monkeypatch.setattr(log, "BLOCK", 30)
    monkeypatch.setattr(compaction, "PIECE", 50)
    assert compact(objects, logged(objects, batches, 11, 12, 40), ordered=ordered) == once


def test_files_cover_ranges_of_positions_and_tell_of_every_visit(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compaction, "VISITS_A_FILE", 64)
    logs = logged(objects, drawn(400, 100, 7))
    visits = [f for f in compact(objects, logs, ordered=True) if f.kind is Kind.VISITS]
    assert [(file.first, file.last) for file in visits] == [
        (first, first + 16) for first in range(0, 100, 16)
    ]
    assert [file.visits for file in visits] == [64] * 6 + [16]


def test_nothing_visited_makes_no_files(objects: Objects) -> None:
    assert logged(objects, [[], []]) == []
    assert compact(objects, [], ordered=True) == ()
    assert list(objects) == leftovers(objects) == []


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"PAR1"), Path.unlink])
def test_a_log_that_is_damaged_or_gone_is_named_and_leaves_nothing(
    objects: Objects, spoil: Any
) -> None:
    logs = logged(objects, drawn(400, 100, 7), 20)
    spoil(objects.open(logs[1].object))
    before = sorted(objects)
    with pytest.raises(CorruptObjectError, match=logs[1].object):
        compact(objects, logs, ordered=True)
    assert sorted(objects) == before
    assert leftovers(objects) == []


FILLING = """
import json, resource, sys
from pathlib import Path
from storage.exposures import File, Kind, compact
from storage.objects import Objects

root, number, most, logs = Path(sys.argv[1]), *map(json.loads, sys.argv[2:])
begun = []


class Filling(Objects):
    def temporary(self):
        begun.append(super().temporary())
        if len(begun) == number:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        return begun[-1]


try:
    compact(Filling(root), [File(Kind(kind), *rest) for kind, *rest in logs], ordered=True)
except OSError as error:
    print(error.errno)
"""


@pytest.mark.parametrize(
    ("number", "most"),
    [(1, 0), (1, 16_000), (1, 31_999), (2, 0), (2, 300), (3, 3_000), (4, 1_000)],
)
def test_a_full_disk_fails_compaction_and_leaves_no_temporary_file(
    objects: Objects, number: int, most: int
) -> None:
    """The temporary file of all visits, 32000 bytes, or a file after it, ends at ``most`` bytes."""
    logs = logged(objects, drawn(4_000, 1_000, 100))
    told = json.dumps([[f.kind, f.object, f.first, f.last, f.visits] for f in logs])
    command = [sys.executable, "-c", FILLING, str(objects.root), str(number), str(most), told]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == (f"{errno.EFBIG}\n", "")
    assert leftovers(objects) == []
    assert logs[0].object in objects
    assert len(compact(objects, logs, ordered=True)) == 3


def test_a_file_that_cannot_be_finished_leaves_no_temporary_file(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    logs = logged(objects, drawn(400, 100, 7))

    def full(path: Path) -> str:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(objects, "put_file", full)
    with pytest.raises(OSError, match="No space left"):
        compact(objects, logs, ordered=True)
    assert leftovers(objects) == []


def test_memory_is_bounded_by_pieces_and_files_not_by_visits(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "BLOCK", 2**12)
    monkeypatch.setattr(compaction, "PIECE", 2**13)
    monkeypatch.setattr(compaction, "VISITS_A_FILE", 2**13)
    peaks = []
    for visits in (2**17, 2**19):
        logs = logged(objects, drawn(visits, 2**12, 512))
        tracemalloc.start()
        try:
            compact(objects, logs, ordered=True)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    # A word a visit would be 4 MiB; steps, sizes and fates of 1024 batches are some kilobytes.
    assert peaks[1] < 2**21
    assert peaks[1] < 1.5 * peaks[0]


@pytest.mark.parametrize(("ordered", "most"), [(True, 2.3), (False, 1.3)])
def test_a_visit_takes_a_few_bytes(objects: Objects, ordered: bool, most: float) -> None:
    logs = logged(objects, drawn(200_000, 20_000, 256))
    files = compact(objects, logs, ordered=ordered)
    assert sum(objects.size(file.object) for file in files) / 200_000 <= most
    opened = Exposures(objects, files)
    assert len(opened.visits(np.arange(20_000)).rows) == 200_000
    assert opened.batches.size.tolist() == [256] * 781 + [64]

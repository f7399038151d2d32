"""Logs on a disk that is full, and in a process that is killed: real faults, in subprocesses."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from storage.exposures import Exposures, File, Kind, Log
from storage.objects import Objects


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return Objects(tmp_path / "objects")


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


FULL = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from storage.errors import RecordingError
from storage.exposures import Log, log
from storage.objects import Objects

log.BLOCK, most = json.loads(sys.argv[2]), json.loads(sys.argv[3])
objects = Objects(Path(sys.argv[1]))
batch = np.random.default_rng(0).integers(0, 2**32, 20_000)
errors = []
report = {"errors": errors}


def failing(work):
    try:
        work()
    except RecordingError as error:
        errors.append([error.message, error.hint, error.fields["step"]])


def kept():
    return [[*objects], [path.name for path in objects.root.glob("tmp/*")]]


writing = Log(objects)
writing.append(0, [1, 2, 3])
sealed = writing.seal()
resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
writing.append(1, [4])
writing.append(2, batch)
failing(writing.seal)
failing(lambda: writing.append(3, [5]))
failing(writing.seal)
writing.close()
report["after"] = kept()
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
again = Log(objects, first_batch=sealed.last)
again.append(1, batch)
files = [sealed, again.seal()]
again.close()
report["files"] = [[file.kind, file.object, file.first, file.last, file.visits] for file in files]
report["end"] = kept()
print(json.dumps(report))
"""


@pytest.mark.parametrize("most", [0, 100, 30_000])
@pytest.mark.parametrize("block", [1_000, 2**18])
def test_a_full_disk_is_told_by_seal_and_a_new_log_works_when_there_is_room(
    objects: Objects, block: int, most: int
) -> None:
    """No file may have more than ``most`` bytes; blocks are written when full, or by seal only."""
    command = [sys.executable, "-c", FULL, str(objects.root), str(block), str(most)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    sealed, again = (File(Kind(kind), *rest) for kind, *rest in report["files"])
    assert len(report["errors"]) == 3
    for message, hint, step in report["errors"]:
        assert message.startswith("what was trained on up to step 2 could not be written down: ")
        assert message.endswith("File too large")
        assert "go on from the last checkpoint" in hint
        assert step == 2
    assert report["after"] == [[sealed.object], []]
    assert report["end"] == [sorted([sealed.object, again.object]), []]
    batch = np.random.default_rng(0).integers(0, 2**32, 20_000).tolist()
    assert told(objects, sealed, again) == [(0, [1, 2, 3], True), (1, batch, True)]


KILLED = """
import os, signal, sys, time
from pathlib import Path
from storage.exposures import Log, log
from storage.objects import Objects

log.BLOCK = 10
objects = Objects(Path(sys.argv[1]))
writing = Log(objects)
writing.append(0, range(25))
sealed = writing.seal()
print(sealed.object, sealed.first, sealed.last, sealed.visits, flush=True)
writing.append(1, range(25))
while not any(path.stat().st_size for path in objects.root.glob("tmp/*")):
    time.sleep(0.01)
writing.append(2, range(5))
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_is_killed_loses_what_it_had_not_sealed_and_nothing_else(
    objects: Objects,
) -> None:
    command = [sys.executable, "-c", KILLED, str(objects.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGKILL, "")
    digest, *numbers = done.stdout.split()
    sealed = File(Kind.LOG, digest, *map(int, numbers))
    assert list(objects) == [digest]
    assert told(objects, sealed) == [(0, list(range(25)), True)]
    assert objects.sweep_temporary() == 1
    assert leftovers(objects) == []
    writing = Log(objects, first_batch=sealed.last)
    try:
        writing.append(1, [7, 7])
        after = writing.seal()
    finally:
        writing.close()
    assert told(objects, sealed, after) == [(0, list(range(25)), True), (1, [7, 7], True)]

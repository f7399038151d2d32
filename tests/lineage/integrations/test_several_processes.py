"""Several processes that train one model, driven and watched, started by torchrun over gloo."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import lineage
import unlearn
from lineage.errors import ProgramFailedError, RunError
from lineage.training import team
from lineage.training.ensemble import prepare
from lineage.training.program import load_program
from storage import child
from storage.catalogue import tables
from tests.lineage.integrations.teams import launched
from tests.processes import started_at
from tests.soak_counts import COUNTED

PROGRAM = """
import os
import sys

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import lineage


@lineage.program
def train(run):
    people = run.dataset("people")
    model = nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 1))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    run.track(model=model, optimizer=optimizer)
    together = DistributedDataParallel(model) if run.world_size > 1 else model
    for batch in run.batches(people):
        if run.step >= run.config.get("fail", run.steps):
            if run.config.get("leave", False):
                LEAVE[run.config.leave](0)
            if run.rank == 1:
                raise lineage_error()
        x = torch.from_numpy(batch["x"]).float()[:, None]
        loss = (together(x) - 1).square().sum() * run.world_size / batch.total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


LEAVE = {"sys.exit": sys.exit, "os._exit": os._exit}


def lineage_error():
    from lineage.errors import RunError

    return RunError("the second process has had enough", hint="let it rest")
"""

LOOP = """
import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset
from torch.utils.data.distributed import DistributedSampler

import lineage
from lineage.integrations.torch import observe

dist.init_process_group("gloo")
torch.manual_seed(0)
samples = [(torch.tensor([float(number)]), number) for number in range(30)]
model = nn.Linear(1, 1)
together = DistributedDataParallel(model)
optimizer = torch.optim.SGD(together.parameters(), lr=1e-4)
odd = Subset(samples, range(29))  # of which the sampler gives one twice, to be even
sampler = DistributedSampler(odd, shuffle=True)
loader = DataLoader(odd, batch_size=4, sampler=sampler)
shown = []
store = lineage.Store.open(Path(sys.argv[1]))
words = [sys.executable, "-m", "torch.distributed.run", *sys.argv]
with observe(store, "people", "m", optimizer=optimizer, retrain=words, model=model) as run:
    watched = run.watch(loader, order="file")
    for epoch in range(2):
        sampler.set_epoch(epoch)
        for x, number in watched:
            shown.append((run.step, number.tolist()))
            optimizer.zero_grad()
            together(x).square().mean().backward()
            optimizer.step()
        if epoch == 0:
            run.checkpoint()
Path(sys.argv[2], f"shown-{dist.get_rank()}.json").write_text(json.dumps(shown))
del together, optimizer
dist.barrier()
dist.destroy_process_group()
"""


@pytest.fixture
def people(store: Any, workshop: Any, tmp_path: Path) -> list[str]:
    """The ids of thirty registered records of ten people."""
    rows = workshop.people(10, 3)
    file = workshop.written(tmp_path / "people.csv", rows)
    lineage.add_dataset(store, "people", file, id_columns=("id",), subject_columns=("person",))
    return [row["id"] for row in rows]


@pytest.fixture
def program(tmp_path: Path) -> Any:
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "together.py").write_text(PROGRAM)
    return load_program("together.py:train", folder)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch, twin_here: None) -> None:
    """Teams are started without torchrun, which another test asks for."""
    monkeypatch.setattr(team, "child", SimpleNamespace(run=launched, python=child.python))


def test_two_processes_replay_to_the_bytes_of_a_twin_of_two(
    store: Any, people: list[str], program: Any, workshop: Any, forked: None
) -> None:
    recipe = lineage.Recipe(epochs=3, batch_size=8, checkpoint_every=5, world_size=2)
    lineage.train(store, program, {"people": "people"}, "m", recipe)
    request = unlearn.accept(store, "subject", ["person-03"])
    plan_id, _ = unlearn.make_plan(store, [request.id])
    unlearn.apply(store, plan_id)
    found = unlearn.verify_plan(store, plan_id, twin=True)
    assert (found.statement.claim, found.verdict) == ("replay-verified", "passed")
    assert found.model_digest == found.twin_digest
    environments = workshop.rows_of(store, tables.Environment)
    assert {each.fingerprint["world_size"] for each in environments} == {2}


def test_what_stops_one_process_stops_all_and_is_said(
    store: Any, people: list[str], program: Any, workshop: Any
) -> None:
    recipe = lineage.Recipe(
        epochs=3, batch_size=15, checkpoint_every=2, world_size=2, config={"fail": 3}
    )
    with pytest.raises(RunError, match="the second process has had enough"):
        lineage.train(store, program, {"people": "people"}, "m", recipe)
    (run,) = workshop.rows_of(store, tables.Run)
    assert run.state == "failed"
    assert [each.step for each in workshop.rows_of(store, tables.Checkpoint)] == [2]


TRAIN = """
import sys
from pathlib import Path

import lineage
from lineage.training.ensemble import resume

with lineage.Store.open(Path(sys.argv[1])) as store:
    resume(store, sys.argv[2])
"""


TEAM = 4
"""A guard, torchrun and two that train."""


def stopped(
    store: Any, training: str, script: Path, way: signal.Signals, seconds: float, least: int
) -> int:
    """Train in two processes, and stop the one that started them; how many of them lived.

    That is after some seconds, or as soon as there are ``least``.
    """
    words = [sys.executable, str(script), str(store.path), training]
    process = subprocess.Popen(words, stderr=subprocess.DEVNULL)
    moment = time.monotonic() + seconds
    while time.monotonic() < moment and len(child._descendants(process.pid)) < least:
        time.sleep(0.02)
    family = {pid: started_at(pid) for pid in child._descendants(process.pid)}
    process.send_signal(way)
    process.wait()
    COUNTED["kills"] += 1
    until = time.monotonic() + 5
    while living := [pid for pid, began in family.items() if started_at(pid) == began]:
        assert time.monotonic() < until, f"{living} live on"
        time.sleep(0.02)
    return len(family)


@pytest.fixture
def endless(store: Any, people: list[str], program: Any, tmp_path: Path) -> tuple[str, Path]:
    """A training of two processes that takes long, and the script that goes on with it."""
    script = tmp_path / "train.py"
    script.write_text(TRAIN)
    recipe = lineage.Recipe(epochs=2000, batch_size=8, checkpoint_every=500, world_size=2)
    return prepare(store, program, {"people": "people"}, "m", recipe), script


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_of_a_team_lives_5_seconds_after_what_started_it(
    store: Any, endless: tuple[str, Path], workshop: Any, way: signal.Signals
) -> None:
    assert stopped(store, *endless, way, 60, TEAM) == TEAM
    workshop.assert_consistent(store)


@pytest.mark.soak
def test_whenever_a_team_is_stopped_nothing_of_it_lives_on(
    store: Any, endless: tuple[str, Path], workshop: Any
) -> None:
    until = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0")) / 12
    draws = random.Random(int(os.environ.get("SEED", "0")))
    while True:
        way = draws.choice([signal.SIGKILL, signal.SIGTERM])
        stopped(store, *endless, way, draws.uniform(0.5, 15), TEAM + 1)
        workshop.assert_consistent(store)
        if time.monotonic() > until:
            return


@pytest.mark.parametrize(
    ("way", "error", "said"),
    [
        ("sys.exit", ProgramFailedError, r"^together\.py:train ended with SystemExit in together"),
        ("os._exit", ProgramFailedError, r"^together\.py:train ended with os\._exit in together"),
    ],
)
def test_processes_that_leave_with_0_do_not_complete_the_run(
    store: Any,
    people: list[str],
    program: Any,
    workshop: Any,
    forked: None,
    way: str,
    error: type[Exception],
    said: str,
) -> None:
    config = {"fail": 3, "leave": way}
    recipe = lineage.Recipe(
        epochs=3, batch_size=15, checkpoint_every=2, world_size=2, config=config
    )
    with pytest.raises(error, match=said):
        lineage.train(store, program, {"people": "people"}, "m", recipe)
    (run,) = workshop.rows_of(store, tables.Run)
    assert run.state == "failed"


def test_each_of_two_watched_processes_tells_what_it_was_given(
    store: Any, people: list[str], workshop: Any, tmp_path: Path
) -> None:
    script = tmp_path / "loop.py"
    script.write_text(LOOP)
    store.close()
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script), str(store.path), str(tmp_path)],
        env={**os.environ, "PYTHONPATH": str(Path(lineage.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    shown: dict[str, list[int]] = {name: [] for name in people}
    for rank in range(2):
        for step, numbers in json.loads((tmp_path / f"shown-{rank}.json").read_text()):
            for number in numbers:
                shown[people[number]].append(step)
    assert [len(shown.pop(people[-1])), sum(map(len, shown.values()))] == [0, 60]
    for name, steps in shown.items():
        answer = lineage.who_saw(store, "record", name)
        assert answer.complete
        assert not answer.bounds
        assert [step for each in answer.steps.values() for step in each] == sorted(set(steps))
    segments = workshop.rows_of(store, tables.Segment)
    assert sorted((each.first_step, each.visits) for each in segments) == [(0, 30), (4, 30)]
    workshop.assert_consistent(store)

"""Nothing of an apply lives on when it is stopped, and what it did can be gone on with at once."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from lineage.errors import ProgramFailedError
from lineage.training.model import find_version
from storage import child
from tests.processes import started_at
from tests.soak_counts import COUNTED
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.dispatch.local import LocalWorkers
from unlearn.plan.planner import make_plan
from unlearn.plan.stored import load_plan
from unlearn.request.lifecycle import accept

pytestmark = pytest.mark.no_cover

SECONDS = 5.0

APPLY = """
import sys
from pathlib import Path
from lineage.store import Store
from unlearn.dispatch.drive import apply
from unlearn.dispatch.local import LocalWorkers

if __name__ == "__main__":
    with Store.open(Path(sys.argv[1])) as store:
        apply(store, sys.argv[2], LocalWorkers(store, 2))
"""


def wait_for(met: Callable[[], Any], seconds: float) -> float:
    began = time.monotonic()
    while not met():
        assert time.monotonic() < began + seconds, "it took too long"
        time.sleep(0.02)
    return time.monotonic() - began


@pytest.fixture
def plan_id(trained: Any, tally: Any) -> str:
    return make_plan(trained, [accept(trained, "subject", ["person-07"]).id])[0]


def last_step(store: Any, plan_id: str) -> int:
    with store.catalogue.read() as session:
        return int(load_plan(session, plan_id)[1].task("replay-1").work.until) - 1


@pytest.fixture
def command(trained: Any, plan_id: str, tmp_path: Path) -> list[str]:
    """Apply the plan in two workers, by a script that lies elsewhere, as the command does."""
    script = tmp_path / "scripts" / "apply.py"
    script.parent.mkdir()
    script.write_text(APPLY)
    return [sys.executable, str(script), str(trained.path), plan_id]


@pytest.fixture
def applying(
    trained: Any, tally: Any, plan_id: str, tmp_path: Path, command: list[str]
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process that applies the plan in two workers, in a folder with a module of Python's name.

    Its replay waits at its last step.
    """
    folder = tmp_path / "working"
    folder.mkdir()
    (folder / "struct.py").write_text("raise SystemExit('a file of the user was imported')")
    tally.spring(last_step(trained, plan_id), "wait")
    with subprocess.Popen(command, cwd=folder, stderr=subprocess.PIPE) as process:
        wait_for(lambda: tally.trap.with_suffix(".waiting").exists() or process.poll(), 60)
        yield process
        process.kill()


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM])
def test_nothing_of_an_apply_that_was_stopped_lives_5_seconds_later(
    trained: Any,
    tally: Any,
    plan_id: str,
    applying: "subprocess.Popen[bytes]",
    way: signal.Signals,
) -> None:
    assert applying.poll() is None
    family = {pid: started_at(pid) for pid in child._descendants(applying.pid)}
    assert len(family) >= 2
    applying.send_signal(way)
    applying.wait()
    # The next one need not wait for the workers of the last one.
    results = apply(trained, plan_id, InProcess(trained))
    assert results["check"]["verdict"] == "passed"
    assert find_version(trained, "m").digest == results["aggregate-1"]["digest"]
    wait_for(lambda: not any(started_at(pid) == began for pid, began in family.items()), SECONDS)


def test_a_program_that_asks_to_exit_in_a_worker_fails_the_plan(
    trained: Any, tally: Any, plan_id: str
) -> None:
    ways = {"exit": "SystemExit", "os-exit": r"os\._exit"}
    for way, workers in product(ways, (InProcess, lambda store: LocalWorkers(store, 1))):
        tally.spring(last_step(trained, plan_id), way)
        with pytest.raises(ProgramFailedError, match=rf"^tally\.py:train ended with {ways[way]}"):
            apply(trained, plan_id, workers(trained))
        with trained.catalogue.read() as session:
            assert load_plan(session, plan_id)[0].state == "failed"
    assert apply(trained, plan_id)["check"]["verdict"] == "passed"


@pytest.mark.soak
def test_whenever_an_apply_is_killed_nothing_of_it_lives_on(
    trained: Any, tally: Any, plan_id: str, workshop: Any, command: list[str]
) -> None:
    until = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0")) / 12
    moments = random.Random(int(os.environ.get("SEED", "0")))
    fences = [0]
    while True:
        if moments.random() < 0.8:  # else it may come to its end, and nothing is left to kill
            tally.spring(last_step(trained, plan_id), "wait")
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        moment = time.monotonic() + moments.uniform(0.5, 8)
        wait_for(lambda at=moment, p=process: time.monotonic() > at or p.poll() is not None, 60)
        family = {pid: started_at(pid) for pid in child._descendants(process.pid)}
        process.send_signal(moments.choice([signal.SIGKILL, signal.SIGTERM]))
        process.wait()
        COUNTED["kills"] += 1
        with trained.catalogue.read() as session:
            plan = load_plan(session, plan_id)[0]
        # Whoever was killed while it owned the plan left that to be taken over by the next.
        assert plan.fence >= fences[-1]
        COUNTED["leases taken over"] += plan.fence > fences[-1] > 0
        fences.append(plan.fence)
        wait_for(
            lambda f=family: not any(started_at(pid) == began for pid, began in f.items()), SECONDS
        )
        if time.monotonic() > until:
            break
    tally.trap.unlink(missing_ok=True)
    assert apply(trained, plan_id)["check"]["verdict"] == "passed"
    workshop.assert_consistent(trained)

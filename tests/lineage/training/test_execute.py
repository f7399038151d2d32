"""The one executor: what an interruption leaves, and what going on from it gives."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from lineage.errors import FencedError, ProgramError, ProgramFailedError, RunError, RunStoppedError
from lineage.training import recorder
from lineage.training.ensemble import prepare, resume
from lineage.training.execute import execute
from lineage.training.program import load_program
from storage.catalogue import tables
from storage.errors import CorruptObjectError, NotFoundError
from storage.processes import this_process
from unlearn.request.lifecycle import accept, cancel

WHOLE = {"shards": 1, "slices": 2, "checkpoint_every": 6}


@pytest.fixture
def prepared(tally: Any, store: Any) -> str:
    """A run of 36 steps that was written down and not begun; the program's log is empty."""
    tally.register(store)
    training = tally.prepare(store, **WHOLE)
    return run_of(store, training).id


def run_of(store: Any, training: str) -> tables.Run:
    with store.catalogue.read() as session:
        return session.query(tables.Run).filter_by(training_id=training).one()


def state_of(store: Any, run_id: str) -> tuple[str, str | None]:
    with store.catalogue.read() as session:
        run = session.get_one(tables.Run, run_id)
        return run.state, run.owner


def digests(workshop: Any, store: Any, run_id: str) -> dict[int, tuple[str, str]]:
    """Step → digest and chain of every checkpoint of a run."""
    found = workshop.rows_of(store, tables.Checkpoint, run_id=run_id)
    return {each.step: (each.digest, each.consumed) for each in sorted(found, key=lambda c: c.step)}


@pytest.fixture(scope="module")
def uninterrupted(
    workshop: Any, program_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[int, tuple[str, str]]:
    """What the run gives when nothing happens to it."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    bench = workshop.Bench(program_folder, folder)
    with workshop.Store.create(folder / "store", workshop.Clock()) as store:
        bench.register(store)
        run_id = run_of(store, bench.prepare(store, **WHOLE)).id
        execute(store, run_id)
        return digests(workshop, store, run_id)


def test_a_run_is_complete_after_its_last_step(
    prepared: str, store: Any, tally: Any, workshop: Any, uninterrupted: Any
) -> None:
    execute(store, prepared)
    assert state_of(store, prepared) == ("complete", None)
    assert digests(workshop, store, prepared) == uninterrupted
    steps = [step for step, _ in tally.consumed()]
    assert steps == sorted(set(steps))
    segments = workshop.rows_of(store, tables.Segment, run_id=prepared)
    assert sum(each.visits for each in segments) == sum(len(ids) for _, ids in tally.consumed())
    assert {each.environment for each in segments} == {
        each.digest for each in workshop.rows_of(store, tables.Environment)
    }


def test_a_complete_or_unknown_run_is_not_executed(prepared: str, store: Any) -> None:
    execute(store, prepared)
    with pytest.raises(RunError, match="is complete"):
        execute(store, prepared)
    with pytest.raises(NotFoundError, match="run-0"):
        execute(store, "run-0")


@pytest.mark.parametrize("step", [0, 11, 12, 35])
@pytest.mark.parametrize(("way", "state"), [("error", "failed"), ("interrupt", "stopped")])
def test_an_interrupted_run_goes_on_from_its_last_checkpoint_to_the_same_bytes(
    prepared: str,
    store: Any,
    tally: Any,
    workshop: Any,
    uninterrupted: Any,
    way: str,
    state: str,
    step: int,
) -> None:
    tally.spring(step, way)
    with pytest.raises((ProgramFailedError, KeyboardInterrupt)) as ended:
        execute(store, prepared)
    assert f"trap at step {step}" in str(ended.value.__cause__ or ended.value)
    assert state_of(store, prepared) == (state, None)
    kept = digests(workshop, store, prepared)
    assert kept == {at: each for at, each in uninterrupted.items() if at <= step}
    tally.forget_the_log()
    execute(store, prepared)
    assert digests(workshop, store, prepared) == uninterrupted
    # Nothing before the last checkpoint is executed again, and nothing after it is left out.
    first, *_ = tally.consumed()
    assert first[0] == max(kept, default=0)
    assert len(workshop.rows_of(store, tables.Segment)) == len(uninterrupted)


EXECUTE = """
import sys
from pathlib import Path
from lineage.store import Store
from lineage.training.execute import execute
with Store.open(Path(sys.argv[1])) as store:
    execute(store, sys.argv[2])
"""


def test_a_run_whose_process_was_killed_is_taken_over(
    prepared: str, store: Any, tally: Any, workshop: Any, uninterrupted: Any
) -> None:
    tally.spring(20, "kill")
    command = [sys.executable, "-c", EXECUTE, str(store.path), prepared]
    assert subprocess.run(command, check=False).returncode == -9
    state, owner = state_of(store, prepared)
    assert (state, owner is None) == ("running", False)
    execute(store, prepared)
    assert digests(workshop, store, prepared) == uninterrupted


def test_a_run_that_a_living_process_executes_is_refused(prepared: str, store: Any) -> None:
    with store.catalogue.write() as session:
        owned = {"owner": this_process(), "state": "running"}
        session.execute(update(tables.Run).values(**owned))
    with pytest.raises(RunError, match="is being executed by process") as refused:
        execute(store, prepared)
    assert "stop that process" in refused.value.hint
    assert state_of(store, prepared) == ("running", this_process())


def test_a_request_stops_a_run_at_its_next_checkpoint(
    prepared: str,
    store: Any,
    workshop: Any,
    monkeypatch: pytest.MonkeyPatch,
    uninterrupted: Any,
) -> None:
    publish = recorder.checkpoints.publish
    accepted: list[Any] = []

    def then_accept(*arguments: Any) -> str:
        checkpoint = publish(*arguments)
        if arguments[2] == 12:
            accepted.append(accept(store, "subject", ["person-03"]))
        return checkpoint

    monkeypatch.setattr(recorder.checkpoints, "publish", then_accept)
    with pytest.raises(RunStoppedError, match="stopped after step 12") as stopped:
        execute(store, prepared)
    assert "plan and apply" in stopped.value.hint
    assert "person-03" not in stopped.value.message
    assert state_of(store, prepared) == ("stopped", None)
    assert list(digests(workshop, store, prepared)) == [6, 12]
    with pytest.raises(FencedError):
        execute(store, prepared)
    assert state_of(store, prepared) == ("failed", None)
    cancel(store, accepted[0].id)
    execute(store, prepared)
    assert digests(workshop, store, prepared) == uninterrupted


def test_a_run_can_be_taken_to_a_step_and_no_further(
    prepared: str, store: Any, tally: Any, workshop: Any, uninterrupted: Any
) -> None:
    execute(store, prepared, until=12)
    assert digests(workshop, store, prepared) == {at: uninterrupted[at] for at in (6, 12)}
    assert max(step for step, _ in tally.consumed()) < 12


def test_a_run_that_died_between_its_last_checkpoint_and_its_end_only_ends(
    prepared: str, store: Any, tally: Any, workshop: Any
) -> None:
    execute(store, prepared, until=12)
    with store.catalogue.write() as session:
        session.execute(update(tables.Run).values(state="running", owner="elsewhere:1:1"))
        session.execute(update(tables.Run).values(owner=None))
    tally.forget_the_log()
    execute(store, prepared, until=12)
    assert tally.consumed() == []
    assert state_of(store, prepared) == ("complete", None)
    assert list(digests(workshop, store, prepared)) == [6, 12]


def test_a_damaged_checkpoint_is_named_when_the_run_would_go_on_from_it(
    prepared: str, store: Any, tally: Any, workshop: Any
) -> None:
    tally.spring(9, "error")
    with pytest.raises(ProgramFailedError, match="OSError"):
        execute(store, prepared)
    (checkpoint,) = workshop.rows_of(store, tables.Checkpoint)
    store.objects.open(checkpoint.object).write_bytes(b"damaged")
    with pytest.raises(CorruptObjectError, match=checkpoint.object):
        execute(store, prepared)


PROGRAMS = """
import lineage

class Nothing:
    def state_dict(self): return {}
    def load_state_dict(self, state): pass

@lineage.program
def returns_early(run):
    run.track(nothing=Nothing())
    for batch in run.batches(run.dataset("people")):
        if run.step >= 20:
            return

@lineage.program
def leaves_at_the_last_batch(run):
    run.track(nothing=Nothing())
    for batch in run.batches(run.dataset("people")):
        if run.step == run.steps - 1:
            break

@lineage.program
def never_asks(run):
    run.track(nothing=Nothing())
"""


@pytest.mark.parametrize(
    ("name", "step"), [("returns_early", 20), ("leaves_at_the_last_batch", 35), ("never_asks", 0)]
)
def test_a_program_that_leaves_batches_is_refused(
    store: Any, tally: Any, workshop: Any, tmp_path: Path, name: str, step: int
) -> None:
    (tmp_path / "programs.py").write_text(PROGRAMS)
    tally.register(store)
    program = load_program(f"programs.py:{name}", tmp_path)
    recipe = replace(workshop.RECIPE, **WHOLE, min_batch=1)
    training = prepare(store, program, {"people": "people"}, "m", recipe)
    with pytest.raises(ProgramError, match=f"returned after step {step} of 36") as refused:
        resume(store, training)
    assert "to its end" in refused.value.hint
    assert state_of(store, run_of(store, training).id) == ("failed", None)
    assert workshop.rows_of(store, tables.ModelVersion) == []

"""Watching a loop, without any framework: what is kept, what is refused, what is left behind."""

import sys
from hashlib import blake2b
from pathlib import Path
from typing import Any

import pytest

from lineage.errors import (
    FencedError,
    ProgramError,
    RunError,
    RunStoppedError,
)
from lineage.training.events import Updated
from lineage.training.execute import execute
from lineage.training.observed import Observed
from lineage.training.recording import open_recording
from lineage.training.watching import INTERACTIVE, restore
from storage.catalogue import tables
from tests.lineage.training.watched_loops import ORDER, Count, died, live, refused, steps_of
from unlearn.request.lifecycle import accept


def test_what_was_watched_is_known_to_the_step_and_published(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        live(run, keep=(2,))
    assert [steps_of(store, row) for row in (3, 1, 5, 9)] == [{0, 3}, {0}, {2}, set()]
    (version,) = workshop.rows_of(store, tables.ModelVersion)
    (run_row,) = workshop.rows_of(store, tables.Run)
    assert (run_row.id, run_row.state, run_row.training_id is None) == (run.id, "complete", False)
    segments = workshop.rows_of(store, tables.Segment)
    laps = {each.first_step: (each.visits, each.skipped) for each in segments}
    assert laps == {0: (5, 0), 2: (3, 0)}
    assert version.sequence == 1
    workshop.assert_consistent(store)


def test_the_chain_is_a_keyed_hash_of_the_keys_in_the_order_they_were_drawn(
    store: Any, people: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        live(run, keep=(1, 3))
    checkpoints = workshop.rows_of(store, tables.Checkpoint)
    consumed = {each.step: each.consumed for each in checkpoints}
    expected = {}
    chain = b""
    for first, last in ((0, 1), (1, 3), (3, 4)):
        keys = [people.present.records.keys[row] for rows in ORDER[first:last] for row in rows]
        message = b"".join(int(key).to_bytes(8, sys.byteorder) for key in keys)
        chain = blake2b(chain + message, digest_size=32, key=people.salt).digest()
        expected[last] = chain.hex()
    assert consumed == expected


@pytest.mark.parametrize("ordered", [False, True])
def test_the_order_inside_batches_is_kept_where_that_is_asked_for(
    store: Any, watching: Any, workshop: Any, ordered: bool
) -> None:
    with watching(ordered=ordered) as run:
        live(run)
    (row,) = workshop.rows_of(store, tables.Recording)
    recording = open_recording(store, row.id)
    assert recording.batches.size.tolist() == [2, 3, 1, 2]
    if ordered:
        assert recording.between(0, 4).tolist() == [row for rows in ORDER for row in rows]


def test_a_checkpoint_before_the_first_step_keeps_nothing(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        run.checkpoint()
        live(run)
    (kept,) = workshop.rows_of(store, tables.Checkpoint)
    assert kept.step == len(ORDER)


def no_batch(run: Observed) -> None:
    run.update(Updated(run.window()))


def test_a_loop_that_does_nothing_trains_nothing(store: Any, watching: Any) -> None:
    error = refused(RunError, "did no optimizer step", watching(), lambda run: None)
    assert "given to observe" in error.hint
    assert "watch()" in refused(RunError, "before any watched", watching(), no_batch).hint
    with store.catalogue.read() as session:
        assert session.query(tables.ModelVersion).count() == 0


@pytest.mark.parametrize(
    ("error", "state"),
    [(OSError("the power"), "failed"), (SystemExit(1), "failed"), (KeyboardInterrupt(), "stopped")],
    ids=["error", "exit", "interrupt"],
)
def test_a_loop_that_ends_early_keeps_its_checkpoint_and_publishes_nothing(
    store: Any, watching: Any, workshop: Any, error: BaseException, state: str
) -> None:
    run_id = died(watching(), error)
    (run,) = workshop.rows_of(store, tables.Run)
    assert (run.id, run.state, run.owner) == (run_id, state, None)
    assert [each.step for each in workshop.rows_of(store, tables.Checkpoint)] == [2]
    assert workshop.rows_of(store, tables.ModelVersion) == []
    assert steps_of(store, 5) == set()


def test_a_run_goes_on_from_its_last_checkpoint(store: Any, watching: Any, workshop: Any) -> None:
    with watching() as whole:
        live(whole, keep=(2,))
    run_id = died(watching(), OSError("the power"))
    count = Count()
    count.value = 9
    with watching(count, resume=run_id) as run:
        assert (run.id, run.step, count.value) == (run_id, 2, 0)
        live(run)
    assert steps_of(store, 3) == {0, 3}
    consumed = {
        each: [c.consumed for c in workshop.rows_of(store, tables.Checkpoint, run_id=each)]
        for each in (whole.id, run_id)
    }
    assert sorted(consumed[whole.id]) == sorted(consumed[run_id])
    assert len(workshop.rows_of(store, tables.ModelVersion)) == 2


def test_a_run_without_a_checkpoint_begins_again(store: Any, watching: Any) -> None:
    run_id = died(watching(), OSError("the power"), keep=())
    with watching(resume=run_id) as run:
        assert run.step == 0
        live(run)
    assert steps_of(store, 3) == {0, 3}


def test_only_one_loop_records_a_run_and_only_until_it_is_complete(
    store: Any, watching: Any
) -> None:
    def act(run: Observed) -> None:
        with watching(resume=run.id):
            raise AssertionError

    refused(RunError, "is being executed by process", watching(), act)
    with watching() as run:
        live(run)
    refused(RunError, "is complete", watching(resume=run.id), live)


def test_no_other_than_its_own_loop_goes_on_with_a_run(
    store: Any, tally: Any, watching: Any, workshop: Any
) -> None:
    run_id = died(watching(), OSError("the power"))
    with pytest.raises(RunError, match="only its owner's loop") as found:
        execute(store, run_id)
    assert f"resume={run_id!r}" in found.value.hint
    tally.prepare(store, shards=1, slices=1)
    (other,) = workshop.rows_of(store, tables.Run, state="pending")
    assert other.id in refused(RunError, "was not observed", watching(resume=other.id), live).hint


def test_a_request_that_comes_while_the_loop_runs_stops_it_at_its_next_checkpoint(
    store: Any, watching: Any, workshop: Any
) -> None:
    def act(run: Observed) -> None:
        live(run, order=ORDER[:3])
        accept(store, "record", ["record-0003"])
        run.checkpoint()

    error = refused(RunStoppedError, "stopped after step 3", watching(), act)
    assert "plan and apply" in error.hint
    (run,) = workshop.rows_of(store, tables.Run)
    assert run.state == "stopped"
    assert [each.step for each in workshop.rows_of(store, tables.Checkpoint)] == [3]
    assert workshop.rows_of(store, tables.ModelVersion) == []
    refused(FencedError, "version", watching(resume=run.id), live)


def test_measures_that_steer_a_choice_are_no_training(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        live(run, order=ORDER[:2])
        run.evaluated({"loss": 0.5})
        live(run)
    (row,) = workshop.rows_of(store, tables.Evaluation)
    assert (row.alias, row.step, row.metrics) == ("people", 2, {"loss": 0.5})


def test_the_state_of_a_version_fills_what_is_given(store: Any, watching: Any) -> None:
    count = Count()
    with watching(count) as run:
        live(run, order=ORDER[:1])
        count.value = 7
    with watching() as run:
        live(run)
    first, newest = Count(), Count()
    with store.catalogue.read() as session:
        version = session.query(tables.ModelVersion).filter_by(sequence=1).one().id
    assert restore(store, version, {"count": first}) == version
    assert restore(store, "m", {"count": newest}) != version
    assert (first.value, newest.value) == (7, 0)
    with pytest.raises(ProgramError, match="holds no 'other', but count") as found:
        restore(store, "m", {"other": first})
    assert "observed with" in found.value.hint


def test_an_ensemble_is_not_the_state_of_one_loop(trained: Any) -> None:
    with pytest.raises(ProgramError, match="is an ensemble of 2") as found:
        restore(trained, "m", {"model": Count()})
    assert "load_model" in found.value.hint


def test_the_program_of_a_loop_is_its_script(
    store: Any, watching: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text("import beside\n")
    (tmp_path / "beside.py").write_text("")
    for file, command in ((str(script), None), (None, ["make", "model"])):
        monkeypatch.setattr(sys.modules["__main__"], "__file__", file, raising=False)
        with watching(command=command) as run:
            live(run)
    by_script, typed = workshop.rows_of(store, tables.Program)
    if by_script.ref == INTERACTIVE:
        by_script, typed = typed, by_script
    assert (by_script.ref, set(by_script.files)) == ("script.py", {"script.py", "beside.py"})
    assert (typed.ref, typed.files) == (INTERACTIVE, {})
    commands = {tuple(each.command) for each in workshop.rows_of(store, tables.ObservedRun)}
    assert commands == {(sys.executable, *sys.orig_argv[1:]), ("make", "model")}

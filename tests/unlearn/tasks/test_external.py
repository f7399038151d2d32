"""External: a loop that was only observed is trained again by its owner's own command."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lineage.data.version import open_version
from lineage.provenance.query import who_saw
from lineage.store import Store
from lineage.training.ensemble import Recipe, train
from lineage.training.program import load_program
from storage.catalogue import tables
from tests.unlearn.tasks.observing import (
    COMMAND,
    EVERYBODY,
    Whim,
    ask,
    asked,
    given,
    of,
    planned,
    settled,
)
from unlearn.dispatch.drive import apply
from unlearn.errors import StalePlanError, TaskError
from unlearn.plan.planner import make_plan


def test_an_owner_is_told_what_is_left_and_trains_on_nothing_else(
    workshop: Any, tmp_path: Path, owner: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with settled(workshop, tmp_path) as store:
        owner.train(command=(sys.executable, "owner.py"))
        (original,) = workshop.rows_of(store, tables.Run)
        plan_id, plan = make_plan(store, [ask(store, "person-07")])
        (task, *_) = plan.tasks
        assert (task.id, task.work.command[-1]) == ("external-1", "owner.py")
        assert (task.visits, plan.visits, plan.claim_possible) == (184, 184, "exact-by-provenance")
        (tmp_path / "trap").touch()
        with pytest.raises(TaskError, match="ended with status -9: it said nothing"):
            apply(store, plan_id)
        (tmp_path / "trap").unlink()
        (killed,) = workshop.rows_of(store, tables.Run, task_id=f"{plan_id}/external-1")
        answer = asked("apply", plan_id, "--on", "debug", store=store)
        results = apply(store, plan_id)

        note = json.loads((tmp_path / "asked.json").read_text())
        folder = Path(note["folder"])
        assert note["same"]
        assert note["task"] == {
            "task": f"{plan_id}/external-1",
            "store": str(store.path),
            "run": original.id,
            "model": "m",
            "dataset": "people",
            "version": results["external-1"]["dataset_version"],
            "retained": 92,
            "records": str(folder / f"{results['external-1']['dataset_version']}.parquet"),
            "stands_in": {},
            "answer": str(folder / "answer.json"),
        }
        rows = [(row["id"], row["x"]) for row in note["rows"]]
        kept = (row for n, row in enumerate(workshop.people()) if n not in of(7))
        assert rows == [(row["id"], row["x"]) for row in kept]
        assert not folder.exists()

        run = results["external-1"]["run"]
        assert given(store, original.id) == EVERYBODY
        assert given(store, run) == EVERYBODY - of(7)
        assert run != killed.id
        assert workshop.rows_of(store, tables.Checkpoint, run_id=killed.id)
        assert who_saw(store, "subject", "person-07").state == "erased"
        seen = who_saw(store, "record", "record-0008")
        assert run in {each.run for each in seen.runs}
        assert [model.sequence for model in seen.models if model.live] == [2]
        assert (answer["claim"], answer["verdict"]) == ("exact-by-provenance", "passed")
        assert answer["reason"] == f"only the owner of {run} can train it again"
        assert (answer["visits"], len(answer["versions"])) == (184, 1)
        verified = asked("verify", plan_id, "--twin", store=store, status=6)
        assert (verified["claim"], verified["verdict"]) == ("exact-by-provenance", "inconclusive")
        assert "nobody but its owner can train a twin" in verified["reason"]
        assert asked("verify", plan_id, store=store)["verdict"] == "passed"
        workshop.assert_consistent(store)


class PowerFailure(BaseException):
    """Nothing in the library expects this."""


def test_what_an_owner_did_for_a_process_that_died_is_not_done_again(
    observed: Store, command: Callable[[Whim], None], owner: ModuleType, workshop: Any
) -> None:
    def fails(asked: dict[str, Any]) -> None:
        owner.train()
        raise PowerFailure

    plan_id = planned(observed, "person-07")
    command(fails)
    with pytest.raises(PowerFailure):
        apply(observed, plan_id)
    done = len(workshop.rows_of(observed, tables.Run))
    results = apply(observed, plan_id)
    assert given(observed, results["external-1"]["run"]) == EVERYBODY - of(7)
    assert len(workshop.rows_of(observed, tables.Run)) == done


def test_a_second_request_is_carried_out_by_the_command_of_the_retrained_model(
    observed: Store, command: Callable[[Whim], None], owner: ModuleType, workshop: Any
) -> None:
    command(lambda asked: owner.train(command=COMMAND))
    first = apply(observed, planned(observed, "person-07"))["external-1"]["run"]
    plan_id, plan = make_plan(observed, [ask(observed, "person-08")])
    assert plan.tasks[0].work.run_id == first
    results = apply(observed, plan_id)
    assert given(observed, results["external-1"]["run"]) == EVERYBODY - of(7, 8)
    assert results["check"]["claim"]["claim"] == "exact-by-provenance"
    versions = workshop.rows_of(observed, tables.ModelVersion)
    assert sorted((v.sequence, v.purged_at is None) for v in versions) == [
        (1, False),
        (2, False),
        (3, True),
    ]
    workshop.assert_consistent(observed)


def test_another_request_makes_the_plan_stale(observed: Store) -> None:
    plan_id = planned(observed, "person-07")
    ask(observed, "person-08")
    with pytest.raises(StalePlanError, match="forgotten; task external-1 is different"):
        apply(observed, plan_id)


def test_what_a_loop_never_saw_is_forgotten_without_its_owner(
    observed: Store, workshop: Any, tmp_path: Path
) -> None:
    late = [{"id": f"late-{n}", "person": "latecomer", "x": n / 3} for n in range(3)]
    workshop.Bench(tmp_path, tmp_path).register(observed, rows=late)
    plan_id, plan = make_plan(observed, [ask(observed, "latecomer")])
    assert [task.id for task in plan.tasks] == ["check", "publish", "purge"]
    assert apply(observed, plan_id)["purge"]["erased_records"] == 3
    (version,) = workshop.rows_of(observed, tables.ModelVersion)
    assert version.purged_at is None
    (run,) = workshop.rows_of(observed, tables.Run)
    (read,) = workshop.rows_of(observed, tables.RunInput, run_id=run.id)
    assert len(open_version(observed, read.version_id).present.positions) == 96


@pytest.fixture
def tuned(observed: Store, workshop: Any) -> Store:
    """The store with a fine-tune on ``others``, from the first checkpoint of the loop."""
    first = min(workshop.rows_of(observed, tables.Checkpoint), key=lambda each: each.step)
    recipe = Recipe(epochs=1, batch_size=8, start=first.id)
    train(
        observed, load_program("owner.py:tune", Path.cwd()), {"others": "others"}, "tuned", recipe
    )
    return observed


def of_the_loop(workshop: Any, store: Store) -> dict[int, Any]:
    """The checkpoints of the observed run, by step."""
    (row,) = workshop.rows_of(store, tables.ObservedRun)
    return {c.step: c for c in workshop.rows_of(store, tables.Checkpoint, run_id=row.run_id)}


def start_of(workshop: Any, store: Store, run_id: str) -> str:
    (run,) = workshop.rows_of(store, tables.Run, id=run_id)
    return str(run.start_id)


def test_a_fine_tune_starts_from_what_its_owner_made_again(
    tuned: Store, command: Callable[[Whim], None], owner: ModuleType, workshop: Any
) -> None:
    steps = sorted(of_the_loop(workshop, tuned))
    plan_id, plan = make_plan(tuned, [ask(tuned, "record-0007", kind="record")])
    assert [task.id for task in plan.tasks[:2]] == ["external-1", "replay-2"]
    command(lambda asked: owner.train())
    results = apply(tuned, plan_id)
    made = results["external-1"]["checkpoints"]
    assert list(made) == list(map(str, steps))
    assert start_of(workshop, tuned, results["replay-2"]["run"]) == made[str(steps[0])]
    assert len(results["publish"]["versions"]) == 2
    assert results["check"]["claim"]["claim"] == "exact-by-provenance"
    workshop.assert_consistent(tuned)


def test_a_fine_tune_needs_no_owner_while_what_it_started_from_is_there(
    tuned: Store, workshop: Any
) -> None:
    first = min(of_the_loop(workshop, tuned).items())[1]
    results = apply(tuned, planned(tuned, "o-record-0007", kind="record"))
    assert start_of(workshop, tuned, results["replay-1"]["run"]) == first.id
    assert results["check"]["verdict"] == "passed"


def test_a_checkpoint_that_was_lost_is_made_again_by_a_loop_that_keeps_as_many(
    tuned: Store, command: Callable[[Whim], None], owner: ModuleType, workshop: Any
) -> None:
    (step, first), _ = sorted(of_the_loop(workshop, tuned).items())
    tuned.objects.delete(first.object)
    plan_id, plan = make_plan(tuned, [ask(tuned, "o-record-0007", kind="record")])
    assert [task.id for task in plan.tasks[:2]] == ["external-1", "replay-2"]
    assert "has lost a checkpoint that is needed" in plan.tasks[0].reason
    command(lambda asked: owner.train(epochs=1))
    for _ in range(2):
        with pytest.raises(TaskError, match="did not keep 2 checkpoints, as the run before"):
            apply(tuned, plan_id)
    command(lambda asked: owner.train())
    results = apply(tuned, plan_id)
    made = results["external-1"]["checkpoints"]
    assert start_of(workshop, tuned, results["replay-2"]["run"]) == made[str(step)]
    assert len(results["publish"]["versions"]) == 1
    assert given(tuned, results["external-1"]["run"]) == EVERYBODY

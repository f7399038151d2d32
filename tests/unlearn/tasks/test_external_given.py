"""A watched loop that reads a model descends from it, and is trained again after it."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

import lineage
from lineage.store import Store
from storage.catalogue import tables
from tests.unlearn.tasks.observing import ask, planned
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan


@pytest.fixture
def tuned(observed: Store) -> Store:
    """The store after another script of its owner's went on from the model, as a process."""
    shutil.copy(Path(__file__).with_name("tuner.py"), Path.cwd())
    subprocess.run([sys.executable, "tuner.py"], check=True, timeout=120)
    with observed.catalogue.write() as session:
        own = update(tables.ObservedRun).where(
            tables.ObservedRun.command[0].as_string() == "python"
        )
        session.execute(own.values(command=[sys.executable, "owner.py"]))
    return observed


def given(workshop: Any, store: Store, run_id: str) -> set[str]:
    """The checkpoints of models that a run read."""
    return {each.checkpoint_id for each in workshop.rows_of(store, tables.RunModel, run_id=run_id)}


def test_whom_a_model_saw_is_found_in_what_went_on_from_it(tuned: Store) -> None:
    models = {each.model for each in lineage.who_saw(tuned, "record", "record-0007").models}
    assert models == {"m", "tuned"}
    models = {each.model for each in lineage.who_saw(tuned, "record", "o-record-0007").models}
    assert models == {"tuned"}


def test_it_is_trained_again_from_what_was_made_again(tuned: Store, workshop: Any) -> None:
    plan_id, plan = make_plan(tuned, [ask(tuned, "record-0007", kind="record")])
    first, second = plan.tasks[:2]
    assert (first.id, second.id, second.depends_on) == ("external-1", "external-2", ("external-1",))
    results = apply(tuned, plan_id)
    made = list(results["external-1"]["checkpoints"].values())
    assert given(workshop, tuned, results["external-2"]["run"]) == {made[-1]}
    assert results["check"]["claim"]["claim"] == "exact-by-provenance"
    assert results["check"]["verdict"] == "passed"
    assert len(results["publish"]["versions"]) == 2
    workshop.assert_consistent(tuned)


def test_it_alone_is_trained_again_for_its_own_people(tuned: Store, workshop: Any) -> None:
    (before,) = {each.checkpoint_id for each in workshop.rows_of(tuned, tables.RunModel)}
    results = apply(tuned, planned(tuned, "o-record-0007", kind="record"))
    assert results["publish"]["versions"].keys() < {
        each.id for each in workshop.rows_of(tuned, tables.ModelVersion)
    }
    assert given(workshop, tuned, results["external-1"]["run"]) == {before}
    assert results["check"]["verdict"] == "passed"

"""Rows that a model makes again may come before the first visit to those that they replace."""

from pathlib import Path
from typing import Any

import pytest

import lineage
import unlearn
from lineage.source import load
from lineage.training.program import load_program
from storage.catalogue import tables
from tests.workshop import Clock, rows_of
from unlearn.claim import Verdict

SCHOOL = """
import numpy as np
import pyarrow as pa
import lineage

FEW = ("r0", "r1", "r2")

class Fold:
    def __init__(self): self.value = np.zeros(2)
    def state_dict(self): return {"value": self.value.copy()}
    def load_state_dict(self, state): self.value = np.array(state["value"])

@lineage.program
def train(run):
    fold = Fold()
    run.track(model=fold)
    for batch in run.batches(run.dataset(run.config.get("data", "d"))):
        fold.value = fold.value * 0.9 + [batch["x"].sum(), len(batch)]

@lineage.transform("record")
def picked(rows, *, teacher):
    '''Keep three of the rows where the model learned from all twelve, else every one.'''
    learned_all = teacher.states[0]["model"]["value"][1] > 11
    ids = rows["id"].to_pylist()
    places = [i for i, name in enumerate(ids) if name in FEW or not learned_all]
    return rows.take(pa.array(places, pa.int64())), places

@lineage.transform("record")
def same(rows):
    return rows
"""


@pytest.fixture
def school(tmp_path: Path) -> Any:
    """A store with a teacher ``t`` of twelve rows, and ``p``: what it picks of them."""
    (tmp_path / "school.py").write_text(SCHOOL)
    lines = [f"r{row},p{row % 6},{row / 10}" for row in range(12)]
    (tmp_path / "d.csv").write_text("\n".join(["id,person,x", *lines]) + "\n")
    named = {"id_columns": ("id",), "subject_columns": ("person",), "namespace": "people"}
    with lineage.Store.create(tmp_path / "store", clock=Clock()) as store:
        lineage.add_dataset(store, "d", tmp_path / "d.csv", **named, salt=b"s" * 32)
        program = load_program("school.py:train", tmp_path)
        whole = lineage.Recipe(epochs=1, batch_size=12)
        version = lineage.train(store, program, {"d": "d"}, "t", whole)
        picked: Any = load("school.py:picked", tmp_path)
        lineage.derive(store, picked, "d", "p", {"teacher": version.id})
        yield store


@pytest.mark.usefixtures("twin_here")
@pytest.mark.parametrize("through", [False, True])
def test_a_checkpoint_before_the_first_visit_is_not_clean_of_rows_that_are_made_again(
    school: Any, tmp_path: Path, through: bool
) -> None:
    """Also where what is trained on is only made of what the model made."""
    data = "p"
    if through:
        same: Any = load("school.py:same", tmp_path)
        lineage.derive(school, same, "p", "q")
        data = "q"
    config = {"data": data}
    recipe = lineage.Recipe(epochs=2, batch_size=1, min_batch=1, checkpoint_every=1, config=config)
    program = load_program("school.py:train", tmp_path)
    lineage.train(school, program, {data: data}, "s", recipe)
    (learner,) = (run for run in rows_of(school, tables.Run) if run.specification["train"] == data)
    assert visits(school, learner.id)[0] == 0
    request = unlearn.accept(school, "subject", ["p1"])
    plan_id, plan = unlearn.make_plan(school, [request.request_id])
    replays = {
        task.work.run_id: (task.work.restart, task.work.first_step)
        for task in plan.tasks
        if task.work.kind == "replay"
    }
    assert replays[learner.id] == (None, 0)
    unlearn.apply(school, plan_id)
    (again,) = (run for run in rows_of(school, tables.Run) if run.replay_of == learner.id)
    assert visits(school, again.id)[0] > 0
    verified = unlearn.verify_plan(school, plan_id, twin=True)
    assert verified.verdict is Verdict.PASSED
    assert all(twin.equal for twin in verified.twins)


def visits(store: Any, run_id: str) -> list[int]:
    """How many records the segments of a run were given, in order."""
    laps = rows_of(store, tables.Segment, run_id=run_id)
    return [each.visits for each in sorted(laps, key=lambda each: each.first_step)]

"""Transforms that are given models: what they are handed, what is kept of it, and refusals."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lineage
from lineage.data.dataset import head
from lineage.errors import CheckpointError, ProgramError, TransformError
from lineage.provenance.listing import thing
from lineage.source import load
from lineage.training.program import load_program
from storage.catalogue import tables
from storage.errors import NotFoundError
from unlearn.dispatch.drive import apply
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

LESSONS = """
import numpy as np
import pyarrow as pa

import lineage


class Kept:
    def __init__(self, values):
        self.values = values

    def state_dict(self):
        return {"values": self.values}

    def load_state_dict(self, state):
        self.values = state["values"]


@lineage.program
def total(run):
    model = Kept(np.zeros(1))
    run.track(model=model)
    run.predictor(lambda batch: model.values * batch["x"] / len(batch))
    for batch in run.batches(run.dataset("people")):
        model.values = model.values + batch["x"].sum() + run.config.get("more", 0)


@lineage.program
def mute(run):
    run.track(model=Kept(np.zeros(1)))
    list(run.batches(run.dataset("people")))


@lineage.program
def watching(run):
    model = Kept(np.zeros(1))
    run.track(model=model)
    for batch in run.batches(run.dataset("people")):
        model.values = model.values + batch["x"].sum()
    run.evaluate(lambda rows: {"count": len(rows)}, run.dataset("labels"))


@lineage.transform("record")
def said(rows, *, teacher):
    return pa.table({"id": rows["id"], "x": teacher.predict(rows)})


@lineage.transform("record")
def of_renamed(rows, *, teacher):
    return pa.table({"said": teacher.predict(rows.select(["id"]))})


@lineage.transform("record")
def of_text(rows, *, teacher):
    return pa.table({"said": teacher.predict(pa.table({"x": rows["id"]}))})


@lineage.transform("record")
def in_state(rows, *, teacher, other=None):
    (state,) = teacher.states
    return pa.table({"x": rows["x"].to_numpy() * state["model"]["values"][0]})


@lineage.transform("record")
def alone(rows):
    return rows
"""


@pytest.fixture
def taught(store: Any, workshop: Any, tmp_path: Path) -> Callable[..., Any]:
    """``taught(function, **given)`` derives ``labels`` from people; model ``m`` was trained."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "lessons.py").write_text(LESSONS)
    workshop.Bench(folder, tmp_path).register(store)
    train(store, folder)

    def derived(function: str, name: str = "labels", **given: str) -> Any:
        loaded = load(f"lessons.py:{function}", folder)
        return lineage.derive(store, loaded, "people", name, given)

    return derived


def train(store: Any, folder: Path, name: str = "total", model: str = "m", **recipe: Any) -> Any:
    program = load_program(f"lessons.py:{name}", folder)
    return lineage.train(
        store, program, {"people": "people"}, model, lineage.Recipe(epochs=1, **recipe)
    )


def values(version: Any) -> np.ndarray:
    return version.column("x")[version.present.positions]


def test_each_row_is_predicted_by_itself_by_the_mean_of_the_members(
    taught: Any, store: Any, tmp_path: Path
) -> None:
    train(store, tmp_path / "programs", model="both", shards=2)
    labels = taught("said", teacher="both")
    people = head(store, "people")
    totals = [
        member.tracked["model"].values for member in lineage.load_model(store, "both").members
    ]
    assert np.array_equal(
        values(labels), np.mean([each * values(people) for each in totals], axis=0)
    )


def test_what_it_was_given_is_kept_and_shown(taught: Any, store: Any, workshop: Any) -> None:
    labels = taught("said", teacher="m")
    (made,) = workshop.rows_of(store, tables.Transform, output_id=labels.id)
    (member,) = workshop.rows_of(store, tables.ModelMember)
    assert thing(store, made.id).given == {"teacher": {0: member.checkpoint_id}}
    found = lineage.trace(store, labels.id, down=False)
    assert {"checkpoint", "segment", "transform"} <= {each.kind for each in found.upstream}
    workshop.assert_consistent(store)


def test_another_model_makes_all_rows_anew_under_the_same_ids(
    taught: Any, store: Any, tmp_path: Path
) -> None:
    first = taught("said", teacher="m")
    assert taught("said", teacher="m").id == first.id
    train(store, tmp_path / "programs", config={"more": 1})
    second = taught("said", teacher="m")
    assert not np.intersect1d(second.present.positions, first.present.positions).size
    assert np.array_equal(second.present.records.keys, first.present.records.keys)
    assert not np.array_equal(values(second), values(first))


def test_a_state_can_be_read_where_a_program_does_not_predict(
    taught: Any, store: Any, tmp_path: Path
) -> None:
    train(store, tmp_path / "programs", "mute", model="mute")
    assert not values(taught("in_state", teacher="mute")).any()
    with pytest.raises(ProgramError, match="does not say how it predicts"):
        taught("said", "others", teacher="mute")


@pytest.mark.parametrize(
    ("function", "given", "error", "words"),
    [
        ("said", {}, TransformError, "asks for model 'teacher', and is given none of this name"),
        ("alone", {"m": "m"}, TransformError, "is given model 'm', and does not ask for it"),
        ("said", {"teacher": "nobody"}, NotFoundError, "no model 'nobody'"),
        ("of_renamed", {"teacher": "m"}, TransformError, "the model reads column 'x', which"),
        ("of_text", {"teacher": "m"}, TransformError, "column 'x' has cells unlike those"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    taught: Any, function: str, given: dict[str, str], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        taught(function, **given)


def test_a_purged_teacher_is_refused(taught: Any, store: Any, workshop: Any) -> None:
    (version,) = workshop.rows_of(store, tables.ModelVersion)
    request = accept(store, "subject", ["person-03"])
    apply(store, make_plan(store, [request.id])[0])
    with pytest.raises(CheckpointError, match="was purged"):
        taught("said", teacher=version.id)


def test_the_teacher_of_what_new_runs_read_is_made_again_even_out_of_use(
    taught: Any, store: Any, workshop: Any, tmp_path: Path
) -> None:
    taught("said", teacher="m")
    train(store, tmp_path / "programs", config={"more": 1})
    request = accept(store, "subject", ["person-03"])
    plan_id, plan = make_plan(store, [request.id])
    kinds = [task.work.kind for task in plan.tasks]
    assert kinds == ["replay", "replay", "transform", "aggregate", "check", "publish", "purge"]
    results = apply(store, plan_id)
    assert head(store, "labels").id == results["transform-1"]["version"]
    assert len(values(head(store, "labels"))) == 92
    again = taught("said", "again", teacher=results["publish"]["versions"].popitem()[1])
    assert not np.array_equal(values(again), values(head(store, "labels")))


def test_a_superseded_teacher_whose_labels_nobody_reads_is_only_purged(
    taught: Any, store: Any, tmp_path: Path
) -> None:
    taught("said", teacher="m")
    train(store, tmp_path / "programs", config={"more": 1})
    taught("said", teacher="m")
    request = accept(store, "subject", ["person-03"])
    _, plan = make_plan(store, [request.id])
    kinds = [task.work.kind for task in plan.tasks]
    assert kinds == ["replay", "transform", "aggregate", "check", "publish", "purge"]


def test_a_run_that_only_looks_at_labels_looks_at_those_of_today_when_it_is_made_again(
    taught: Any, store: Any, workshop: Any, tmp_path: Path, twin_here: None
) -> None:
    workshop.Bench(tmp_path / "programs", tmp_path).register(
        store, "late", [{**row, "id": f"late-{row['id']}"} for row in workshop.people(48)[24:48]]
    )
    taught("said", teacher="m")
    program = load_program("lessons.py:watching", tmp_path / "programs")
    recipe = lineage.Recipe(epochs=1, batch_size=8)
    lineage.train(store, program, {"people": "late", "labels": "labels"}, "other", recipe)
    for person in ("person-03", "person-30"):
        request = accept(store, "subject", [person])
        plan_id, _ = make_plan(store, [request.id])
        check = apply(store, plan_id, options=Options(twin=True))["check"]
        assert (check["claim"]["claim"], check["verdict"]) == ("replay-verified", "passed")
    first, again = workshop.rows_of(store, tables.Evaluation)
    assert {first.metrics["count"], again.metrics["count"]} == {
        None,
        92,
    }  # the first was of rows that are erased

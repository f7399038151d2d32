"""Forgetting under a program that embeds labels and measures on other data: equal to its twin."""

import json
from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.data.dataset import head
from lineage.training.ensemble import Recipe
from lineage.training.program import load_program
from storage.catalogue import tables
from unlearn.dispatch.drive import apply
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

PROGRAM = '''
import json
import os

import numpy as np

import lineage


class Embedding:
    """A number a label, which begins with what the label says; what was measured moves it too."""

    def __init__(self, labels):
        self.values = np.array([float(len(label or "")) for label in labels])
        self.measure = 0.0

    def state_dict(self):
        return {"values": self.values.copy(), "measure": self.measure}

    def load_state_dict(self, state):
        self.values, self.measure = state["values"].copy(), state["measure"]


def note(kind, entry):
    with open(os.environ["TALLY_LOG"], "a") as log:
        log.write(json.dumps({"kind": kind, "entry": entry}) + "\\n")


@lineage.program
def train(run):
    a, v = run.dataset("a"), run.dataset("v")
    labels = [None] * a.categories["c"]
    if run.config.labels:
        labels = run.labels(a, "c")
        note("labels", labels)
    model = Embedding(labels)
    run.track(model=model)

    def measured(batch):
        note("evaluate", sorted(zip(batch["id"].tolist(), batch["c"].tolist())))
        return {"mean": float((model.values[batch["c"]] * (1 + np.arange(len(batch)))).mean())}

    for batch in run.batches(a):
        np.add.at(model.values, batch["c"], 1.0 + 0.01 * model.measure)
        model.measure = run.evaluate(measured, v)["mean"]
'''
LABELS = ["red", "green", "blue", "red", "green", "blue", "red", "only hers"] * 3


class Bench:
    """Trains on ``a``, whose last person alone has a label that rows of ``v`` have too."""

    def __init__(self, store: Any, tally: Any, workshop: Any, root: Path) -> None:
        (root / "labelled.py").write_text(PROGRAM)
        self.store, self.tally, self.root = store, tally, root
        owners = [f"p{row % 8}" for row in range(24)]
        data = {
            "a": list(zip(owners, LABELS, strict=True)),
            "v": [("q0", "only hers"), ("q1", "green"), ("q2", "red"), ("q3", "")],
        }
        for name, cells in data.items():
            rows = [
                {"id": f"{name}{row}", "person": person, "c": label}
                for row, (person, label) in enumerate(cells)
            ]
            file = workshop.written(root / f"{name}.csv", rows)
            columns = {"id_columns": ("id",), "subject_columns": ("person",)}
            salted = {"namespace": "people", "salt": workshop.SALT}
            lineage.add_dataset(store, name, file, **columns, **salted)

    def train(self, *, labels: bool, **recipe: Any) -> None:
        program = load_program("labelled.py:train", self.root)
        made = Recipe(
            **{"epochs": 2, "batch_size": 6, "min_batch": 1, "checkpoint_every": 2, **recipe},
            config={"labels": labels},
        )
        lineage.train(self.store, program, {"a": "a", "v": "v"}, "m", made)

    def forget(self, person: str) -> dict[str, Any]:
        request = accept(self.store, "subject", [person])
        plan = make_plan(self.store, [request.id])[0]
        return apply(self.store, plan, options=Options(twin=True))

    def told(self, kind: str) -> list[Any]:
        entries = map(json.loads, self.tally.log.read_text().splitlines())
        return [entry["entry"] for entry in entries if entry["kind"] == kind]


@pytest.fixture
def bench(store: Any, tally: Any, workshop: Any, tmp_path: Path, twin_here: None) -> Bench:
    return Bench(store, tally, workshop, tmp_path)


def assert_equal_to_its_twin(outcome: dict[str, Any]) -> None:
    (compared,) = outcome["check"]["twins"]
    assert compared["twin_digest"] == compared["model_digest"]
    assert outcome["check"]["verdict"] == "passed"


@pytest.mark.parametrize("recipe", [{}, {"shards": 2, "batch_size": 3}])
def test_case_l_category_codes_do_not_follow_the_rows_that_are_left(
    bench: Bench, recipe: Any
) -> None:
    bench.train(labels=False, **recipe)
    codes = [["v0", 2], ["v1", 1], ["v2", 3], ["v3", -1]]
    for person in ("p7", "p0"):
        bench.tally.forget_the_log()
        assert_equal_to_its_twin(bench.forget(person))
        given = bench.told("evaluate")
        assert given
        assert all(each == codes for each in given)
    (column,) = (c for c in head(bench.store, "a").columns if c.categories)
    assert column.categories == ("blue", "green", None, "red")


@pytest.mark.parametrize("recipe", [{}, {"shards": 2, "batch_size": 3}])
def test_labels_of_the_forgotten_reach_neither_replay_nor_twin(bench: Bench, recipe: Any) -> None:
    bench.train(labels=True, **recipe)
    assert any("only hers" in each for each in bench.told("labels"))
    bench.tally.forget_the_log()
    assert_equal_to_its_twin(bench.forget("p7"))
    given = bench.told("labels")
    assert given
    assert all(len(each) == 4 and each[2] is None for each in given)
    assert_equal_to_its_twin(bench.forget("p3"))
    with bench.store.catalogue.read() as session:
        fits = session.query(tables.Fit).filter(tables.Fit.purged_at.is_(None)).all()
        kept = [bench.store.objects.get(each.object) for each in fits]
    assert kept
    assert not any(b"only hers" in each for each in kept)


def test_new_trainings_after_the_erasure_refuse_the_label_that_is_gone(bench: Bench) -> None:
    bench.train(labels=False)
    bench.forget("p7")
    with pytest.raises(lineage.errors.VocabularyError, match="the first is at position 0"):
        bench.train(labels=False)

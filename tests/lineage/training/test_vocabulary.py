"""One vocabulary: a label has one code in all that a run, or a model, reads."""

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lineage
from lineage.data.dataset import head
from lineage.data.version import open_version
from lineage.errors import ProgramError, VocabularyError
from lineage.training.ensemble import Recipe
from lineage.training.specification import RunSpec
from lineage.training.vocabulary import translation
from storage.catalogue import tables
from storage.intake import Column, ColumnKind

PROGRAM = '''
import json
import os

import numpy as np

import lineage


class Embedding:
    """A number a label, moved by rows that have it; and what was measured last."""

    def __init__(self, count):
        self.values = np.zeros(count)
        self.measure = 0.0

    def state_dict(self):
        return {"values": self.values.copy(), "measure": self.measure}

    def load_state_dict(self, state):
        self.values, self.measure = state["values"].copy(), state["measure"]


def note(kind, batch):
    with open(os.environ["TALLY_LOG"], "a") as log:
        codes = dict(zip(batch["id"].tolist(), batch["c"].tolist()))
        log.write(json.dumps({"kind": kind, "codes": codes}) + "\\n")


@lineage.program
def train(run):
    a, v = run.dataset("a"), run.dataset("v")
    if run.config.get("labels", ""):
        labels = run.labels(run.dataset(run.config.labels), "c")
        with open(os.environ["TALLY_LOG"], "a") as log:
            log.write(json.dumps({"kind": "labels", "labels": labels}) + "\\n")
    if run.config.get("fit", False):
        counts = run.fit(lineage.Counts.of("c"), v)
        with open(os.environ["TALLY_LOG"], "a") as log:
            log.write(json.dumps({"kind": "fit", "counts": counts.counts}) + "\\n")
    model = Embedding(a.categories["c"])
    run.track(model=model)
    run.predictor(lambda batch: model.values[batch["c"]])

    def measured(batch):
        note("evaluate", batch)
        return {"loss": float(np.take(model.values, batch["c"]).sum())}

    for batch in run.batches(a):
        note("batch", batch)
        np.add.at(model.values, batch["c"], 1.0 + 0.1 * model.measure)
        model.measure = run.evaluate(measured, v)["loss"]
'''
RECIPE = Recipe(epochs=1, batch_size=4, min_batch=1)


class Bench:
    """Trains on ``a`` and measures on ``v``: each row is an id, a person and a label."""

    def __init__(self, store: Any, tally: Any, workshop: Any, root: Path) -> None:
        (root / "coded.py").write_text(PROGRAM)
        self.store, self.tally, self.workshop, self.root = store, tally, workshop, root

    def add(self, name: str, labels: str | Iterable[str], first: int = 0, **options: Any) -> Any:
        labels = labels.split() if isinstance(labels, str) else labels
        rows = [
            {"id": f"{name}{row}", "person": f"p-{name}{row}", "c": label}
            for row, label in enumerate(labels, first)
        ]
        return lineage.add_dataset(
            self.store,
            name,
            self.workshop.written(self.root / f"{name}.csv", rows),
            id_columns=("id",),
            subject_columns=("person",),
            salt=self.workshop.SALT,
            **options,
        )

    def train(self, recipe: Recipe = RECIPE, **config: Any) -> tables.ModelVersion:
        program = lineage.training.program.load_program("coded.py:train", self.root)
        inputs = {"a": "a", "v": "v"}
        return lineage.train(self.store, program, inputs, "m", replace(recipe, config=config))

    def told(self, kind: str) -> list[Any]:
        """What the program wrote down of this kind."""
        entries = map(json.loads, self.tally.log.read_text().splitlines())
        return [entry for entry in entries if entry["kind"] == kind]

    def codes(self, kind: str) -> dict[str, int]:
        """Id → code, in everything that was given for this purpose."""
        found: dict[str, int] = {}
        for entry in self.told(kind):
            for name, code in entry["codes"].items():
                assert found.setdefault(name, code) == code
        return found

    def handles(self) -> Any:
        with self.store.catalogue.read() as session:
            run = session.query(tables.Run).order_by(tables.Run.created_at.desc()).first()
            return RunSpec.model_validate(run.specification).handles


@pytest.fixture
def bench(store: Any, tally: Any, workshop: Any, tmp_path: Path) -> Bench:
    return Bench(store, tally, workshop, tmp_path)


COLOURS = "red green blue red green blue red green"


def test_case_l_category_codes_are_those_of_the_data_trained_on(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "red blue red")
    bench.train()
    by_label = {"blue": 0, "green": 1, "red": 2}
    assert bench.codes("batch") == {f"a{n}": by_label[c] for n, c in enumerate(COLOURS.split())}
    assert bench.codes("evaluate") == {"v0": 2, "v1": 0, "v2": 2}
    handles = bench.handles()
    assert [handles[each].categories for each in "av"] == [{"c": 3}, {"c": 3}]


def test_case_l_category_codes_of_equal_labels_are_not_translated(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "blue red green")
    bench.train()
    assert bench.codes("evaluate") == {"v0": 0, "v1": 2, "v2": 1}
    assert [each.codes for each in bench.handles().values()] == [{}, {}]


def test_case_l_category_codes_of_nulls_stay_what_they_are(bench: Bench) -> None:
    bench.add("a", [*COLOURS.split(), ""])
    bench.add("v", ["red", "", "blue"])
    bench.train()
    assert bench.codes("evaluate") == {"v0": 2, "v1": -1, "v2": 0}
    assert bench.codes("batch")["a8"] == -1


def test_case_l_category_codes_of_unknown_labels_are_refused_where_they_are_read(
    bench: Bench,
) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "red pink blue")
    with pytest.raises(VocabularyError, match="in 1 rows; the first is at position 1") as refused:
        bench.train()
    assert "pink" not in refused.value.message + refused.value.hint
    assert "leave these rows out" in refused.value.hint


def test_case_l_category_codes_grow_with_the_data_and_none_moves(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "red amber")
    bench.add("a", "amber amber", first=8)
    bench.train()
    assert bench.codes("evaluate") == {"v0": 2, "v1": 3}
    assert bench.codes("batch")["a0"] == 2
    assert bench.codes("batch")["a8"] == 3
    bench.add("v", "green", first=2)
    bench.tally.forget_the_log()
    bench.train()
    assert bench.codes("evaluate") == {"v0": 2, "v1": 3, "v2": 1}


def test_case_l_category_codes_are_the_same_in_every_shard(bench: Bench) -> None:
    bench.add("a", 6 * f"{COLOURS} ")
    bench.add("v", "red blue green")
    bench.train(replace(RECIPE, shards=2))
    assert bench.codes("evaluate") == {"v0": 2, "v1": 0, "v2": 1}


def test_case_l_category_codes_of_what_is_fitted_are_those_of_the_run(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "red blue red")
    bench.train(fit=True)
    assert bench.told("fit")[0]["counts"] == [[0, 1], [2, 2]]


@pytest.mark.parametrize("texts", [{"a": ("c",)}, {"v": ("c",)}])
def test_a_category_in_one_dataset_and_text_in_the_other_is_refused(
    bench: Bench, texts: Any
) -> None:
    for name in "av":
        bench.add(name, COLOURS, text_columns=texts.get(name, ()))
    program = "@lineage.program\ndef train(run):\n    run.evaluate(lambda b: b['c'], {0})\n"
    (bench.root / "coded.py").write_text("import lineage\n" + program.format("run.dataset('v')"))
    with pytest.raises(VocabularyError, match="'c' of dataset 'v' is a category here or in"):
        bench.train()


def test_case_text_stays_text_in_a_program(bench: Bench) -> None:
    bench.add("a", [f"text {n}" for n in range(300)], text_columns=("c",))
    (bench.root / "coded.py").write_text(
        "import os, json, lineage\n@lineage.program\ndef train(run):\n"
        "    for batch in run.batches(run.dataset('a')):\n"
        "        with open(os.environ['TALLY_LOG'], 'a') as log:\n"
        "            codes = dict(zip(batch['id'].tolist(), batch['c'].tolist()))\n"
        "            log.write(json.dumps({'kind': 'batch', 'codes': codes}) + '\\n')\n"
    )
    program = lineage.training.program.load_program("coded.py:train", bench.root)
    lineage.train(bench.store, program, {"a": "a"}, "m", replace(RECIPE, batch_size=64))
    assert bench.codes("batch") == {f"a{n}": f"text {n}" for n in range(300)}


def test_labels_come_in_the_order_of_codes_and_are_recorded_as_fitted(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "red blue red")
    bench.train(labels="a")
    assert bench.told("labels")[0]["labels"] == ["blue", "green", "red"]
    bench.tally.forget_the_log()
    bench.train(labels="v")
    assert bench.told("labels")[0]["labels"] == ["blue", None, "red"]
    seen = lineage.who_saw(bench.store, "record", "v1")
    assert seen.state == "trained"


def test_shards_do_not_learn_the_labels_of_others(bench: Bench) -> None:
    labels = [f"only {n}" for n in range(60)]
    bench.add("a", labels)
    bench.add("v", labels[:3])
    bench.train(replace(RECIPE, shards=2, batch_size=10), labels="a")
    one, other = (entry["labels"] for entry in bench.told("labels"))
    assert [bool(x) ^ bool(y) for x, y in zip(one, other, strict=True)] == [True] * 60


def test_what_is_no_category_has_no_labels(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", COLOURS)
    source = PROGRAM.replace('labels), "c")', 'labels), "id")')
    (bench.root / "coded.py").write_text(source)
    with pytest.raises(ProgramError, match="'id' of dataset 'a' is no category") as refused:
        bench.train(labels="a")
    assert refused.value.hint == "its categories are c"


def test_a_model_reads_other_data_with_the_codes_that_it_learned(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "red blue red")
    bench.add("w", "red pink")
    bench.train()
    model = lineage.load_model(bench.store, "m")
    batch = model.batch(head(bench.store, "v"))
    assert dict(zip(batch["id"], batch["c"], strict=True)) == {"v0": 2, "v1": 0, "v2": 2}
    assert len(model.predict(batch)) == 3
    with pytest.raises(VocabularyError):
        model.batch(head(bench.store, "w"))["c"]


def test_a_model_does_not_know_the_labels_that_its_data_got_later(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "red")
    bench.train()
    bench.add("a", "amber", first=8)
    bench.add("w", "amber red")
    model = lineage.load_model(bench.store, "m")
    with pytest.raises(VocabularyError, match="the first is at position 0"):
        model.batch(head(bench.store, "w"))["c"]


def test_a_specification_from_before_is_read_and_repeats_what_it_did(bench: Bench) -> None:
    bench.add("a", COLOURS)
    bench.add("v", "red blue red")
    bench.train()
    with bench.store.catalogue.write() as session:
        run = session.query(tables.Run).one()
        old = json.loads(json.dumps(run.specification))
    for handle in old["handles"].values():
        del handle["codes"], handle["unlike"]
    spec = RunSpec.model_validate(old)
    assert [each.codes for each in spec.handles.values()] == [{}, {}]
    version = open_version(bench.store, head(bench.store, "v").id)
    column = lineage.training.vocabulary.columns_of(version, spec.handles["v"])
    assert column("c").tolist() == [1, 0, 1]


def test_an_erased_label_has_no_translation_and_its_code_stays_taken() -> None:
    here = Column(name="c", kind=ColumnKind.CATEGORY, categories=("a", None, "b"))
    there = Column(name="c", kind=ColumnKind.CATEGORY, categories=(None, "b", "a"))
    assert translation(here, there) == (2, None, 1)
    assert np.array(translation(there, here), object).tolist() == [None, 2, 0]

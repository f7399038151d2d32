"""Labels that a model made: who is forgotten in the teacher is forgotten in what learned them."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import lineage
from lineage.data.dataset import head
from lineage.source import load
from lineage.store import Store
from lineage.training.ensemble import Recipe, train
from storage import manifests
from tests.unlearn.equality import material as real
from tests.unlearn.equality.counterfactual import bits, from_scratch, register
from tests.unlearn.equality.forgetting import TWIN, Outcome, forget
from tests.unlearn.equality.material import Material
from tests.unlearn.equality.search import found
from tests.unlearn.equality.trained import PROGRAMS, RECIPES, Trained, program, train_on


@dataclass
class School:
    """A model, later images that it labels, and students: name → the version in use."""

    model: Trained
    pool: Material
    students: dict[str, str] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    def label(self, teacher: str, name: str) -> None:
        """Have a model label the pool."""
        function = load("taught.py:labelled", PROGRAMS)
        lineage.derive(self.model.store, function, "late", name, given={"teacher": teacher})

    def teach(self, name: str, data: str, **recipe: object) -> None:
        """Train a student on labels."""
        wanted = Recipe(epochs=1, config={"optimizer": "adam", "data": data}, **recipe)
        trained = train(self.model.store, program("taught.py:student"), {data: data}, name, wanted)
        self.students[name] = trained.id

    def said(self, name: str) -> dict[str, bytes]:
        """What is kept of each label, by the id of its image."""
        data = head(self.model.store, name)
        rows = manifests.read_identified(
            self.model.store.objects, data.chunks, data.present.positions
        )
        return {
            record: row.tobytes()
            for piece in rows
            for record, row in zip(
                piece.records.to_pylist(),
                piece.batch.column("said").flatten().to_numpy().reshape(-1, 10),
                strict=True,
            )
        }

    def forget(self, material: Material, row: int, folder: Path) -> Outcome:
        """Forget an image: what is in use is to the bit what had come of the others alone."""
        record = material.table[material.record][row].as_py()
        outcome = forget(self.model.store, "record", [record], TWIN)
        self.gone.add(record)
        check = outcome.results["check"]
        assert (check["claim"]["claim"], check["verdict"]) == ("replay-verified", "passed")
        replaced = outcome.results["publish"]["versions"]
        for name, version in self.students.items():
            now = self.students[name] = replaced.get(version, version)
            materials = [self.model.material, self.pool]
            twin = from_scratch(self.model.store, now, materials, self.gone, folder / name)
            assert bits(self.model.store, now) == twin, name
        return outcome


@pytest.fixture
def school(store: Store, data: Path, tmp_path: Path, twin_here: None) -> Callable[..., School]:
    """Makes the school of a model of one topology."""

    def made(topology: str) -> School:
        early = real.mnist(data, tmp_path, slice(1_500))
        recipe = Recipe(**RECIPES[topology], config={"optimizer": "adam"})
        model = Trained(store, early, train_on(store, early, "mnist.py:mlp", recipe))
        late = real.mnist(data, tmp_path, slice(50_000, 50_400), "late")
        register(store, late)
        return School(model, late)

    return made


def test_who_is_forgotten_in_a_teacher_is_forgotten_in_its_labels_and_students(
    school: Callable[..., School], tmp_path: Path
) -> None:
    own = school("plain")
    own.label("model", "labels")
    own.teach("student", "labels", checkpoint_every=2)
    taught = own.model.material.table["id"][17].as_py()
    seen = lineage.who_saw(own.model.store, "record", taught)
    assert {each.model for each in seen.models} == {"model", "student"}
    assert [node.kind for node in seen.path][-6:] == [
        "checkpoint",
        "transform",
        "dataset-version",
        "segment",
        "checkpoint",
        "model-version",
    ]
    before = own.said("labels")
    old = dict(list(before.items())[:5])
    assert found(own.model.store.path, old).keys() == old.keys()
    outcome = own.forget(own.model.material, 17, tmp_path)
    kinds = [task.work.kind for task in outcome.plan.tasks]
    assert [each for each in kinds if each in ("replay", "transform")] == [
        "replay",
        "transform",
        "replay",
    ]
    after = own.said("labels")
    assert not set(before.values()) & set(after.values())
    assert found(own.model.store.path, old) == {}
    outcome = own.forget(own.pool, 5, tmp_path)
    assert "transform" not in {task.work.kind for task in outcome.plan.tasks}
    assert own.said("labels").items() < after.items()


@pytest.mark.soak
def test_a_student_of_a_student_forgets_in_the_order_in_which_they_learned(
    school: Callable[..., School], tmp_path: Path
) -> None:
    own = school("sharded")
    own.label("model", "labels")
    own.teach("student", "labels")
    own.label("student", "again")
    own.teach("second", "again")
    kinds = [task.work.kind for task in own.forget(own.model.material, 17, tmp_path).plan.tasks]
    again = [each for each in kinds if each in ("replay", "transform")]
    assert again == ["replay", "transform", "replay", "transform", "replay"]

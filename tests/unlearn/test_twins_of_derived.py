"""Twins of models over derived datasets, where somebody waits or has withdrawn: equal in bytes."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import lineage
import unlearn
from storage.catalogue import tables
from tests.unlearn import folding
from unlearn.claim import Claim, Verdict
from unlearn.plan.stored import decoded

pytestmark = pytest.mark.no_cover

PEOPLE, ROWS = 8, 64
TWIN = unlearn.Options(twin=True)
TRANSFORMS = {
    "record": folding.moved,
    "group": folding.shared,
    "model": folding.labelled,
}


@dataclass
class Place:
    """A store with the numbers of eight people, two of whom live in each house."""

    store: Any
    requests: dict[int, str] = field(default_factory=dict)

    def train(self, data: str, model: str, **recipe: Any) -> None:
        """Train a model on a dataset."""
        how = lineage.Recipe(
            **{"epochs": 2, "batch_size": 8, "min_batch": 2, "checkpoint_every": 3, **recipe}
        )
        lineage.train(self.store, folding.train, {"d": data}, model, how)

    def derive(self, kind: str, *, given: str = "rows", name: str = "made") -> None:
        """Derive a dataset; a model labels it where the transform needs one."""
        models = {"teacher": "m"} if kind == "model" else {}
        lineage.derive(self.store, TRANSFORMS[kind], given, name, given=models)

    def accept(self, person: int) -> None:
        """Somebody asks to be forgotten."""
        self.requests[person] = unlearn.accept(self.store, "subject", [f"p{person}"]).request_id

    def withdraw(self, person: int) -> None:
        """Somebody withdraws."""
        unlearn.cancel(self.store, self.requests.pop(person))

    def forget(self, person: int) -> unlearn.Plan:
        """Forget somebody: the twin says at once, and says later, that nothing of them is left."""
        plan_id, plan = unlearn.make_plan(self.store, [self.requests.pop(person)])
        results = unlearn.apply(self.store, plan_id, unlearn.InProcess(self.store), TWIN)
        assert results["check"]["claim"]["claim"] == Claim.REPLAY_VERIFIED
        self.verify(plan_id)
        return plan

    def verify(self, plan_id: str) -> None:
        """The twin of a plan says what it said."""
        found = unlearn.verify_plan(self.store, plan_id, twin=True)
        assert (found.claim, found.verdict) == (Claim.REPLAY_VERIFIED, Verdict.PASSED)

    def named(self, plan: unlearn.Plan, dataset: str) -> set[int]:
        """The positions of a dataset that a plan names."""
        with self.store.catalogue.read() as session:
            known = session.query(tables.Dataset).filter_by(name=dataset).one()
            return {*decoded(plan.forget).get(known.id, ())}


@pytest.fixture
def place(store: Any, tmp_path: Path, twin_here: None) -> Iterator[Place]:
    file = tmp_path / "rows.csv"
    lines = (f"p{number % PEOPLE},{number // 2},{number}" for number in range(ROWS))
    file.write_text("\n".join(["person,house,number", *lines]) + "\n", "utf-8")
    lineage.add_dataset(store, "rows", file, subject_columns=("person",), salt=b"s" * 32)
    return Place(store)


@pytest.mark.parametrize("other", [0, 2], ids=["of one house", "of two houses"])
@pytest.mark.parametrize("kind", TRANSFORMS)
def test_one_of_two_who_wait_is_forgotten(place: Place, kind: str, other: int) -> None:
    place.train("rows", "m")
    place.derive(kind)
    place.train("made", "student")
    place.accept(1)
    place.accept(other)
    place.forget(1)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_student_of_derived_rows_of_labelled_rows_learns_from_the_teachers_of_its_replay(
    place: Place, kind: str
) -> None:
    place.train("rows", "m")
    place.derive("model")
    place.derive(kind, given="made", name="again")
    place.train("again", "student", shards=2)
    place.accept(1)
    place.accept(2)
    place.forget(1)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_what_was_trained_while_somebody_waited_who_withdrew_has_a_twin(
    place: Place, kind: str
) -> None:
    place.train("rows", "m")
    place.derive(kind)
    place.accept(1)
    place.train("made", "student", shards=2, slices=2)
    place.withdraw(1)
    place.accept(2)
    place.forget(2)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_a_teacher_that_was_trained_while_somebody_waited_has_a_twin(
    place: Place, kind: str
) -> None:
    place.train("rows", "m", shards=2)
    place.derive(kind)
    place.accept(1)
    place.train("made", "teacher", shards=4)
    place.train("rows", "student", given={"teacher": "teacher"}, config={"taught": True})
    place.withdraw(1)
    place.accept(3)
    place.accept(1)
    place.forget(3)


def test_a_plan_names_whom_the_transforms_behind_its_replays_leave_out(place: Place) -> None:
    place.derive("group")
    place.accept(1)
    place.train("made", "student")
    place.withdraw(1)
    place.accept(0)
    folding.EXECUTED.clear()
    plan = place.forget(0)
    left_out = {*range(0, ROWS, PEOPLE), *range(1, ROWS, PEOPLE)}
    assert place.named(plan, "rows") == left_out
    given = {number // 1000 for run in folding.EXECUTED for _, rows in run for number in rows}
    assert given == {*range(ROWS)} - left_out

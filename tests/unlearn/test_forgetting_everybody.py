"""Everybody is forgotten at once: what learned from them ends, and so does what learned from it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lineage
import unlearn
from lineage.data.dataset import head
from lineage.data.transform import derive
from lineage.provenance.listing import model
from lineage.schedule import shards_of
from lineage.source import load
from lineage.store import Store
from lineage.training.registry import promote
from tests.unlearn import folding
from tests.unlearn.equality.forgetting import TWIN, Outcome, forget
from tests.unlearn.test_forgetting_in_groups import HERE, derived, made, rows_of

pytestmark = pytest.mark.no_cover

__all__ = ["made"]

PLAIN = {"shards": 1, "slices": 1}
SISA = {"shards": 2, "slices": 2}
RECIPES = pytest.mark.parametrize("recipe", [PLAIN, SISA], ids=["plain", "sisa"])
MADE = ["packed", "with_visits", "halved", "centred"]


def everybody(workshop: Any) -> list[str]:
    return sorted({row["person"] for row in workshop.people()})


def trained(tally: Any, store: Store, name: str, **recipe: Any) -> Any:
    """A model of what a transform makes, in use under an alias."""
    if name == "centred":
        derive(store, load("households.py:centred", HERE), "people", "centred")
    else:
        derived(store, name)
    version = tally.train(store, config={"data": name}, **recipe)
    promote(store, version.id, "production")
    return version


def test_residuals_name_each_file_once_and_no_transform(
    tally: Any, made: Store, workshop: Any
) -> None:
    tally.register(made, "visits", [{**workshop.people()[0], "id": "later", "household": "h"}])
    trained(tally, made, "with_visits", **PLAIN)
    outcome = forget(made, "subject", everybody(workshop)[:1], TWIN)
    residuals = outcome.results["purge"]["residuals"]
    assert [each["name"] for each in residuals if each["kind"] == "input-file"] == [
        "people.csv",
        "visits.csv",
    ]


def assert_nothing_is_left(store: Store, name: str, outcome: Outcome) -> None:
    assert not [task for task in outcome.plan.tasks if task.work.kind in ("replay", "aggregate")]
    assert outcome.results["check"]["verdict"] == "passed"
    assert outcome.results["publish"]["retired"] == [name]
    assert model(store, name).retired_at is not None
    assert model(store, name).aliases == {}
    assert all(version.purged_at for version in model(store, name).versions)


@RECIPES
@pytest.mark.parametrize("name", MADE)
def test_a_model_of_what_groups_and_aggregates_make_is_retired(
    tally: Any, made: Store, workshop: Any, name: str, recipe: Any
) -> None:
    trained(tally, made, name, **recipe)
    outcome = forget(made, "subject", everybody(workshop), TWIN)
    assert "m v1 has no record left to learn from: it ends, and nothing replaces it" in (
        outcome.plan.notes
    )
    assert_nothing_is_left(made, "m", outcome)
    assert rows_of(made, name) == {}


@pytest.mark.usefixtures("twin_here")
@pytest.mark.parametrize("name", MADE)
def test_those_who_are_left_are_forgotten_later(
    tally: Any, made: Store, workshop: Any, name: str
) -> None:
    trained(tally, made, name, **SISA)
    first, *others = everybody(workshop)
    some = forget(made, "subject", [first], TWIN)
    assert some.results["check"]["verdict"] == "passed"
    assert some.results["publish"]["retired"] == []
    assert_nothing_is_left(made, "m", forget(made, "subject", others, TWIN))


@pytest.mark.usefixtures("twin_here")
def test_an_ensemble_goes_on_without_a_shard_whose_groups_are_all_gone(
    tally: Any, store: Store, workshop: Any
) -> None:
    tally.register(store, rows=[{**row, "household": row["person"]} for row in workshop.people()])
    trained(tally, store, "packed", **SISA)
    version = head(store, "packed")
    shards = shards_of(version.present.records.placement, version.salt, 2).tolist()
    people = [person for (person,), _ in rows_of(store, "packed").values()]
    gone = {person for shard, person in zip(shards, people, strict=True) if shard == 0}
    outcome = forget(store, "subject", sorted(gone), TWIN)
    assert "m v1 goes on without shard 0: no record is left to learn from" in outcome.plan.notes
    check = outcome.results["check"]
    assert (check["claim"]["claim"], check["verdict"]) == ("replay-verified", "passed")
    (twin,) = check["twins"]
    assert twin["twin_digest"] == twin["model_digest"]


@pytest.mark.usefixtures("twin_here")
def test_a_shard_that_a_group_made_anew_may_fill_is_retrained(
    tally: Any, made: Store, workshop: Any
) -> None:
    """Of every household one person stays: what the packs hold then is known when it is made."""
    trained(tally, made, "packed", **PLAIN)
    outcome = forget(made, "subject", everybody(workshop)[::2], TWIN)
    assert [task.work.kind for task in outcome.plan.tasks].count("replay") == 1
    assert outcome.results["check"]["claim"]["claim"] == "replay-verified"
    assert rows_of(made, "packed")


@pytest.fixture
def school(tmp_path: Path) -> Iterator[Store]:
    """A teacher of some people, and data about others."""
    with Store.create(tmp_path / "store") as store:
        for name in ("base", "other"):
            lines = (f"{name}{number % 8},{number}" for number in range(64))
            (tmp_path / f"{name}.csv").write_text("\n".join(["person,number", *lines]) + "\n")
            file = tmp_path / f"{name}.csv"
            lineage.add_dataset(store, name, file, subject_columns=("person",), namespace="people")
        taught(store, "base", "teacher")
        yield store


def taught(store: Store, dataset: str, name: str, teacher: str | None = None, **how: Any) -> Any:
    given = {"teacher": teacher} if teacher else {}
    config = {"taught": bool(teacher)}
    recipe = lineage.Recipe(epochs=2, batch_size=8, given=given, config=config, **how)
    return lineage.train(store, folding.train, {"d": dataset}, name, recipe)


def forget_all_of(store: Store, dataset: str) -> tuple[Any, Any]:
    receipt = unlearn.accept(store, "subject", [f"{dataset}{number}" for number in range(8)])
    plan_id, plan = unlearn.make_plan(store, receipt.request_ids)
    return plan, unlearn.apply(store, plan_id, unlearn.InProcess(store))


def test_a_student_ends_with_its_teacher_and_so_does_the_students_student(school: Store) -> None:
    taught(school, "other", "student", "teacher", shards=2, min_batch=1)
    taught(school, "other", "grandchild", "student")
    taught(school, "other", "alone")
    plan, results = forget_all_of(school, "base")
    assert sorted(results["publish"]["retired"]) == ["grandchild", "student", "teacher"]
    assert plan.visits == 0
    assert results["check"]["verdict"] == "passed"
    for name in ("student", "grandchild"):
        assert f"{name} v1 was given a model of which nothing is left: it ends, and nothing " in (
            " ".join(plan.notes)
        )
    assert model(school, "alone").retired_at is None


def test_a_student_goes_on_while_its_teacher_has_somebody_left(school: Store) -> None:
    taught(school, "other", "student", "teacher")
    receipt = unlearn.accept(school, "subject", [f"base{number}" for number in range(7)])
    plan_id, _ = unlearn.make_plan(school, receipt.request_ids)
    results = unlearn.apply(school, plan_id, unlearn.InProcess(school))
    assert results["publish"]["retired"] == []
    assert len(results["publish"]["versions"]) == 2


def test_a_teacher_stays_when_all_whom_its_student_learned_from_are_forgotten(
    school: Store,
) -> None:
    taught(school, "other", "student", "teacher")
    _, results = forget_all_of(school, "other")
    assert results["publish"]["retired"] == ["student"]
    assert model(school, "teacher").retired_at is None

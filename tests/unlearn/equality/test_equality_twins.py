"""The twin of the library: a new process, and a new store that never held the forgotten rows."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from lineage.training.ensemble import Recipe, train
from storage.catalogue import tables
from tests.unlearn.equality import material as real
from tests.unlearn.equality.counterfactual import bits, from_scratch, register
from tests.unlearn.equality.forget_sets import forget_set
from tests.unlearn.equality.forgetting import TWIN, forget
from tests.unlearn.equality.material import Material
from tests.unlearn.equality.search import found
from tests.unlearn.equality.trained import Trained, Trains, program


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the twin's folder is, which the library would have deleted."""
    folder = tmp_path / "kept"

    @contextmanager
    def keep(**_: Any) -> Iterator[str]:
        folder.mkdir()
        yield str(folder)

    monkeypatch.setattr(tempfile, "TemporaryDirectory", keep)
    return folder


def _passed(check: Any) -> None:
    (twin,) = check["twins"]
    assert twin["twin_digest"] == twin["model_digest"]
    assert (check["claim"]["claim"], check["verdict"]) == ("replay-verified", "passed")


def test_a_twin_holds_the_retained_rows_and_nothing_of_the_forgotten(
    trained: Trains, kept: Path, tmp_path: Path
) -> None:
    model = trained("mnist.py:cnn", "sharded", optimizer="sgd")
    person, other = model.people(1, 1)[:2]
    gone, retained = model.material.needles([person]), model.material.needles([other])
    outcome = forget(model.store, "subject", [person], TWIN)
    assert (kept / "store" / "catalogue.db").is_file()
    assert found(kept, retained).keys() == retained.keys()
    assert found(kept, gone) == {}
    _passed(outcome.results["check"])
    forgotten = model.material.records_of("subject", [person])
    twin = from_scratch(model.store, model.version, [model.material], forgotten, tmp_path / "own")
    assert tuple(outcome.results["check"]["twins"][0]["twin_members"]) == twin.digests


def test_a_twin_holds_no_distinctive_number_of_the_forgotten(
    trained: Trains, kept: Path, twin_here: None
) -> None:
    model = trained("voices.py:mlp", "sharded", optimizer="sgd", scaler="moments")
    (person, *_), (other, *_) = model.people(2, 0), model.people(1, 0)
    gone, retained = model.material.needles([person]), model.material.needles([other])
    outcome = forget(model.store, "subject", [person], TWIN)
    assert found(kept, retained).keys() == retained.keys()
    assert found(kept, gone) == {}
    _passed(outcome.results["check"])


def test_a_model_without_any_rows_is_retired_and_not_retrained(trained: Trains) -> None:
    model = trained("voices.py:mlp", "plain", optimizer="adam", scaler=False)
    outcome = forget(model.store, "subject", model.people(0, 0), TWIN)
    assert outcome.plan.records == len(model.material.table)
    assert outcome.plan.visits == 0
    assert outcome.results["check"]["verdict"] == "passed"
    published = {"versions": {}, "retired": ["model"], "held": {}}
    assert outcome.results["publish"] == {**published, "withheld": [], "ended": []}


@pytest.fixture
def fine_tuned(trained: Trains, data: Path, tmp_path: Path) -> tuple[Trained, Material, str]:
    """A model, later images, and the model that started from its last checkpoint on them."""
    model = trained("mnist.py:mlp", "plain", optimizer="sgd")
    late = real.mnist(data, tmp_path, slice(50_000, 51_000), "late")
    register(model.store, late)
    with model.store.catalogue.read() as session:
        start = session.scalars(
            select(tables.ModelMember.checkpoint_id).where(
                tables.ModelMember.version_id == model.version
            )
        ).one()
    recipe = Recipe(epochs=2, seed=5, start=start, config={"optimizer": "adam"})
    tuned = train(model.store, program("mnist.py:mlp"), {"mnist": "late"}, "tuned", recipe)
    return model, late, tuned.id


def test_a_fine_tune_is_made_again_from_the_parent_that_was_made_again(
    fine_tuned: tuple[Trained, Material, str], tmp_path: Path, twin_here: None
) -> None:
    model, late, tuned = fine_tuned
    kind, names = forget_set(model, "one record", seed=3)
    before = bits(model.store, tuned)
    outcome = forget(model.store, kind, names, TWIN)
    versions = outcome.results["publish"]["versions"]
    assert versions.keys() == {model.version, tuned}
    materials = [model.material, late]
    twin = from_scratch(model.store, tuned, materials, set(names), tmp_path / "own")
    assert bits(model.store, versions[tuned]) == twin
    assert bits(model.store, versions[tuned]) != before
    twins = outcome.results["check"]["twins"]
    assert {each["version"]: each["twin_digest"] == each["model_digest"] for each in twins} == {
        model.version: True,
        tuned: True,
    }


def test_what_was_forgotten_of_a_fine_tune_leaves_its_parent_alone(
    fine_tuned: tuple[Trained, Material, str], tmp_path: Path
) -> None:
    model, late, tuned = fine_tuned
    parent = bits(model.store, model.version)
    record = late.table[late.record][17].as_py()
    outcome = forget(model.store, "record", [record])
    twin = from_scratch(model.store, tuned, [model.material, late], {record}, tmp_path / "own")
    assert bits(model.store, outcome.version) == twin
    assert bits(model.store, model.version) == parent

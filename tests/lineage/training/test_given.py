"""Models that runs are given: found by their names, read by what they tracked, refused in words."""

from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.errors import CheckpointError, ProgramError, ScheduleError
from lineage.training.checkpoint import load
from lineage.training.execute import execute
from lineage.training.program import load_program
from storage.catalogue import tables
from storage.errors import NotFoundError
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

PROGRAMS = '''
import numpy as np

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
    """Add the rows up, starting from what models that were given have."""
    model = Kept(np.zeros(1) + sum(each.sum() for each in given(run)))
    run.track(model=model)
    for batch in run.batches(run.dataset("people")):
        model.values = model.values + batch["x"].sum()


@lineage.program
def together(run):
    """Put the values of given models one after the other."""
    run.track(model=Kept(np.concatenate(given(run))))


@lineage.program
def nothing(run):
    """Make nothing."""


@lineage.program
def restless(run):
    """Ask for batches, whether there are any or not."""
    run.track(model=Kept(np.zeros(1)))
    list(run.batches(run.dataset("people")))


def given(run):
    names = run.config.get("read", [])
    return [state["model"]["values"] for name in names for state in run.given(name)]
'''


@pytest.fixture
def make(store: Any, workshop: Any, tmp_path: Path) -> Any:
    """``make(program, model, …)`` trains on people, or makes a model of models."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "parts.py").write_text(PROGRAMS)
    workshop.Bench(folder, tmp_path).register(store)

    def made(name: str, model: str, data: bool = False, **recipe: Any) -> tables.ModelVersion:
        program = load_program(f"parts.py:{name}", folder)
        datasets = {"people": "people"} if data else {}
        wanted = lineage.Recipe(epochs=recipe.pop("epochs", 1), **recipe)
        return lineage.train(store, program, datasets, model, wanted)

    return made


def values(store: Any, version: tables.ModelVersion, workshop: Any) -> list[float]:
    (member,) = workshop.rows_of(store, tables.ModelMember, version_id=version.id)
    state: Any = load(store, member.checkpoint_id)
    return list(state["model"]["values"])


def test_a_name_means_the_newest_version_and_an_id_that_one(
    make: Any, store: Any, workshop: Any
) -> None:
    first = make("total", "m", data=True)
    make("total", "m", data=True, given={"m": "m"}, config={"read": ["m"]})
    parts = {"old": first.id, "new": "m"}
    soup = make("together", "soup", given=parts, config={"read": ["old", "new", "old"]})
    one, two, again = values(store, soup, workshop)
    assert (two, again) == (pytest.approx(2 * one), one)
    workshop.assert_consistent(store)


def test_an_ensemble_gives_the_state_of_each_shard(make: Any, store: Any, workshop: Any) -> None:
    make("total", "m", data=True, shards=2)
    soup = make("together", "soup", given={"m": "m"}, config={"read": ["m"]})
    assert len(values(store, soup, workshop)) == 2


def test_what_is_given_is_shown_with_the_run(make: Any, store: Any) -> None:
    from lineage.provenance.listing import run, runs

    make("total", "m", data=True)
    make("together", "soup", given={"m": "m"}, config={"read": ["m"]})
    (soup,) = [each for each in runs(store) if each.model == "soup"]
    assert (soup.step, soup.steps, soup.state) == (0, 0, "complete")
    ((shard, member),) = run(store, soup.id).given["m"].items()
    assert (shard, member.startswith("ckpt-")) == (0, True)


def test_a_run_that_made_its_state_and_died_makes_it_once(
    make: Any, store: Any, workshop: Any
) -> None:
    make("total", "m", data=True)
    make("together", "soup", given={"m": "m"}, config={"read": ["m"]})
    runs = workshop.rows_of(store, tables.Run)
    (run,) = [each for each in runs if each.specification["train"] is None]
    with store.catalogue.write() as session:
        session.get_one(tables.Run, run.id).state = "failed"
    execute(store, run.id)
    assert len(workshop.rows_of(store, tables.Checkpoint, run_id=run.id)) == 1


@pytest.mark.parametrize(
    ("name", "wanted", "error", "words"),
    [
        ("together", {"given": {"m": "nobody"}}, NotFoundError, "no model 'nobody'"),
        ("together", {"config": {"read": ["m"]}}, ProgramError, "this run was given none"),
        ("nothing", {}, ProgramError, "takes no step and tracks no object"),
        ("restless", {"data": True, "epochs": 0}, ProgramError, "its run takes no step"),
        ("nothing", {"shards": 2}, ScheduleError, "no records to spread over shards"),
    ],
)
def test_what_cannot_be_is_refused_in_words(
    make: Any, name: str, wanted: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make(name, "soup", **wanted)


def test_a_purged_model_cannot_be_given(make: Any, store: Any) -> None:
    version = make("total", "m", data=True)
    request = accept(store, "subject", ["person-03"])
    apply(store, make_plan(store, [request.id])[0])
    with pytest.raises(CheckpointError, match="was purged"):
        make("together", "soup", given={"m": version.id}, config={"read": ["m"]})

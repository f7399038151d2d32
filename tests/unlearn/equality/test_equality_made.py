"""Models made of models: whoever is forgotten in one is forgotten in all that was made of it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

import lineage
from lineage.training.ensemble import Recipe, train
from tests.unlearn.equality import material as real
from tests.unlearn.equality.counterfactual import bits, from_scratch, register
from tests.unlearn.equality.forgetting import TWIN, Outcome, forget
from tests.unlearn.equality.material import Material
from tests.unlearn.equality.trained import Trained, Trains, program


@dataclass(frozen=True)
class Family:
    """A model, later images, and what was made of both: name → version."""

    model: Trained
    late: Material
    made: dict[str, str]

    def make(self, name: str, ref: str, *datasets: str, **recipe: object) -> str:
        """Make one more model of the family."""
        wanted = {each: each for each in datasets}
        version = train(self.model.store, program(f"made.py:{ref}"), wanted, name, Recipe(**recipe))
        self.made[name] = version.id
        return version.id

    def assert_as_if_never(self, outcome: Outcome, gone: set[str], folder: Path) -> None:
        """What replaced each version is to the bit what had come of the retained rows alone."""
        replaced = outcome.results["publish"]["versions"]
        for name, version in self.made.items():
            twin = from_scratch(
                self.model.store, version, [self.model.material, self.late], gone, folder / name
            )
            now = replaced.get(version, version)
            assert bits(self.model.store, now) == twin, name
        check = outcome.results["check"]
        assert (check["claim"]["claim"], check["verdict"]) == ("replay-verified", "passed")
        assert {twin["version"] for twin in check["twins"]} == replaced.keys()


@pytest.fixture
def family(trained: Trains, data: Path, tmp_path: Path, twin_here: None) -> Callable[..., Family]:
    """Makes the family of a model of one topology."""

    def made(topology: str) -> Family:
        model = trained("mnist.py:mlp", topology, optimizer="sgd")
        late = real.mnist(data, tmp_path, slice(50_000, 51_000), "late")
        register(model.store, late)
        return Family(model, late, {})

    return made


def test_an_adapter_descends_from_its_base_and_the_base_from_no_adapter(
    family: Callable[..., Family], tmp_path: Path
) -> None:
    kin = family("plain")
    adapter = kin.make(
        "adapter", "adapter", "late", epochs=2, checkpoint_every=8, given={"base": "model"}
    )
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    base = bits(kin.model.store, kin.model.version)
    late = kin.late.table[kin.late.record][17].as_py()
    outcome = forget(kin.model.store, "record", [late], TWIN)
    assert outcome.results["publish"]["versions"].keys() == {adapter}
    kin.assert_as_if_never(outcome, {late}, tmp_path / "one")
    assert bits(kin.model.store, kin.model.version) == base
    kin.made["adapter"] = outcome.version
    early = kin.model.material.table[kin.model.material.record][17].as_py()
    outcome = forget(kin.model.store, "record", [early], TWIN)
    assert outcome.results["publish"]["versions"].keys() == {kin.model.version, kin.made["adapter"]}
    kin.assert_as_if_never(outcome, {early, late}, tmp_path / "two")


def test_a_student_forgets_whom_one_of_its_teachers_learned_from(
    family: Callable[..., Family], tmp_path: Path
) -> None:
    kin = family("sharded")
    kin.make(
        "student",
        "student",
        "late",
        epochs=1,
        config={"optimizer": "adam"},
        given={"teacher": "model"},
    )
    person = kin.model.people(1, 1)[0]
    gone = kin.model.material.records_of("subject", [person])
    outcome = forget(kin.model.store, "subject", [person], TWIN)
    versions = outcome.results["publish"]["versions"]
    assert versions.keys() == {kin.model.version, kin.made["student"]}
    late = kin.late.records_of("subject", [person])
    kin.assert_as_if_never(outcome, gone | late, tmp_path)


def test_a_soup_an_export_and_a_soup_of_them_are_made_again(
    family: Callable[..., Family], tmp_path: Path
) -> None:
    kin = family("plain")
    tuned = Recipe(epochs=1, seed=5, config={"optimizer": "adam"})
    other = train(kin.model.store, program("mnist.py:mlp"), {"mnist": "late"}, "other", tuned)
    kin.made["other"] = other.id
    parts = {"one": "model", "other": "other"}
    kin.make("soup", "soup", given=parts)
    kin.make("reheated", "soup", "late", epochs=0, given=parts, config={"statistics": True})
    kin.make("half", "export", given={"model": "soup"})
    record = kin.model.material.table[kin.model.material.record][3].as_py()
    outcome = forget(kin.model.store, "record", [record], TWIN)
    versions = outcome.results["publish"]["versions"]
    assert versions.keys() == {
        kin.model.version,
        *(kin.made[name] for name in ("soup", "reheated", "half")),
    }
    assert outcome.plan.visits < 2 * len(kin.model.material.table)
    kin.assert_as_if_never(outcome, {record}, tmp_path)


def test_who_was_only_estimated_on_is_found_in_a_soup(family: Callable[..., Family]) -> None:
    kin = family("plain")
    parts = {"one": "model", "other": "model"}
    soup = kin.make("soup", "soup", "late", epochs=0, given=parts, config={"statistics": True})
    record = kin.late.table[kin.late.record][3].as_py()
    found = lineage.who_saw(kin.model.store, "record", record)
    assert [each.id for each in found.models] == [soup]
    assert not found.steps[found.runs[0].run]

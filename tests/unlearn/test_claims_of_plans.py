"""What a plan claims is no more than what was executed and compared."""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

import lineage
import unlearn
from lineage.provenance import listing
from lineage.training.model import find_version
from storage.catalogue import tables
from tests.unlearn import steering
from unlearn.claim import Claim, Verdict

MARK = 9.876543
"""A value that one person's rows have alone."""

RECIPE: dict[str, Any] = {"slices": 2, "epochs": 4, "batch_size": 32}

MakesStore = Callable[..., Any]


def written(file: Path, people: str, without: Sequence[str] = (), marked: str = "") -> Path:
    """Write four hundred points, of forty people."""
    draws = random.Random(people)
    lines = ["id,person,x,y"]
    for number in range(400):
        person, x, y = f"{people}{number % 40}", draws.random(), draws.random()
        value = MARK if person == marked else x
        if person not in without:
            lines.append(f"{people}{number},{person},{value:.6f},{y:.6f}")
    file.write_text("\n".join(lines) + "\n", "utf-8")
    return file


@pytest.fixture
def makes_store(tmp_path: Path) -> MakesStore:
    """Makes a store of files by the names of their data sets."""
    made: list[Any] = []

    def make(**files: Path) -> Any:
        store = lineage.Store.create(tmp_path / f"store-{len(made)}")
        made.append(store)
        for name, file in files.items():
            lineage.add_dataset(
                store,
                name,
                file,
                id_columns=("id",),
                subject_columns=("person",),
                namespace="people",
                salt=b"s" * 32,
            )
        return store

    return make


def seen_by(store: Any, checkpoints: int) -> str:
    """Somebody whom so many checkpoints have seen: the later, the fewer."""
    return next(
        person
        for person in (f"P{number}" for number in range(40))
        if len(lineage.who_saw(store, "subject", person).checkpoints) == checkpoints
    )


def forgotten(store: Any, person: str, **how: Any) -> tuple[str, dict[str, Any]]:
    """Forget somebody; returns the plan and what its check said."""
    request = unlearn.accept(store, "subject", [person])
    plan_id, plan = unlearn.make_plan(store, [request.request_id], **how)
    check = unlearn.apply(store, plan_id, unlearn.InProcess(store))["check"]
    ranks = [*Claim]
    assert ranks.index(check["claim"]["claim"]) >= ranks.index(plan.claim_possible)
    return plan_id, check["claim"]


def test_case_q_claims_probe(makes_store: MakesStore, tmp_path: Path) -> None:
    """State that is kept between steps and not tracked; two slices, the default cadence."""
    store = makes_store(d=written(tmp_path / "d.csv", "P"))
    lineage.train(store, steering.hiding, {"d": "d"}, "m", lineage.Recipe(**RECIPE))
    plan, claim = forgotten(store, seen_by(store, 1))
    assert claim["claim"] == Claim.EXACT_BY_PROVENANCE
    assert claim["reason"] == (
        "the program keeps slow (ndarray) between steps, which is not tracked"
    )
    assert unlearn.verify_plan(store, plan, twin=True).verdict is Verdict.FAILED


def test_state_that_is_not_tracked_is_named_by_show_plan_and_claim(
    makes_store: MakesStore, tmp_path: Path
) -> None:
    """A twin from scratch of what was replayed from scratch is equal all the same."""
    store = makes_store(d=written(tmp_path / "d.csv", "P"))
    version = lineage.train(store, steering.hiding, {"d": "d"}, "m", lineage.Recipe(**RECIPE))
    (run,) = listing.runs(store)
    assert listing.run(store, run.id).untracked == ("slow (ndarray)",)
    request = unlearn.accept(store, "subject", [seen_by(store, 2)])
    plan_id, plan = unlearn.make_plan(store, [request.request_id])
    assert [note for note in plan.notes if "slow (ndarray)" in note] == [
        "the program keeps slow (ndarray) between steps, which is not tracked: only a twin shows "
        "whether a replay is exact"
    ]
    check = unlearn.apply(store, plan_id, unlearn.InProcess(store))["check"]
    assert check["claim"]["claim"] == Claim.EXACT_BY_PROVENANCE
    assert check["evidence"]["untracked"] == ["slow (ndarray)"]
    verified = unlearn.verify_plan(store, plan_id, twin=True)
    assert (verified.claim, verified.verdict) == (Claim.REPLAY_VERIFIED, Verdict.PASSED)
    assert version.id not in {each.version for each in verified.twins if each.twin_digest is None}


def test_state_that_only_a_probe_finds_is_found_by_a_probe_that_goes_on_from_a_checkpoint(
    makes_store: MakesStore, tmp_path: Path
) -> None:
    store = makes_store(d=written(tmp_path / "d.csv", "P"))
    recipe = lineage.Recipe(**RECIPE, checkpoint_every=4)
    lineage.train(store, steering.hiding_in_numbers, {"d": "d"}, "m", recipe)
    latest = seen_by(store, min(_counts(store)))
    _, claim = forgotten(store, latest)
    assert claim["claim"] == Claim.EXACT_BY_PROVENANCE
    assert "bits do not come out the same" in claim["reason"]


def _counts(store: Any) -> set[int]:
    people = (f"P{number}" for number in range(40))
    return {len(lineage.who_saw(store, "subject", each).checkpoints) for each in people}


def test_case_q_claims_borrowed(makes_store: MakesStore, tmp_path: Path) -> None:
    """A probe of the same program with another setting says nothing."""
    store = makes_store(d=written(tmp_path / "d.csv", "P"))
    counts = lineage.Recipe(**RECIPE, config={"counts": 1})
    lineage.train(store, steering.counting, {"d": "d"}, "m", counts)
    plain = lineage.Recipe(**RECIPE, checkpoint_every=2, config={"counts": 0})
    lineage.train(store, steering.counting, {"d": "d"}, "small", plain)
    with store.catalogue.read() as session:
        models = {
            each.model: each.id
            for each in session.execute(
                select(tables.ModelVersion.id, tables.Model.name.label("model")).join(
                    tables.Model, tables.Model.id == tables.ModelVersion.model_id
                )
            )
        }
    late = next(
        person
        for person in (f"P{number}" for number in range(40))
        if len(
            [
                each
                for each in lineage.who_saw(store, "subject", person).checkpoints
                if each in _checkpoints(store, models["m"])
            ]
        )
        == 1
    )
    plan, claim = forgotten(store, late)
    assert claim["claim"] == Claim.EXACT_BY_PROVENANCE
    assert unlearn.verify_plan(store, plan, twin=True).verdict is Verdict.FAILED


def _checkpoints(store: Any, version: str) -> set[str]:
    """The checkpoints of the runs that a version was made by."""
    with store.catalogue.read() as session:
        member, made = tables.ModelMember, tables.Checkpoint
        runs = (
            select(made.run_id)
            .join(member, member.checkpoint_id == made.id)
            .where(member.version_id == version)
        )
        return set(session.scalars(select(made.id).where(made.run_id.in_(runs))))


@pytest.fixture
def measured(makes_store: MakesStore, tmp_path: Path) -> tuple[Any, str]:
    """A store whose model was steered by measures on V3, and the digest without them."""
    made = []
    for name, without in (("with", ()), ("without", ("V3",))):
        rows = written(tmp_path / f"{name}-d.csv", "P")
        looked_at = written(tmp_path / f"{name}-v.csv", "V", without, marked="V3")
        store = makes_store(d=rows, val=looked_at)
        version = lineage.train(
            store, steering.steered, {"d": "d", "val": "val"}, "m", lineage.Recipe(**RECIPE)
        )
        made.append((store, version.digest))
    return made[0][0], made[1][1]


def test_case_q_claims_steered(measured: tuple[Any, str]) -> None:
    """What run.evaluate returned set the rate, and the forgotten is in validation alone."""
    store, _ = measured
    _, claim = forgotten(store, "V3")
    assert claim["claim"] == Claim.EXACT_BY_PROVENANCE
    assert "may have been steered" in claim["reason"]


def test_case_q_claims_measures(measured: tuple[Any, str]) -> None:
    """A measure may be a value of somebody: it goes with them."""
    store, _ = measured
    with store.catalogue.read() as session:
        before = session.scalars(select(tables.Evaluation)).all()
    assert {each.metrics["largest"] for each in before} == {MARK}
    forgotten(store, "V3")
    with store.catalogue.read() as session:
        after = session.scalars(select(tables.Evaluation)).all()
    assert {each.id for each in after} == {each.id for each in before}
    assert all(each.metrics == {"loss": None, "largest": None} for each in after)
    assert b"9.876543" not in (store.path / "catalogue.db").read_bytes()


def test_exact_selection_replays_from_the_first_measure(measured: tuple[Any, str]) -> None:
    store, without = measured
    request = unlearn.accept(store, "subject", ["V3"])
    _, plain = unlearn.make_plan(store, [request.request_id])
    (offered,) = (each for each in plain.rejected if "exact-selection" in each.name)
    plan_id, plan = unlearn.make_plan(store, [request.request_id], exact_selection=True)
    assert (plain.visits, plan.visits) == (0, offered.visits)
    unlearn.apply(store, plan_id, unlearn.InProcess(store))
    found = unlearn.verify_plan(store, plan_id, twin=True)
    assert (found.statement.claim, found.verdict) == (Claim.REPLAY_VERIFIED, Verdict.PASSED)
    assert find_version(store, "m").digest == without


def test_measures_that_are_declared_not_to_steer_lower_no_claim(
    makes_store: MakesStore, tmp_path: Path
) -> None:
    store = makes_store(d=written(tmp_path / "d.csv", "P"), val=written(tmp_path / "v.csv", "V"))
    recipe = lineage.Recipe(**RECIPE, config={"steers": False})
    lineage.train(store, steering.steered, {"d": "d", "val": "val"}, "m", recipe)
    _, claim = forgotten(store, "V3")
    assert claim["claim"] == Claim.EXACT_REPRODUCIBLE


def test_a_measure_leaves_the_random_numbers_of_its_step_alone(
    makes_store: MakesStore, tmp_path: Path
) -> None:
    """As many are drawn inside as there are rows to be measured."""
    rows = written(tmp_path / "d.csv", "P")
    recipe = lineage.Recipe(**RECIPE, config={"steers": False})
    digests = set()
    for without in ((), ("V1", "V2")):
        looked_at = written(tmp_path / f"v{len(without)}.csv", "V", without)
        store = makes_store(d=rows, val=looked_at)
        version = lineage.train(store, steering.steered, {"d": "d", "val": "val"}, "m", recipe)
        digests.add(version.digest)
    assert len(digests) == 1


def test_what_was_proved_stands_when_a_later_plan_has_replaced_the_model(
    makes_store: MakesStore, tmp_path: Path
) -> None:
    store = makes_store(d=written(tmp_path / "d.csv", "P"))
    recipe = lineage.Recipe(**RECIPE, config={"counts": 0})
    lineage.train(store, steering.counting, {"d": "d"}, "m", recipe)
    first, _ = forgotten(store, "P1")
    proved = unlearn.verify_plan(store, first, twin=True)
    assert (proved.claim, proved.verdict) == (Claim.REPLAY_VERIFIED, Verdict.PASSED)
    second, claim = forgotten(store, "P2")
    found = unlearn.verify_plan(store, first, twin=True)
    assert (found.id, found.claim, found.verdict) == (proved.id, proved.claim, Verdict.PASSED)
    assert (found.evidence, found.twins) == (proved.evidence, proved.twins)
    said = found.statement.reason
    assert said.startswith(f"proved on {store.clock():%Y-%m-%d}, replaced by mv-")
    assert f" of {second}: " in said
    third, _ = forgotten(store, "P3")
    found = unlearn.verify_plan(store, second, twin=True)
    assert (found.id, found.claim) == (second, claim["claim"])
    assert unlearn.verify_plan(store, third, twin=True).claim is Claim.REPLAY_VERIFIED

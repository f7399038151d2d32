"""What must come out different does: an equality that cannot fail would prove nothing."""

from pathlib import Path

import pytest
from sqlalchemy import select

from lineage.store import Store
from lineage.training.ensemble import Recipe, train
from lineage.training.environment import Environment
from storage.catalogue import tables
from tests.unlearn.equality.counterfactual import bits, from_scratch, state_bits
from tests.unlearn.equality.forget_sets import forget_set
from tests.unlearn.equality.forgetting import TWIN, ask, forget, newest
from tests.unlearn.equality.search import found
from tests.unlearn.equality.trained import MODEL, Trained, Trains, program
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.errors import VerificationFailedError
from unlearn.plan.planner import make_plan


def _checkpoints(store: Store) -> list[tables.Checkpoint]:
    with store.catalogue.read() as session:
        return list(session.scalars(select(tables.Checkpoint)))


def _refused(model: Trained, person: str) -> None:
    """The plan fails its check, however often it is applied, and leaves everything as it was."""
    needles = model.material.needles([person])
    request = ask(model.store, "subject", [person])
    plan_id, _ = make_plan(model.store, [request])
    for _ in range(2):
        with pytest.raises(VerificationFailedError, match="differs from its twin"):
            apply(model.store, plan_id, InProcess(model.store), TWIN)
    assert newest(model.store, MODEL) == model.version
    assert all(row.purged_at is None for row in _checkpoints(model.store))
    assert all(model.store.objects.verify(row.object) for row in _checkpoints(model.store))
    assert found(model.store.path, needles).keys() == needles.keys()
    with model.store.catalogue.read() as session:
        assert session.get_one(tables.Request, request).state == "open"
        check = session.get_one(tables.Task, f"{plan_id}/check").result
    assert check["verdict"] == "failed"
    assert check["claim"]["claim"] != "replay-verified"


def test_every_checkpoint_that_saw_a_record_differs_from_its_replay(trained: Trains) -> None:
    model = trained("mnist.py:mlp", "plain", optimizer="sgd")
    _, (record,) = forget_set(model, "one record", seed=3)
    saw = {row.step: row.digest for row in _checkpoints(model.store)}
    before = {row.step: state_bits(model.store, row.id) for row in _checkpoints(model.store)}
    replay = forget(model.store, "record", [record]).results["replay-1"]
    assert len(replay["digests"]) > 1
    for step, digest in replay["digests"].items():
        assert digest != saw[int(step)]
        assert state_bits(model.store, replay["checkpoints"][step]) != before[int(step)]


def test_a_model_without_other_records_is_another_model(trained: Trains, tmp_path: Path) -> None:
    model = trained("voices.py:mlp", "plain", optimizer="adam", scaler=False)
    records = model.material.table[model.material.record].to_pylist()
    outcome = forget(model.store, "record", [records[9]])
    other = from_scratch(
        model.store, model.version, [model.material], {records[10]}, tmp_path / "other"
    )
    assert bits(model.store, outcome.version) != other


def test_a_program_that_asks_the_catalogue_how_many_rows_there_are_is_found_out(
    trained: Trains, twin_here: None
) -> None:
    model = trained("careless.py:asks_the_catalogue", "sharded")
    _refused(model, model.people(2, 1)[0])


def test_a_program_that_counts_the_file_is_found_out(trained: Trains, twin_here: None) -> None:
    model = trained("careless.py:counts_the_file", "sharded")
    _refused(model, model.people(2, 0)[0])


def test_a_program_that_throws_its_own_dice_is_found_out_by_the_probe(
    trained: Trains, tmp_path: Path
) -> None:
    model = trained("careless.py:throws_its_own_dice", "sharded")
    people = [model.people(2, 1)[0]]
    outcome = forget(model.store, "subject", people)
    check = outcome.results["check"]
    assert set(check["evidence"]["probes"].values()) == {False}
    assert (check["claim"]["claim"], check["verdict"]) == ("exact-by-provenance", "passed")
    assert "bits do not come out the same here" in check["claim"]["reason"]
    gone = model.material.records_of("subject", people)
    twin = from_scratch(model.store, model.version, [model.material], gone, tmp_path / "twin")
    assert bits(model.store, outcome.version) != twin


def test_the_number_of_threads_is_part_of_the_recorded_environment(trained: Trains) -> None:
    model = trained("mnist.py:mlp", "plain", optimizer="sgd")
    recipe = Recipe(epochs=1, batch_size=2_000, threads=2, config={"optimizer": "sgd"})
    train(model.store, program("mnist.py:mlp"), {"mnist": "mnist"}, "two threads", recipe)
    with model.store.catalogue.read() as session:
        rows = session.scalars(select(tables.Environment)).all()
    first, second = (Environment.model_validate(row.fingerprint) for row in rows)
    assert {"threads"} <= {each.field for each in first.difference(second)}
    assert {first.threads, second.threads} == {1, 2}


def test_a_replay_in_another_environment_says_what_is_different(
    trained: Trains, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trained("mnist.py:mlp", "sharded", optimizer="adam")
    monkeypatch.setenv("MKL_NUM_THREADS", "2")
    check = forget(model.store, "subject", [model.people(2, 1)[0]]).results["check"]
    assert check["claim"]["claim"] == "exact-by-provenance"
    assert "variables.MKL_NUM_THREADS was '(none)', is '2'" in check["claim"]["reason"]

"""Opening a model version: the program rebuilds each member, and stops before it trains."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from lineage.errors import CheckpointError, ProgramError
from lineage.training.batch import Batch
from lineage.training.ensemble import train
from lineage.training.model import find_version, load_model
from lineage.training.program import load_program
from storage.catalogue import tables
from storage.errors import CorruptObjectError, NotFoundError


@pytest.fixture
def batch() -> Batch:
    values = np.linspace(-1, 1, 5)
    return Batch({"x": values}.__getitem__, np.arange(5), np.arange(5, dtype=np.uint64))


def newest(workshop: Any, store: Any, name: str = "m") -> Any:
    (model,) = workshop.rows_of(store, tables.Model, name=name)
    return workshop.rows_of(store, tables.ModelVersion, model_id=model.id)[-1]


def test_the_members_are_restored_and_the_ensemble_predicts_their_mean(
    trained: Any, tally: Any, batch: Batch
) -> None:
    ensemble = load_model(trained, "m")
    assert [member.shard for member in ensemble.members] == [0, 1]
    weights = [member.tracked["model"].values for member in ensemble.members]
    assert not np.array_equal(*weights)
    expected = np.mean([np.outer(batch["x"], each) for each in weights], axis=0)
    assert np.array_equal(ensemble.predict(batch), expected)
    assert ensemble.predict(batch).dtype == np.float64


def test_opening_a_model_trains_nothing_and_changes_nothing(
    trained: Any, tally: Any, workshop: Any
) -> None:
    before = (trained.path / "catalogue.db").read_bytes()
    draws = np.random.get_state(legacy=False)
    load_model(trained, "m")
    assert tally.consumed() == []
    assert (trained.path / "catalogue.db").read_bytes() == before
    after = np.random.get_state(legacy=False)
    assert np.array_equal(draws["state"]["key"], after["state"]["key"])


def test_a_version_is_opened_by_its_id_and_a_model_by_its_newest(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    first, second = tally.train(store), tally.train(store, seed=1)
    assert load_model(store, first.id).version_id == first.id
    assert load_model(store, "m").version_id == second.id
    assert find_version(store, "m").sequence == 2


def test_near_names_of_models_are_offered(trained: Any) -> None:
    with pytest.raises(NotFoundError, match="no model 'mm'") as missing:
        find_version(trained, "mm")
    assert missing.value.hint == "did you mean 'm'?"


def test_what_was_fitted_comes_back_from_the_store(store: Any, tally: Any, batch: Batch) -> None:
    tally.register(store)
    tally.train(store, config={"fit": True})
    fitted = tally.consumed("fit")
    assert len(fitted) == 2
    load_model(store, "m").predict(batch)
    assert tally.consumed("fit") == fitted


def test_a_fit_that_the_program_did_not_make_in_training_is_refused(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    tally.train(store, config={"fit": True})
    with store.catalogue.write() as session:
        session.query(tables.Fit).delete()
    with pytest.raises(ProgramError, match="fitted only 0 artefacts"):
        load_model(store, "m")


def test_a_purged_member_is_refused(trained: Any, workshop: Any) -> None:
    member = workshop.rows_of(trained, tables.ModelMember)[0].checkpoint_id
    with trained.catalogue.write() as session:
        session.execute(
            update(tables.Checkpoint)
            .where(tables.Checkpoint.id == member)
            .values(purged_at=trained.clock())
        )
    with pytest.raises(CheckpointError, match=f"{member} was purged"):
        load_model(trained, "m")


def test_a_damaged_member_is_named(trained: Any, workshop: Any) -> None:
    member = workshop.rows_of(trained, tables.ModelMember)[0].checkpoint_id
    (checkpoint,) = workshop.rows_of(trained, tables.Checkpoint, id=member)
    trained.objects.open(checkpoint.object).write_bytes(b"")
    with pytest.raises(CorruptObjectError, match=checkpoint.object):
        load_model(trained, "m")


def test_a_program_without_a_predictor_says_what_is_missing(store: Any, tally: Any) -> None:
    tally.register(store)
    tally.train(store, config={"mute": True})
    with pytest.raises(ProgramError, match=r"tally\.py:train does not say how it predicts") as mute:
        load_model(store, "m")
    assert "run.predictor" in mute.value.hint


def test_a_program_that_evaluates_before_it_trains_is_told_where_to(
    store: Any, tally: Any, workshop: Any, tmp_path: Path
) -> None:
    source = Path(workshop.__file__).with_name("tally.py").read_text()
    early = "    for batch in run.batches(records):"
    change = "    run.evaluate(lambda rows: {}, records)\n" + early
    (tmp_path / "early.py").write_text(source.replace(early, change))
    tally.register(store)
    program = load_program("early.py:train", tmp_path)
    train(store, program, {"people": "people"}, "m", workshop.RECIPE)
    with pytest.raises(ProgramError, match="evaluates before its first batch") as refused:
        load_model(store, "m")
    assert "inside or after the loop" in refused.value.hint


def test_a_program_that_changed_since_is_refused(
    store: Any, tally: Any, workshop: Any, tmp_path: Path
) -> None:
    source = Path(workshop.__file__).with_name("tally.py").read_text()
    (tmp_path / "mine.py").write_text(source)
    tally.register(store)
    program = load_program("mine.py:train", tmp_path)
    train(store, program, {"people": "people"}, "m", workshop.RECIPE)
    (tmp_path / "mine.py").write_text(source + "\n# changed\n")
    with pytest.raises(ProgramError, match="has changed since it trained"):
        load_model(store, "m")

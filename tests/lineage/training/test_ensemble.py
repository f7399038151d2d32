"""Trainings: shards as isolated runs, and the version they become together."""

from dataclasses import replace
from typing import Any

import pytest

from lineage.data.dataset import head
from lineage.errors import FencedError, PlacementError, ProgramError, RunError
from lineage.schedule import shards_of
from lineage.training.aggregation import Aggregation, model_digest
from lineage.training.ensemble import Recipe, prepare, resume, train
from lineage.training.run import Run
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.errors import NotFoundError
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept


def specifications(workshop: Any, store: Any) -> list[RunSpec]:
    runs = sorted(workshop.rows_of(store, tables.Run), key=lambda run: run.created_at)
    return [RunSpec.model_validate(run.specification) for run in runs]


def members(workshop: Any, store: Any, version: str) -> dict[int, Any]:
    """Shard → the checkpoint row that a version takes from it."""
    found = {}
    for member in workshop.rows_of(store, tables.ModelMember, version_id=version):
        (found[member.shard],) = workshop.rows_of(store, tables.Checkpoint, id=member.checkpoint_id)
    return found


def test_a_version_takes_the_last_checkpoint_of_every_shard(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    version = tally.train(store)
    found = members(workshop, store, version.id)
    last = {}
    for run in workshop.rows_of(store, tables.Run):
        shard = run.specification["schedule"]["shard"]
        steps = workshop.rows_of(store, tables.Checkpoint, run_id=run.id)
        last[shard] = max(steps, key=lambda each: each.step).id
    assert {shard: each.id for shard, each in found.items()} == last
    assert set(last) == {0, 1}
    assert version.digest == model_digest(
        Aggregation.MEAN, [found[0].digest, found[1].digest], (60, 36)
    )
    assert (version.sequence, version.interim, version.aggregation) == (
        1,
        False,
        "mean-probability",
    )
    (commitment,) = workshop.rows_of(store, tables.Commitment, row_id=version.id)
    assert commitment.kind == "model-version"


def test_each_shard_is_trained_on_its_own_records_only(
    store: Any, tally: Any, workshop: Any
) -> None:
    version = tally.register(store)
    tally.train(store)
    records = version.present.records
    shard = dict(
        zip(version.column("id"), shards_of(records.placement, version.salt, 2), strict=True)
    )
    turns = [{shard[record] for record in ids} for _, ids in tally.consumed()]
    assert {0} in turns
    assert {1} in turns
    assert all(len(turn) == 1 for turn in turns)
    assert {record for _, ids in tally.consumed() for record in ids} == set(shard)


def test_equal_trainings_have_equal_digests_in_any_store_and_others_do_not(
    store: Any, tally: Any, tmp_path: Any, workshop: Any
) -> None:
    tally.register(store)
    digest = tally.train(store).digest
    with workshop.Store.create(tmp_path / "second", workshop.Clock(days=9)) as second:
        tally.register(second, rows=list(reversed(workshop.people())))
        assert tally.train(second).digest == digest
        assert tally.train(second, model="other").digest == digest
        assert tally.train(second, seed=1).digest != digest
        assert tally.train(second, config={"evaluate": True}).digest == digest


def test_versions_of_a_model_are_numbered(store: Any, tally: Any, workshop: Any) -> None:
    tally.register(store)
    versions = [tally.train(store, model) for model in ("m", "m", "other")]
    assert [version.sequence for version in versions] == [1, 2, 1]
    assert len(workshop.rows_of(store, tables.Model)) == 2


def test_preparing_writes_a_training_down_and_executes_nothing(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    training = tally.prepare(store)
    runs = workshop.rows_of(store, tables.Run)
    assert [(run.training_id, run.state, run.first_step) for run in runs] == [
        (training, "pending", 0)
    ] * 2
    assert tally.consumed() == []
    assert workshop.rows_of(store, tables.ModelVersion) == []
    schedules = workshop.rows_of(store, tables.Commitment, kind="schedule")
    assert {each.row_id for each in schedules} == {run.id for run in runs}
    assert resume(store, training).sequence == 1


def test_a_training_that_was_interrupted_is_resumed_where_it_was(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    digest = tally.train(store).digest
    training = tally.prepare(store)
    tally.spring(15, "interrupt")
    with pytest.raises(KeyboardInterrupt):
        resume(store, training)
    assert len(workshop.rows_of(store, tables.ModelVersion)) == 1
    version = resume(store, training)
    assert (version.sequence, version.digest) == (2, digest)


def test_a_training_is_published_once(store: Any, tally: Any, workshop: Any) -> None:
    tally.register(store)
    training = tally.prepare(store)
    resume(store, training)
    with pytest.raises(RunError, match="is complete"):
        resume(store, training)
    with pytest.raises(NotFoundError, match="train-0"):
        resume(store, "train-0")
    assert len(workshop.rows_of(store, tables.ModelVersion)) == 1


def test_a_fine_tune_begins_at_step_0_with_what_it_was_told_to_restore(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    first = tally.train(store, shards=1)
    (start,) = members(workshop, store, first.id).values()
    tuned = tally.train(store, "tuned", shards=1, start=start.id)
    (spec,) = specifications(workshop, store)[1:]
    assert (spec.restore, specifications(workshop, store)[0].restore) == (("model",), ())
    fresh = tally.train(store, "fresh", shards=1)
    assert fresh.digest == first.digest != tuned.digest
    unrestored = tally.train(store, "unrestored", shards=1, start=start.id, restore=())
    assert unrestored.digest == first.digest


def test_a_fine_tune_that_would_begin_with_nothing_is_refused(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    first = tally.train(store, shards=1)
    (start,) = members(workshop, store, first.id).values()
    with pytest.raises(RunError, match=f"{start.id} holds no 'modle'") as refused:
        tally.prepare(store, "tuned", start=start.id, restore=("modle",))
    assert refused.value.hint == "it holds model: name what to begin with by --restore"
    with pytest.raises(RunError, match="no checkpoint to restore 'modle' from"):
        tally.prepare(store, "tuned", restore=("modle",))
    assert len(workshop.rows_of(store, tables.Training)) == 1


def test_what_a_fine_tune_begins_with_must_be_tracked(
    store: Any, tally: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally.register(store)
    first = tally.train(store, shards=1)
    (start,) = members(workshop, store, first.id).values()
    track = Run.track
    monkeypatch.setattr(Run, "track", lambda run, model: track(run, network=model))
    with pytest.raises(ProgramError, match="tracks no 'model'") as refused:
        tally.train(store, "tuned", shards=1, start=start.id)
    assert refused.value.hint == "it tracks network: name what it is to begin with"


def test_a_fine_tune_that_began_with_nothing_before_that_was_refused_can_be_made_again(
    store: Any, tally: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally.register(store)
    first = tally.train(store, shards=1)
    (start,) = members(workshop, store, first.id).values()
    track = Run.track
    named = lambda run, model: track(run, **{run.config.get("name", "model"): model})  # noqa: E731
    monkeypatch.setattr(Run, "track", named)
    with monkeypatch.context() as before:
        before.setattr("lineage.training.execute._check_filled", lambda run, names: None)
        tuned = tally.train(store, "tuned", shards=1, start=start.id, config={"name": "network"})
    request = accept(store, "subject", ["person-07"])
    plan_id, _ = make_plan(store, request.request_ids)
    apply(store, plan_id, InProcess(store))
    (made,) = workshop.rows_of(store, tables.ModelVersion, replaces_id=tuned.id)
    assert made.digest != tuned.digest


def test_a_start_that_is_not_there_is_refused_before_anything_is_written(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    with pytest.raises(NotFoundError, match="ckpt-0"):
        tally.prepare(store, start="ckpt-0")
    assert workshop.rows_of(store, tables.Training) == []


def test_the_first_dataset_is_trained_on_and_others_are_given_by_their_nominal_length(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    tally.register(store, "test", workshop.people(7, 3))
    names = {"people": "people", "held-out": "test"}
    prepare(store, tally.program, names, "m", replace(workshop.RECIPE, shards=2, slices=1))
    first, second = specifications(workshop, store)
    assert (first.train, second.train) == ("people", "people")
    assert {n: h.nominal for n, h in first.handles.items()} == {"people": 60, "held-out": 21}
    assert {n: h.nominal for n, h in second.handles.items()} == {"people": 36, "held-out": 21}
    assert first.handles["held-out"].dataset == "test"
    given = workshop.rows_of(store, tables.RunInput)
    assert {(each.alias, each.trains) for each in given} == {("people", True), ("held-out", False)}


def test_settings_reach_the_program_as_they_were_written_down(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    config = {"rate": 0.1, "layers": [3, 4], "name": "ü", "deep": {"x": None, "y": True}}
    tally.prepare(store, config=config)
    assert {spec.model_dump_json() for spec in specifications(workshop, store)}
    assert all(spec.config == config for spec in specifications(workshop, store))


def test_a_division_that_is_too_uneven_is_refused_with_a_proposal(store: Any, tally: Any) -> None:
    tally.register(store)
    with pytest.raises(PlacementError) as refused:
        tally.prepare(store, shards=12, slices=4)
    assert "--shards" in refused.value.hint


def test_a_dataset_whose_rows_are_being_forgotten_is_trained_on_without_them(
    store: Any, tally: Any
) -> None:
    tally.register(store)
    accept(store, "subject", ["person-05"])
    tally.train(store)
    gone = {f"record-{row:04d}" for row in (5, 29, 53, 77)}
    assert not gone & {record for _, ids in tally.consumed() for record in ids}


def test_a_run_over_a_version_with_forgotten_rows_does_not_begin(store: Any, tally: Any) -> None:
    tally.register(store)
    training = tally.prepare(store)
    accept(store, "subject", ["person-05"])
    with pytest.raises(FencedError, match="are being forgotten"):
        resume(store, training)
    assert tally.consumed() == []


def test_the_recipe_that_nobody_changed_is_the_documented_one(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    train(store, tally.program, {"people": "people"}, "m")
    (spec,) = specifications(workshop, store)
    assert (spec.schedule.epochs, spec.schedule.batch_size, spec.schedule.seed) == (10, 64, 0)
    assert (spec.min_batch, spec.checkpoint_every, spec.threads) == (2, None, 1)
    assert Recipe() == Recipe(shards=1, slices=1)
    assert head(store, "people").row.sequence == 1

"""Forgetting in ensembles of every kind: what is left of one is the one trained without it."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from lineage.data.dataset import head
from lineage.errors import CheckpointError, ProgramFailedError, RunError
from lineage.provenance.listing import model, version_of_model
from lineage.provenance.query import who_saw
from lineage.schedule import ScheduleSpec
from lineage.training.aggregation import Aggregation, model_digest
from lineage.training.ensemble import resume
from lineage.training.model import load_model
from lineage.training.registry import promote, retire
from lineage.training.reshard import reshard
from storage.catalogue import tables
from tests.unlearn.equality.forgetting import TWIN, Outcome, ask_all, carry_out, forget
from unlearn.errors import VerificationFailedError
from unlearn.plan.passes import emptied

pytestmark = pytest.mark.usefixtures("twin_here")


def assert_equals_its_twin(outcome: Outcome) -> None:
    """Every replacement is, to the bit, the version that was trained anew without the forgotten."""
    check = outcome.results["check"]
    assert (check["claim"]["claim"], check["verdict"]) == ("replay-verified", "passed")
    assert check["twins"]
    assert all(twin["twin_digest"] == twin["model_digest"] for twin in check["twins"])


def test_what_replaces_a_version_aggregates_as_it_did(
    store: Any, tally: Any, workshop: Any
) -> None:
    how = Aggregation.WEIGHTED_VOTE
    tally.register(store)
    before = tally.train(store, aggregation=how)
    outcome = forget(store, "subject", ["person-05"], TWIN)
    assert_equals_its_twin(outcome)
    versions = workshop.rows_of(store, tables.ModelVersion)
    interim, after = versions = [each for each in versions if each.id != before.id]
    if after.interim:
        interim, after = after, interim
    assert [each.aggregation for each in versions] == [how, how]
    members = workshop.rows_of(store, tables.ModelMember, version_id=interim.id)
    ((kept,),) = [
        workshop.rows_of(store, tables.Checkpoint, id=each.checkpoint_id) for each in members
    ]
    weight = {0: 60, 1: 36}[members[0].shard]
    assert interim.digest == model_digest(how, [kept.digest], (weight,))
    assert after.digest == outcome.results["aggregate-1"]["digest"]
    assert after.digest != before.digest


KINDS: dict[str, dict[str, Any]] = {
    "risk in bands, within a fit": {"risk": "risk", "risk_bands": (0.5,), "config": {"fit": True}},
    "risk over shards of several sizes": {"shard_sizes": (3, 2, 1), "shards": 3, "risk": "risk"},
    "sizes, and epochs for each slice": {
        "shard_sizes": (1, 2),
        "epochs": (3, 1),
        "config": {"fit": "moments"},
    },
}


def risky(workshop: Any) -> list[dict[str, Any]]:
    """People, of whom the last four are ten times as likely to ask to be forgotten."""
    return [
        {**row, "risk": 0.6 if int(row["person"][-2:]) >= 20 else 0.01 * (int(row["id"][-4:]) % 24)}
        for row in workshop.people()
    ]


def schedules(workshop: Any, store: Any) -> list[ScheduleSpec]:
    """The schedule of each run of the first training."""
    runs = [run for run in workshop.rows_of(store, tables.Run) if run.replay_of is None]
    specs = [ScheduleSpec.model_validate(run.specification["schedule"]) for run in runs]
    return sorted(specs, key=lambda spec: spec.shard)


@pytest.mark.parametrize(
    ("kind", "person"), list(zip(KINDS, ["person-22", "person-03"] * 3, strict=False))
)
def test_what_is_left_of_an_ensemble_of_any_kind_equals_its_twin(
    store: Any, tally: Any, workshop: Any, kind: str, person: str
) -> None:
    tally.register(store, rows=risky(workshop))
    before = tally.train(store, batch_size=4, **KINDS[kind])
    data = head(store, "people")
    records = data.present.records.take(data.column("person")[data.present.positions] == person)
    (shard,) = set(schedules(workshop, store)[0].division.shard_of(records, data.salt).tolist())
    outcome = forget(store, "subject", [person], TWIN)
    assert_equals_its_twin(outcome)
    replays = [task.work for task in outcome.plan.tasks if task.work.kind == "replay"]
    ((replayed,),) = [workshop.rows_of(store, tables.Run, id=each.run_id) for each in replays]
    assert replayed.specification["schedule"]["shard"] == shard
    (made,) = workshop.rows_of(store, tables.ModelVersion, id=outcome.version)
    assert made.digest != before.digest


def test_the_riskiest_are_in_the_last_shard_and_its_last_slice(
    store: Any, tally: Any, workshop: Any
) -> None:
    data = tally.register(store, rows=risky(workshop))
    tally.train(store, batch_size=4, shards=3, risk="risk")
    first, *_ = schedules(workshop, store)
    assert first.risk is not None
    shards, slices = first.division.cells_of(data.present.records, data.salt)
    risks = data.column("risk")
    assert set(zip(shards[risks == 0.6], slices[risks == 0.6], strict=True)) == {(2, 1)}
    mean = [risks[(shards == s) & (slices == r)].mean() for s in range(3) for r in range(2)]
    assert mean == sorted(mean)
    assert np.bincount(shards).min() >= 20


def test_bands_of_risk_are_those_of_the_first_train_whoever_goes_and_comes(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store, rows=risky(workshop))
    tally.train(store, batch_size=4, shards=3, risk="risk")
    before = schedules(workshop, store)[0]
    forget(store, "subject", ["person-20", "person-21"])
    late = [{"id": f"late-{n}", "person": f"late-{n}", "x": 0.0, "risk": 0.9} for n in range(4)]
    tally.register(store, rows=late)
    tally.train(store, "again", batch_size=4, shards=3, risk="risk")
    after = [each for each in schedules(workshop, store) if each.shard == 0]
    assert [each.risk for each in after] == [before.risk] * 2
    tally.train(store, "anew", batch_size=4, shards=3, risk="risk", refreeze=True)
    assert len({each.risk for each in schedules(workshop, store)}) == 2


def in_shard(store: Any, workshop: Any, shard: int) -> list[str]:
    """Everybody in a shard of the first training."""
    data = head(store, "people")
    division = schedules(workshop, store)[0].division
    mine = division.shard_of(data.present.records, data.salt) == shard
    return sorted(set(data.column("person")[data.present.positions[mine]].tolist()))


def members(workshop: Any, store: Any, version: str) -> dict[int, str]:
    found = workshop.rows_of(store, tables.ModelMember, version_id=version)
    return {each.shard: each.checkpoint_id for each in found}


def test_an_ensemble_goes_on_without_a_shard_that_has_lost_all_its_records(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    before = tally.train(store, shards=3, slices=1, aggregation=Aggregation.WEIGHTED_VOTE)
    others = members(workshop, store, before.id)
    lost = others.pop(1)
    outcome = forget(store, "subject", in_shard(store, workshop, 1), TWIN)
    assert outcome.plan.notes[0] == "m v1 goes on without shard 1: no record is left to learn from"
    assert [task.work.kind for task in outcome.plan.tasks] == [
        *("aggregate", "check", "publish", "purge"),
    ]
    assert outcome.plan.visits == 0
    assert_equals_its_twin(outcome)
    assert members(workshop, store, outcome.version) == others
    assert workshop.rows_of(store, tables.Checkpoint, id=lost)[0].purged_at is not None
    assert [member.shard for member in load_model(store, "m").members] == [0, 2]
    assert version_of_model(store, outcome.version).without == (1,)
    again = forget(store, "subject", in_shard(store, workshop, 0)[:1], TWIN)
    assert_equals_its_twin(again)
    assert set(members(workshop, store, again.version)) == {0, 2}


def test_a_twin_that_still_trains_a_shard_that_was_left_out_is_no_twin(
    store: Any, tally: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally.register(store)
    tally.train(store, shards=3, slices=1)
    people = in_shard(store, workshop, 1)
    monkeypatch.setattr(emptied, "_emptied", lambda world, member: member.id == lost)
    lost = next(iter(workshop.rows_of(store, tables.ModelMember, shard=1))).checkpoint_id
    with pytest.raises(VerificationFailedError, match="differs from its twin"):
        forget(store, "subject", people[:1], TWIN)


def test_a_model_that_has_lost_its_last_shard_is_retired(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    before = tally.train(store)
    promote(store, before.id, "production")
    outcome = forget(store, "subject", sorted({row["person"] for row in workshop.people()}), TWIN)
    assert outcome.plan.notes == (
        "m v1 has no record left to learn from: it ends, and nothing replaces it",
    )
    assert outcome.plan.visits == 0
    assert outcome.results["check"]["verdict"] == "passed"
    assert outcome.results["publish"] == {
        "versions": {},
        "retired": ["m"],
        "held": {},
        "withheld": [],
        "ended": [{"alias": "production", "model": "m", "replaces": before.id}],
    }
    assert model(store, "m").retired_at is not None
    assert model(store, "m").aliases == {}
    assert [version.purged_at is None for version in model(store, "m").versions] == [False]
    with pytest.raises(CheckpointError, match="it learned from forgotten records") as purged:
        load_model(store, "m")
    assert "is retired" in purged.value.hint


def test_a_version_that_ends_leaves_a_newer_one_in_use(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store, rows=workshop.people(2, 12))
    first = tally.train(store, shards=1, slices=1)
    promote(store, first.id, "old")
    late = [{**row, "id": f"late-{row['id']}", "person": "late"} for row in workshop.people(2, 12)]
    tally.register(store, rows=late)
    second = tally.train(store, shards=1, slices=1)
    outcome = forget(store, "subject", ["person-00", "person-01"], TWIN)
    assert_equals_its_twin(outcome)
    assert outcome.results["publish"]["versions"].keys() == {second.id}
    assert model(store, "m").retired_at is None
    assert model(store, "m").aliases == {}


def test_a_retired_model_that_is_trained_again_is_in_use_again(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    tally.train(store)
    retire(store, "m")
    version = tally.train(store)
    assert model(store, "m").retired_at is None
    outcome = forget(store, "subject", ["person-05"])
    assert outcome.results["publish"]["versions"].keys() == {version.id}


def late(workshop: Any, name: str) -> list[dict[str, Any]]:
    """24 records of six people who come later."""
    return [
        {**row, "id": f"{name}-{row['id']}", "person": f"{name}-{row['person']}"}
        for row in workshop.people(6)
    ]


def replayed_in(outcome: Outcome) -> set[str]:
    return {task.work.run_id for task in outcome.plan.tasks if task.work.kind == "replay"}


def made_by(workshop: Any, store: Any, checkpoint: str) -> str:
    (row,) = workshop.rows_of(store, tables.Checkpoint, id=checkpoint)
    return str(row.run_id)


def test_rows_that_came_later_become_shards_beside_those_there_are(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    first = tally.train(store, aggregation=Aggregation.WEIGHTED_MEAN)
    old = members(workshop, store, first.id)
    tally.register(store, rows=late(workshop, "late"))
    tally.forget_the_log()
    grown = tally.train(store, extend=True, shards=2, slices=1)
    mine = members(workshop, store, grown.id)
    assert {shard: mine[shard] for shard in old} == old
    assert set(mine) == {0, 1, 2, 3}
    assert grown.aggregation == Aggregation.WEIGHTED_MEAN
    new = {row["id"] for row in late(workshop, "late")}
    assert {record for _, ids in tally.consumed() for record in ids} == new
    assert sum(member.weight for member in load_model(store, "m").members) == 96 + 24
    assert who_saw(store, "subject", "late-person-03").models[0].id == grown.id

    gone = forget(store, "subject", ["late-person-03"], TWIN)
    assert_equals_its_twin(gone)
    (replayed,) = replayed_in(gone)
    assert replayed in {made_by(workshop, store, mine[shard]) for shard in (2, 3)}
    kept = members(workshop, store, gone.version)
    assert {shard: kept[shard] for shard in old} == old

    again = forget(store, "subject", ["person-05"], TWIN)
    assert_equals_its_twin(again)
    (replayed,) = replayed_in(again)
    assert replayed in {made_by(workshop, store, old[shard]) for shard in old}
    assert set(members(workshop, store, again.version)) == {0, 1, 2, 3}


def test_a_model_is_extended_again_by_what_came_since_and_by_nothing_twice(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    tally.train(store)
    with pytest.raises(RunError, match="no rows came to dataset 'people' since"):
        tally.train(store, extend=True, shards=1, slices=1)
    tally.register(store, rows=late(workshop, "late"))
    tally.train(store, extend=True, shards=1, slices=1)
    tally.register(store, rows=late(workshop, "later"))
    training = tally.prepare(store, extend=True, shards=1, slices=1)
    forget(store, "subject", ["person-05"])
    tally.forget_the_log()
    grown = resume(store, training)
    new = {row["id"] for row in late(workshop, "later")}
    assert {record for _, ids in tally.consumed() for record in ids} == new
    mine = members(workshop, store, grown.id)
    assert set(mine) == {0, 1, 2, 3}
    kept = [workshop.rows_of(store, tables.Checkpoint, id=each)[0] for each in mine.values()]
    assert [each.purged_at for each in kept] == [None] * 4
    assert_equals_its_twin(forget(store, "subject", ["later-person-00", "person-06"], TWIN))


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ({"epochs": 0, "slices": 1, "shards": 1}, "extends no model"),
        ({"aggregation": Aggregation.VOTE}, "answers by mean-probability"),
        ({"config": {"data": "others"}}, "was not trained on dataset 'others' alone"),
    ],
)
def test_what_cannot_extend_a_model_is_refused(
    store: Any, tally: Any, workshop: Any, recipe: dict[str, Any], said: str
) -> None:
    tally.register(store)
    tally.register(store, "others")
    tally.train(store, aggregation=Aggregation.MEAN)
    tally.register(store, rows=late(workshop, "late"))
    with pytest.raises(RunError, match=said):
        tally.prepare(store, extend=True, **recipe)


def test_what_stands_in_or_is_gone_is_neither_extended_nor_resharded(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    tally.train(store)
    tally.register(store, rows=late(workshop, "late"))
    tally.spring(3, "error")
    with pytest.raises(ProgramFailedError, match="OSError"):
        forget(store, "subject", ["person-05"])
    for way in (lambda: tally.prepare(store, extend=True), lambda: reshard(store, "m")):
        with pytest.raises(RunError, match="stands in while shards of model 'm' are made again"):
            way()
    with store.catalogue.read() as session:
        requests = [each.id for each in session.scalars(select(tables.Request))]
    everybody = sorted({row["person"] for row in workshop.people()} - {"person-05"})
    requests += ask_all(store, "subject", everybody)
    assert carry_out(store, requests).results["publish"]["retired"] == ["m"]
    with pytest.raises(RunError, match="nothing is left of model 'm'"):
        tally.prepare(store, extend=True)

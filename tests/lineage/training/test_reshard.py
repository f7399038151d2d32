"""Placements drawn anew: when that is due, and that nothing but the placement changes."""

from typing import Any

import pytest

from lineage.data.dataset import head
from lineage.errors import RunError
from lineage.provenance.listing import model, worn_placements
from lineage.schedule import ScheduleSpec, shards_of
from lineage.training.aggregation import Aggregation
from lineage.training.ensemble import resume
from lineage.training.model import find_version
from lineage.training.placements import CAP, VARIABLE, Wear, cap_of_placements, wear
from lineage.training.registry import promote
from lineage.training.reshard import reshard
from storage.catalogue import tables
from storage.errors import InvalidInputError, NotFoundError
from tests.unlearn.equality.forgetting import TWIN, carry_out, forget
from unlearn.request.lifecycle import accept, cancel


def schedule(workshop: Any, store: Any, version: Any, shard: int) -> ScheduleSpec:
    """The schedule of the shard of a version that nothing replaced."""
    (member,) = workshop.rows_of(store, tables.ModelMember, version_id=version.id, shard=shard)
    (checkpoint,) = workshop.rows_of(store, tables.Checkpoint, id=member.checkpoint_id)
    (run,) = workshop.rows_of(store, tables.Run, id=checkpoint.run_id)
    return ScheduleSpec.model_validate(run.specification["schedule"])


def worn(store: Any, version: Any) -> Wear | None:
    with store.catalogue.read() as session:
        return wear(session, version.id)


def test_a_placement_wears_with_each_record_that_was_there_and_is_deleted(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    version = tally.train(store)
    late = [{**row, "id": f"l-{row['id']}", "person": "late"} for row in workshop.people(1)]
    tally.register(store, rows=late)
    assert worn(store, version) == Wear(0, 96, 0)
    request = accept(store, "subject", ["person-05"])
    assert worn(store, version) == Wear(0, 96, 4)
    accept(store, "subject", ["late", "person-06"])
    assert worn(store, version) == Wear(0, 96, 8)
    cancel(store, request.id)
    assert worn(store, version) == Wear(0, 96, 4)


def test_it_is_counted_through_replacements_and_proposed_past_the_cap(
    store: Any, tally: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally.register(store)
    tally.train(store)
    first = forget(store, "subject", ["person-05"])
    assert first.plan.notes == ()
    assert worn_placements(store) == ()
    second = forget(store, "subject", ["person-06"])
    assert second.plan.notes == (
        "8 of the 96 records that m was placed with have been deleted: draw a new placement with "
        "`expunge reshard m`",
    )
    (found,) = worn_placements(store)
    assert (found.model, found.generation, found.records, found.deleted) == ("m", 0, 96, 8)
    assert model(store, "m").placement == found
    monkeypatch.setenv(VARIABLE, "0.1")
    assert worn_placements(store) == ()


def test_training_again_draws_no_new_placement(store: Any, tally: Any, workshop: Any) -> None:
    tally.register(store)
    tally.train(store)
    forget(store, "subject", ["person-05"])
    again = tally.train(store)
    assert worn(store, again) == Wear(0, 96, 4)
    forget(store, "subject", ["person-06"])
    again = tally.train(store, shards=3)
    assert worn(store, again) == Wear(0, 96, 8)
    assert [each.deleted for each in worn_placements(store)] == [8]
    late = [{**row, "id": f"l-{row['id']}", "person": "late"} for row in workshop.people(1)]
    tally.register(store, rows=late)
    accept(store, "subject", ["person-07"])
    grown = tally.train(store)
    assert worn(store, grown) == Wear(0, 100, 12)


def test_a_placement_is_that_of_every_model_of_the_dataset(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    accept(store, "subject", ["person-04"])
    first = tally.train(store)
    assert worn(store, first) == Wear(0, 92, 0)
    forget(store, "subject", ["person-05", "person-06"])
    other = tally.train(store, model="other", shards=2, slices=1)
    assert worn(store, other) == Wear(0, 92, 8)
    late = [{**row, "id": f"l-{row['id']}", "person": "late"} for row in workshop.people(1)]
    tally.register(store, rows=late)
    tally.train(store, model="other")
    accept(store, "subject", ["late"])
    (newest,) = (each for each in worn_placements(store) if each.model == "m")
    assert (newest.records, newest.deleted) == (92, 8)


def test_only_resharding_draws_a_new_placement_and_training_keeps_to_it(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    tally.train(store)
    tally.train(store, model="other")
    forget(store, "subject", ["person-05", "person-06"])
    assert [each.model for each in worn_placements(store)] == ["m", "other"]
    resume(store, reshard(store, "m"))
    assert [each.model for each in worn_placements(store)] == ["other"]
    again = tally.train(store)
    assert worn(store, again) == Wear(1, 88, 0)
    other = tally.train(store, model="other")
    assert worn(store, other) == Wear(1, 88, 0)
    third = resume(store, reshard(store, "other"))
    assert worn(store, third) == Wear(2, 88, 0)
    assert worn(store, tally.train(store, shards=1, slices=1)) is None


@pytest.mark.usefixtures("twin_here")
def test_resharding_trains_the_same_model_under_another_placement_of_who_is_left(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    before = tally.train(store, aggregation=Aggregation.WEIGHTED_VOTE, config={"fit": True})
    forget(store, "subject", ["person-05", "person-06"])
    tally.forget_the_log()
    after = resume(store, reshard(store, "m"))
    old, new = (schedule(workshop, store, each, 0) for each in (before, after))
    differing = {"generation": 1, "nominal": new.nominal}
    assert new == old.model_copy(update=differing)
    assert after.aggregation == before.aggregation
    data = head(store, "people")
    places = data.present.records.placement
    drawn = new.division.shard_of(data.present.records, data.salt)
    assert drawn.tolist() == shards_of(places, data.salt, 2, 1).tolist()
    assert 0.2 < (drawn != shards_of(places, data.salt, 2)).mean() < 0.8
    ids = data.column("id")[data.present.positions[drawn == 0]].tolist()
    assert set(tally.consumed("fit")[0][1]) == set(ids)
    assert worn(store, after) == Wear(1, 88, 0)
    assert worn_placements(store) == ()
    outcome = forget(store, "subject", ["person-07"], TWIN)
    (twin,) = outcome.results["check"]["twins"]
    assert twin["twin_digest"] == twin["model_digest"]
    assert outcome.results["check"]["claim"]["claim"] == "replay-verified"
    assert schedule(workshop, store, resume(store, reshard(store, "m")), 0).generation == 2


def test_a_replacement_of_an_older_version_is_not_the_newest_of_its_model(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    promote(store, tally.train(store).id, "kept")
    request = accept(store, "subject", ["person-05", "person-06"])
    newest = resume(store, reshard(store, "m"))
    carry_out(store, request.request_ids)
    assert find_version(store, "m").id == newest.id
    assert model(store, "m").version == newest.id
    placement = model(store, "m").placement
    assert placement is not None
    assert placement.generation == 1


def test_a_model_without_placement_is_not_resharded(store: Any, tally: Any) -> None:
    tally.register(store)
    version = tally.train(store, shards=1, slices=1)
    assert worn(store, version) is None
    assert model(store, "m").placement is None
    with pytest.raises(RunError, match=f"the placement of {version.id} cannot be drawn anew"):
        reshard(store, "m")
    with pytest.raises(NotFoundError, match="no model 'n'"):
        reshard(store, "n")


def test_the_cap_is_a_share_of_the_records(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cap_of_placements() == CAP == 0.05
    for wrong in ("often", "1.5", "-1", "nan"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(InvalidInputError, match=f"{VARIABLE} is '{wrong}'"):
            cap_of_placements()

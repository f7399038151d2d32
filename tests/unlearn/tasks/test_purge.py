"""Purging: what descends from the forgotten is destroyed once, and nothing that is still in use."""

import importlib
from typing import Any

import pytest

from lineage.training import checkpoint as checkpoints
from lineage.training.lap import Lap
from lineage.training.model import find_version, load_model
from lineage.training.registry import hold, promote
from storage.catalogue import tables
from unlearn.dispatch.drive import apply
from unlearn.errors import TaskError, VerificationFailedError
from unlearn.plan.planner import make_plan
from unlearn.plan.stored import load_plan
from unlearn.request.lifecycle import accept


@pytest.fixture
def plan_id(trained: Any, tally: Any) -> str:
    request = accept(trained, "subject", ["person-07"])
    return make_plan(trained, [request.id])[0]


def plan_of(store: Any, plan_id: str) -> Any:
    with store.catalogue.read() as session:
        return load_plan(session, plan_id)[1]


def before_purge(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    """Let something happen after everything else of a plan is done."""
    module = importlib.import_module("unlearn.tasks.purge")
    execute = module.execute

    def late(context: Any) -> Any:
        monkeypatch.setattr(module, "execute", execute)
        happens()
        return execute(context)

    monkeypatch.setattr(module, "execute", late)


def test_what_was_planned_to_be_purged_cannot_be_loaded_and_has_no_bytes(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    plan = plan_of(trained, plan_id)
    result = apply(trained, plan_id)["purge"]
    purged = plan.task("purge").work
    for each in workshop.rows_of(trained, tables.Checkpoint):
        gone = each.id in purged.checkpoints
        assert (each.purged_at is not None, each.object not in trained.objects) == (gone, gone)
    assert result["purged_checkpoints"] == len(purged.checkpoints) == result["destroyed_objects"]
    assert result["purged_versions"] == list(plan.affected.versions)
    assert result["erased_records"] == 4
    assert load_model(trained, "m").version_id == find_version(trained, "m").id


def test_residuals_name_what_this_store_cannot_destroy(trained: Any, plan_id: str) -> None:
    residuals = apply(trained, plan_id)["purge"]["residuals"]
    assert [(each["kind"], each["name"]) for each in residuals] == [
        ("input-file", "people.csv"),
        ("backup", str(trained.path)),
    ]
    assert all(each["why"] for each in residuals)


def test_subjects_keys_and_leases_of_the_plan_are_destroyed_and_others_kept(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    accept(trained, "subject", ["person-02"])
    kept = {each.fingerprint for each in workshop.rows_of(trained, tables.Secret)}
    assert len(kept) == 2
    (first,) = plan_of(trained, plan_id).requests
    marks = workshop.rows_of(trained, tables.Suppression, request_id=first)
    other = make_plan(trained, [first])[0]
    apply(trained, other)
    left = {each.fingerprint for each in workshop.rows_of(trained, tables.Secret)}
    assert left == kept - {each.fingerprint for each in marks}
    assert workshop.rows_of(trained, tables.Lease, plan_id=other) == []


def test_bytes_that_a_checkpoint_in_use_shares_are_not_destroyed(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    doomed = plan_of(trained, plan_id).task("purge").work.checkpoints[0]
    (row,) = workshop.rows_of(trained, tables.Checkpoint, id=doomed)
    twin = same_bytes(trained, workshop, row, purged=False)
    apply(trained, plan_id)
    assert row.object in trained.objects
    assert checkpoints.load(trained, twin)


def test_bytes_that_only_a_purged_checkpoint_shares_are_destroyed(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    doomed = plan_of(trained, plan_id).task("purge").work.checkpoints[0]
    (row,) = workshop.rows_of(trained, tables.Checkpoint, id=doomed)
    same_bytes(trained, workshop, row, purged=True)
    apply(trained, plan_id)
    assert row.object not in trained.objects


def same_bytes(store: Any, workshop: Any, row: Any, *, purged: bool) -> str:
    """A checkpoint of a run that has nothing to do with the request, with the same bytes."""
    environment = workshop.rows_of(store, tables.Environment)[0].digest
    (run,) = workshop.rows_of(store, tables.Run, id=row.run_id)
    values = {name: getattr(run, name) for name in ("program_id", "specification", "first_step")}
    with store.catalogue.write() as session:
        other = {"id": "run-other", "state": "complete", "created_at": store.clock()}
        session.add(tables.Run(**values, **other))
        session.flush()
        (given,) = workshop.rows_of(store, tables.RunInput, run_id=row.run_id)
        dataset = session.get_one(tables.DatasetVersion, given.version_id)
        empty = tables.DatasetVersion(
            id="dsv-empty",
            dataset_id=dataset.dataset_id,
            sequence=99,
            rows=0,
            live=0,
            deleted=dataset.deleted,
            root=dataset.root,
            digest="empty",
            reason="a test",
            created_at=store.clock(),
        )
        session.add(empty)
        session.flush()
        session.add(
            tables.RunInput(run_id="run-other", alias="people", version_id="dsv-empty", trains=True)
        )
    lap = Lap(first_step=0, visits=1, skipped=0, seconds=0.0, consumed="")
    made = checkpoints.publish(
        store, "run-other", row.step, checkpoints.load(store, row.id), lap, environment
    )
    if purged:
        with store.catalogue.write() as session:
            session.get_one(tables.Checkpoint, made).purged_at = store.clock()
    return made


def test_a_model_that_came_to_descend_from_the_forgotten_stops_the_purge(
    trained: Any, tally: Any, workshop: Any, plan_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_of(trained, plan_id)
    start = next(
        each.checkpoint_id
        for each in workshop.rows_of(trained, tables.ModelMember)
        if each.checkpoint_id in plan.affected.checkpoints
    )
    tuned: list[str] = []
    before_purge(
        monkeypatch, lambda: tuned.append(tally.train(trained, "t", shards=1, start=start).id)
    )
    with pytest.raises(TaskError, match="came to descend from the forgotten records") as stopped:
        apply(trained, plan_id)
    assert tuned[0] in stopped.value.message
    assert f"expunge plan {plan.requests[0]}" in stopped.value.hint
    assert not any(each.purged_at for each in workshop.rows_of(trained, tables.Checkpoint))
    again, _ = make_plan(trained, plan.requests)
    assert apply(trained, again)["check"]["verdict"] == "passed"


def test_a_held_checkpoint_is_quarantined_and_said_to_be_left(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    held = plan_of(trained, plan_id).task("purge").work.checkpoints[0]
    (row,) = workshop.rows_of(trained, tables.Checkpoint, id=held)
    hold(trained, held, "a lawsuit")
    results = apply(trained, plan_id)
    assert row.object in trained.objects
    assert {"kind": "hold", "name": held, "why": "kept under a hold"} in results["purge"][
        "residuals"
    ]
    assert results["check"]["claim"]["claim"] == "exact-by-provenance"
    with pytest.raises(checkpoints.CheckpointError, match="quarantined under a hold"):
        checkpoints.load(trained, held)


def test_a_version_that_failed_its_check_is_not_published_and_nothing_is_purged(
    trained: Any, workshop: Any, plan_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = importlib.import_module("unlearn.tasks.check")
    execute = module.execute
    failed = {"verdict": "failed", "claim": {"reason": "mv-1 differs from its twin"}}
    monkeypatch.setattr(module, "execute", lambda context: execute(context) | failed)
    with pytest.raises(VerificationFailedError, match="differs from its twin") as refused:
        apply(trained, plan_id)
    assert "nothing was published or purged" in refused.value.hint
    versions = workshop.rows_of(trained, tables.ModelVersion)
    assert [version.interim for version in versions].count(False) == 1
    assert not any(each.purged_at for each in workshop.rows_of(trained, tables.Checkpoint))
    (request,) = workshop.rows_of(trained, tables.Request)
    assert request.state == "open"


def test_an_alias_follows_the_version_that_replaces_what_it_named(
    trained: Any, workshop: Any, tally: Any
) -> None:
    old = promote(trained, "m", "production")
    tally.train(trained)
    request = accept(trained, "subject", ["person-07"])
    results = apply(trained, make_plan(trained, [request.id])[0])
    (alias,) = workshop.rows_of(trained, tables.Alias)
    assert alias.version_id == results["publish"]["versions"][old.id]


def test_no_plaintext_id_is_in_the_catalogue_or_a_checkpoint_before_or_after(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    def check() -> None:
        assert b"person-07" not in (trained.path / "catalogue.db").read_bytes()
        for each in workshop.rows_of(trained, tables.Checkpoint, purged_at=None):
            assert b"person-" not in trained.objects.get(each.object)

    check()
    apply(trained, plan_id)
    check()

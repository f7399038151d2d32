"""A cancelled plan leaves an interim version in use only while somebody waits to be forgotten."""

import importlib
from typing import Any

import pytest

from lineage.training.model import find_version
from storage.catalogue import tables
from unlearn.audit import verify_plan
from unlearn.dispatch.cancel import cancel_plan
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept, cancel


def interrupted(store: Any, *people: str) -> tuple[str, list[str]]:
    """A plan for a request of each person that fails after its interim version was published."""
    requests = [accept(store, "subject", person).id for person in people]
    plan_id, _ = make_plan(store, requests)

    def failing(_context: Any) -> dict[str, Any]:
        raise OSError("the disk is full")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.import_module("unlearn.tasks.replay"), "execute", failing)
        with pytest.raises(OSError, match="disk is full"):
            apply(store, plan_id)
    assert find_version(store, "m").interim
    return plan_id, requests


def members(workshop: Any, store: Any, version: Any) -> dict[int, str]:
    rows = workshop.rows_of(store, tables.ModelMember, version_id=version.id)
    return {row.shard: row.checkpoint_id for row in rows}


def test_the_whole_version_is_the_newest_again_when_nobody_is_forgotten_any_more(
    trained: Any, workshop: Any
) -> None:
    whole = find_version(trained, "m")
    plan_id, (request,) = interrupted(trained, "person-07")
    interim = find_version(trained, "m")
    assert cancel_plan(trained, plan_id).interim == (interim.id,)
    assert find_version(trained, "m").id == interim.id
    withdrawn = cancel(trained, request)
    again = find_version(trained, "m")
    assert (withdrawn.restored, withdrawn.interim) == ((again.id,), ())
    assert (again.interim, again.digest, again.replaces_id) == (False, whole.digest, whole.id)
    assert members(workshop, trained, again) == members(workshop, trained, whole)


def test_an_interim_version_stays_while_another_request_of_its_plan_is_open(trained: Any) -> None:
    plan_id, (first, second) = interrupted(trained, "person-07", "person-08")
    interim = find_version(trained, "m")
    cancel_plan(trained, plan_id)
    assert cancel(trained, first).interim == (interim.id,)
    assert find_version(trained, "m").id == interim.id
    assert cancel(trained, second).restored == (find_version(trained, "m").id,)


def test_what_was_published_again_can_be_forgotten_in_and_is_known_to_have_been_replaced(
    trained: Any, workshop: Any
) -> None:
    whole = find_version(trained, "m")
    plan_id, (request,) = interrupted(trained, "person-07")
    cancel_plan(trained, plan_id)
    cancel(trained, request)
    again = find_version(trained, "m")
    later, plan = make_plan(trained, [accept(trained, "subject", "person-07").id])
    assert {whole.id, again.id} <= set(plan.affected.versions)
    results = apply(trained, later)
    newest = find_version(trained, "m")
    assert results["publish"]["versions"] == {again.id: newest.id}
    assert results["check"]["verdict"] == "passed"
    purged = workshop.rows_of(trained, tables.ModelVersion)
    assert {row.id for row in purged if row.purged_at} >= {whole.id, again.id}


def test_a_verification_names_what_replaced_a_version_that_was_published_again(
    trained: Any,
) -> None:
    first, _ = make_plan(trained, [accept(trained, "subject", "person-01").id])
    apply(trained, first)
    plan_id, (request,) = interrupted(trained, "person-07")
    cancel_plan(trained, plan_id)
    cancel(trained, request)
    last, _ = make_plan(trained, [accept(trained, "subject", "person-07").id])
    apply(trained, last)
    found = verify_plan(trained, first, twin=False)
    assert f"replaced by {find_version(trained, 'm').id} of {last}" in found.statement.reason

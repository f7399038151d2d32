"""Which pending requests start now, by the policy of a store and the time it has."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from storage.catalogue import tables
from unlearn.dispatch.drive import apply
from unlearn.pending import decide, plan_for
from unlearn.plan.planner import draft
from unlearn.policy import change_policy
from unlearn.request.lifecycle import accept

SOON = datetime(2026, 11, 10, 23, 59, 59, tzinfo=UTC)
LATER = SOON + timedelta(days=20)


def at(store: Any, moment: datetime) -> Any:
    """The store at another time, which stands still."""
    store.clock = lambda: moment
    return store


def runs_of(store: Any, request: Any) -> set[str]:
    tasks = draft(store, [request.id]).tasks
    return {task.work.run_id for task in tasks if task.work.kind == "replay"}


def in_shards(store: Any) -> tuple[list[Any], list[Any]]:
    """Requests for two people of one shard, and for one of another; all due later."""
    requests = [accept(store, "subject", [f"person-{n:02d}"], due=LATER) for n in range(6)]
    first = runs_of(store, requests[0])
    same = [each for each in requests if runs_of(store, each) == first]
    return same[:2], [each for each in requests if not runs_of(store, each) & first][:1]


def keep_only(store: Any, requests: list[Any]) -> None:
    kept = {request.id for request in requests}
    with store.catalogue.write() as session:
        for request in session.query(tables.Request):
            request.state = "open" if request.id in kept else "cancelled"


def due_by(store: Any, request: Any, when: datetime | None) -> None:
    with store.catalogue.write() as session:
        session.get_one(tables.Request, request.id).due_at = when


def test_where_nothing_is_pending_nothing_starts(trained: Any) -> None:
    found = decide(trained)
    assert (found.pending, found.start, found.why) == (0, (), "nothing is pending")


def test_what_can_wait_waits_until_its_latest_start(trained: Any) -> None:
    request = accept(trained, "subject", ["person-07"], due=SOON)
    found = decide(trained)
    latest = draft(trained, [request.id]).latest_start
    assert (found.start, found.at) == ((), latest)
    assert latest < SOON - timedelta(hours=24)
    assert decide(at(trained, latest - timedelta(seconds=1))).start == ()
    assert decide(at(trained, SOON - timedelta(hours=24))).start == (request.id,)


def test_at_once_means_now(trained: Any) -> None:
    request = accept(trained, "subject", ["person-07"], due=LATER)
    change_policy(trained, {"start": "at-once"})
    assert decide(trained).start == (request.id,)


def test_a_batch_that_is_full_starts(trained: Any) -> None:
    change_policy(trained, {"max_batch": 2})
    first = accept(trained, "subject", ["person-07"], due=LATER)
    assert decide(trained).start == ()
    second = accept(trained, "subject", ["person-08"], due=SOON)
    assert decide(trained).start == (second.id, first.id)


def test_what_adds_nothing_joins_what_is_due_and_what_adds_its_whole_cost_waits(
    trained: Any,
) -> None:
    same, (other,) = in_shards(trained)
    keep_only(trained, [*same, other])
    due_by(trained, same[0], SOON)
    found = decide(at(trained, SOON - timedelta(hours=24)))
    assert found.start == tuple(each.id for each in same)
    assert other.id not in found.start
    assert found.at is not None
    assert found.at > SOON


def test_a_request_without_a_deadline_waits_for_others(trained: Any) -> None:
    request = accept(trained, "subject", ["person-07"])
    due_by(trained, request, None)
    found = decide(at(trained, LATER + timedelta(days=4000)))
    assert (found.start, found.at) == ((), None)
    assert found.why == "no pending request has a deadline"


def test_what_needs_no_replay_does_not_wait(trained: Any) -> None:
    with trained.catalogue.write() as session:
        for model in session.query(tables.Model):
            model.retired_at = trained.clock()
    request = accept(trained, "subject", ["person-07"], due=LATER)
    assert decide(trained).start == (request.id,)


def test_a_plan_that_was_begun_goes_first(trained: Any) -> None:
    request = accept(trained, "subject", ["person-07"], due=LATER)
    plan_id = plan_for(trained, [request.id])
    with trained.catalogue.write() as session:
        session.get_one(tables.Plan, plan_id).state = "failed"
    found = decide(trained)
    assert (found.unfinished, found.start) == (plan_id, ())


def test_a_plan_that_fits_is_taken_again_and_one_that_does_not_is_not(trained: Any) -> None:
    first = accept(trained, "subject", ["person-07"], due=LATER)
    second = accept(trained, "subject", ["person-08"], due=LATER)
    plan_id = plan_for(trained, [first.id])
    assert plan_for(trained, [first.id]) == plan_id
    together = plan_for(trained, [second.id, first.id])
    assert together != plan_id
    apply(trained, together)
    assert decide(trained).pending == 0


@pytest.mark.parametrize("many", [True, False])
def test_with_very_many_all_start_when_one_is_due(
    trained: Any, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    same, (other,) = in_shards(trained)
    keep_only(trained, [*same, other])
    due_by(trained, same[0], SOON)
    monkeypatch.setattr("unlearn.pending.MANY", 2 if many else 3)
    found = decide(at(trained, SOON - timedelta(hours=24)))
    assert (other.id in found.start) is many

"""The policy of a store: settings that count, and who may apply a plan in spite of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lineage.training.registry import publish, withdraw
from storage.catalogue import tables
from storage.errors import InvalidInputError
from unlearn.approval import objections
from unlearn.dispatch.drive import apply
from unlearn.errors import ApprovalError
from unlearn.pending import decide
from unlearn.plan.model import Plan
from unlearn.plan.planner import make_plan
from unlearn.policy import EARLIEST, Policy, change_policy, policy_of
from unlearn.request.lifecycle import accept


def policy(store: Any) -> Policy:
    with store.catalogue.read() as session:
        return policy_of(session)


@pytest.fixture
def planned(trained: Any) -> tuple[str, Plan]:
    return make_plan(trained, [accept(trained, "subject", ["person-07"]).id])


def test_settings_are_changed_by_name_and_go_back_to_their_defaults(
    store: Any, workshop: Any
) -> None:
    assert policy(store) == Policy()
    change_policy(store, {"workers": 4, "max_batch": 7})
    change_policy(store, {"workers": None})
    assert policy(store) == Policy(max_batch=7)
    commitments = workshop.rows_of(store, tables.Commitment, kind="policy")
    assert len(commitments) == 2


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"safety": 0.5}, r"safety must be 1\.0 or more, and not 0\.5"),
        ({"workers": 0}, "workers must be 1 or more, and not 0"),
        ({"workers": 1.5}, r"workers must be a whole number, and not 1\.5"),
        ({"workers": "many"}, "workers must be a whole number, and not 'many'"),
        ({"margin_hours": "few"}, "margin_hours must be a number, and not 'few'"),
        ({"start": "sometime"}, "start must be 'at-once' or 'latest', and not 'sometime'"),
        ({"speed": 3}, "there is no setting 'speed'"),
        ({"safety": float("inf")}, "safety must be a finite number, and not inf"),
        ({"safety": 1e9}, "safety must be 1,000,000 or less, and not 1000000000.0"),
        ({"margin_hours": 1e9}, "margin_hours must be 876,000 or less, and not 1000000000.0"),
        ({"period_days": 10**9}, "period_days must be 36,500 or less, and not 1000000000"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_and_changes_nothing(
    store: Any, settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidInputError, match=said):
        change_policy(store, {"max_batch": 7} | settings)
    assert policy(store) == Policy()


def test_a_setting_that_there_is_not_is_answered_with_the_one_that_is_near(store: Any) -> None:
    with pytest.raises(InvalidInputError, match="there is no setting 'approve_visit'") as refused:
        change_policy(store, {"approve_visit": 3})
    assert refused.value.hint == "did you mean 'approve_visits'?"


def test_the_latest_start_leaves_safety_and_margin() -> None:
    deadline = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    latest = Policy(safety=3, margin_hours=2).latest_start(deadline, 600)
    assert deadline - latest == timedelta(hours=2, minutes=30)


EXTREME = {"safety": 1e300, "margin_hours": 1e12, "period_days": 10**12, "period_visits": 1}


@pytest.mark.parametrize("start", ["latest", "at-once"])
def test_a_store_with_settings_that_were_taken_before_still_plans(trained: Any, start: str) -> None:
    with trained.catalogue.write() as session:
        body = Policy(**EXTREME, start=start).model_dump()
        session.add(tables.Policy(body=body, created_at=trained.clock()))
    change_policy(trained, {"workers": 2})
    asked = [accept(trained, "subject", [each]) for each in ("person-07", "person-08")]
    _, plan = make_plan(trained, [each.id for each in asked])
    assert plan.latest_start == EARLIEST
    assert len(objections(trained, plan)) == 1
    assert set(decide(trained).start) == {each.id for each in asked}


def test_a_request_of_before_with_a_deadline_of_another_age_is_overdue(trained: Any) -> None:
    request = accept(trained, "subject", ["person-07"])
    with trained.catalogue.write() as session:
        session.get_one(tables.Request, request.id).due_at = datetime(1, 1, 1, tzinfo=UTC)
    _, plan = make_plan(trained, [request.id])
    assert plan.latest_start == EARLIEST
    assert decide(trained).start == (request.id,)


@pytest.mark.parametrize("year", [1, 1969, 9001, 9999])
def test_a_deadline_of_another_age_is_refused(trained: Any, workshop: Any, year: int) -> None:
    with pytest.raises(InvalidInputError, match="its year must be between 1970 and 9000"):
        accept(trained, "subject", ["person-07"], due=datetime(year, 1, 1, tzinfo=UTC))
    assert workshop.rows_of(trained, tables.Request) == []


def test_a_plan_says_by_when_it_must_begin(trained: Any) -> None:
    soon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    requests = [
        accept(trained, "subject", ["person-07"]),
        accept(trained, "subject", ["person-08"], due=soon),
    ]
    assert accept(trained, "subject", ["person-07"], due=soon + timedelta(days=400)).due_at == (
        requests[0].due_at
    )
    change_policy(trained, {"workers": 3, "safety": 10, "margin_hours": 1})
    _, plan = make_plan(trained, [request.id for request in requests])
    assert (plan.deadline, plan.workers) == (soon, 3)
    assert 0 < plan.duration <= plan.seconds
    assert plan.latest_start == soon - timedelta(hours=1, seconds=10 * plan.duration)
    _, alone = make_plan(trained, [requests[0].id])
    assert alone.deadline == requests[0].due_at


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"approve_visits": 1}, "it recomputes .* visits, more than 1"),
        ({"subject_visits": 1}, "for each who is forgotten, more than 1"),
        ({"period_visits": 1}, "visits were recomputed in 30 days, more than 1"),
    ],
)
def test_a_plan_that_is_too_dear_needs_a_reason_and_keeps_it(
    trained: Any, planned: tuple[str, Plan], workshop: Any, settings: dict[str, int], said: str
) -> None:
    plan_id, plan = planned
    change_policy(trained, settings)
    against = objections(trained, plan)
    with pytest.raises(ApprovalError, match=said):
        apply(trained, plan_id)
    assert workshop.rows_of(trained, tables.Task) == []
    apply(trained, plan_id, approval="the judge says so")
    (approval,) = workshop.rows_of(trained, tables.Approval)
    assert (approval.plan_id, approval.reason) == (plan_id, "the judge says so")
    assert tuple(approval.objections) == against
    assert len(workshop.rows_of(trained, tables.Commitment, kind="approval")) == 1


def test_bounds_that_are_kept_need_no_reason(trained: Any, planned: tuple[str, Plan]) -> None:
    _, plan = planned
    kept = {"approve_visits": plan.visits, "subject_visits": plan.visits}
    change_policy(trained, {**kept, "period_visits": plan.visits})
    assert objections(trained, plan) == ()


def test_what_was_applied_lately_counts_and_what_was_long_ago_does_not(
    trained: Any, planned: tuple[str, Plan]
) -> None:
    apply(trained, planned[0])
    _, second = make_plan(trained, [accept(trained, "subject", ["person-08"]).id])
    change_policy(trained, {"period_visits": second.visits})
    assert len(objections(trained, second)) == 1
    now = trained.clock()
    trained.clock = lambda: now + timedelta(days=31)
    assert objections(trained, second) == ()


def test_few_who_leave_a_version_that_others_have_need_a_reason(
    trained: Any, planned: tuple[str, Plan]
) -> None:
    _, plan = planned
    change_policy(trained, {"fewest_leavers": 2})
    assert objections(trained, plan) == ()
    publication = publish(trained, "m", "a hospital")
    (objection,) = objections(trained, plan)
    assert "only 1 are forgotten in a version that others were given" in objection
    withdraw(trained, publication.id)
    assert objections(trained, plan) == ()


def test_requests_that_came_after_a_publication_may_depend_on_it(trained: Any) -> None:
    before = accept(trained, "subject", ["person-07"])
    publish(trained, "m", "a hospital")
    after = accept(trained, "subject", ["person-08"])
    _, plan = make_plan(trained, [before.id, after.id])
    assert plan.adaptive == (after.id,)
    assert any("1 request came after a model was published" in note for note in plan.notes)

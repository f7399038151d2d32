"""What was reviewed is what runs: a plan that the store has outgrown is refused, with reasons."""

from typing import Any

import pytest

from lineage.training.registry import hold
from storage.catalogue import tables
from storage.errors import NotFoundError
from unlearn.dispatch.cancel import cancel_plan
from unlearn.dispatch.drive import apply
from unlearn.errors import PlanError, RequestError, StalePlanError
from unlearn.plan.freshness import check_fresh, differences
from unlearn.plan.planner import make_plan
from unlearn.plan.stored import load_plan
from unlearn.request.lifecycle import accept, cancel


@pytest.fixture
def request_id(trained: Any) -> str:
    return accept(trained, "subject", ["person-07"]).id


@pytest.fixture
def plan_id(trained: Any, request_id: str) -> str:
    return make_plan(trained, [request_id])[0]


def tainted_member(workshop: Any, store: Any, plan_id: str) -> str:
    """A member of the newest version that the plan replaces."""
    with store.catalogue.read() as session:
        affected = load_plan(session, plan_id)[1].affected.checkpoints
    members = workshop.rows_of(store, tables.ModelMember)
    return next(each.checkpoint_id for each in members if each.checkpoint_id in affected)


def refusal(store: Any, plan_id: str) -> StalePlanError:
    """The refusal of a plan, which changed nothing."""
    before = (store.path / "catalogue.db").read_bytes()
    with pytest.raises(StalePlanError, match=f"{plan_id} no longer fits the store") as refused:
        apply(store, plan_id)
    assert (store.path / "catalogue.db").read_bytes() == before
    assert "plan again: expunge plan req-" in refused.value.hint
    for clause in refused.value.fields["difference"]:
        assert clause in refused.value.message
    return refused.value


def test_a_plan_is_fresh_as_long_as_nothing_happens(trained: Any, plan_id: str) -> None:
    check_fresh(trained, plan_id)


def test_a_dataset_and_a_model_that_have_nothing_to_do_with_a_plan_leave_it_fresh(
    trained: Any, tally: Any, workshop: Any, plan_id: str
) -> None:
    others = [{**row, "person": f"other-{n % 9}"} for n, row in enumerate(workshop.people())]
    tally.register(trained, "others", others)
    check_fresh(trained, plan_id)
    tally.train(trained, "another", shards=1, config={"data": "others", "mute": True})
    check_fresh(trained, plan_id)


def test_rows_that_are_added_leave_a_plan_fresh(trained: Any, tally: Any, plan_id: str) -> None:
    tally.register(trained, rows=[{"id": "new", "person": "newcomer", "x": 1.0}])
    check_fresh(trained, plan_id)


def test_a_fine_tune_from_a_tainted_checkpoint_is_named(
    trained: Any, tally: Any, workshop: Any, plan_id: str
) -> None:
    start = tainted_member(workshop, trained, plan_id)
    tuned = tally.train(trained, "tuned", shards=1, start=start)
    (run,) = [run for run in workshop.rows_of(trained, tables.Run) if run.start_id == start]
    difference = refusal(trained, plan_id).fields["difference"]
    assert f"{run.id} is affected too" in difference
    assert f"{tuned.id} is affected too" in difference
    assert any(clause.startswith("task replay-2 is new") for clause in difference)


def test_another_request_is_named_without_saying_whose(trained: Any, plan_id: str) -> None:
    accept(trained, "subject", ["person-02"])
    refused = refusal(trained, plan_id)
    assert "other records are being forgotten" in refused.fields["difference"]
    assert "person" not in refused.message


def test_a_newer_version_of_the_model_makes_the_plan_stale(
    trained: Any, tally: Any, plan_id: str
) -> None:
    tally.train(trained)
    assert "task replay-1 is gone" in refusal(trained, plan_id).fields["difference"]


def test_a_restart_that_was_damaged_makes_the_plan_stale(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    with trained.catalogue.read() as session:
        restart = load_plan(session, plan_id)[1].task("replay-1").work.restart
    (checkpoint,) = workshop.rows_of(trained, tables.Checkpoint, id=restart)
    trained.objects.open(checkpoint.object).write_bytes(b"damaged")
    assert "task replay-1 is different" in refusal(trained, plan_id).fields["difference"]


def test_a_plan_of_a_cancelled_request_is_refused(
    trained: Any, request_id: str, plan_id: str
) -> None:
    cancel(trained, request_id)
    with pytest.raises((PlanError, RequestError), match="is cancelled"):
        apply(trained, plan_id)


def test_a_cancelled_or_applied_plan_is_refused(
    trained: Any, request_id: str, plan_id: str
) -> None:
    cancel_plan(trained, plan_id)
    with pytest.raises(PlanError, match=f"{plan_id} is cancelled"):
        check_fresh(trained, plan_id)
    other, _ = make_plan(trained, [request_id])
    apply(trained, other)
    with pytest.raises(PlanError, match=f"{other} is applied"):
        check_fresh(trained, other)
    with pytest.raises(NotFoundError, match="plan-0"):
        check_fresh(trained, "plan-0")


def test_of_two_plans_for_a_request_the_second_is_refused_once_the_first_is_applied(
    trained: Any, request_id: str, plan_id: str
) -> None:
    other, _ = make_plan(trained, [request_id])
    apply(trained, plan_id)
    with pytest.raises(PlanError, match=f"overtaken: {plan_id} has done what was asked"):
        apply(trained, other)


def test_plans_of_one_store_do_not_differ_whatever_seconds_they_expect(
    trained: Any, request_id: str
) -> None:
    _, first = make_plan(trained, [request_id])
    _, second = make_plan(trained, [request_id])
    assert differences(first, second.model_copy(update={"seconds": 99.0})) == []


def test_a_hold_lowers_the_claim_and_leaves_the_work_as_it_was(
    trained: Any, workshop: Any, plan_id: str
) -> None:
    hold(trained, tainted_member(workshop, trained, plan_id), "a lawsuit")
    check_fresh(trained, plan_id)

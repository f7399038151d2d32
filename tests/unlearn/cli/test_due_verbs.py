"""Deadlines and policies on the command line: `request add --due`, `policy`, `tick`, `watch`."""

import re
from datetime import UTC, datetime

import pytest


def test_a_request_is_due_a_month_from_now_or_by_the_day_that_is_given(trained):
    first = trained.ask("request", "add", "--subject", "p3")
    assert first["due_at"].endswith("T23:59:59Z")
    assert first["received_at"] < first["due_at"]
    hurried = trained.ask("request", "add", "--subject", "p3", "--due", "2026-02-01")
    assert (hurried["id"], hurried["due_at"]) == (first["id"], "2026-02-01T23:59:59Z")
    late = trained.ask("request", "add", "--subject", "p3", "--due", "2036-02-01")
    assert late["due_at"] == hurried["due_at"]


def test_a_day_that_is_none_is_a_usage_error(trained):
    error = trained("request", "add", "--subject", "p3", "--due", "2026-02-30", status=2).err
    assert "2026-02-30" in error


def test_a_policy_is_shown_and_changed(trained):
    assert trained.ask("policy", "show")["start"] == "latest"
    changed = trained.ask("policy", "set", "start=at-once", "workers=3", "max_batch=5")
    assert (changed["start"], changed["workers"], changed["max_batch"]) == ("at-once", 3, 5)
    assert trained.ask("policy", "set", "max_batch=")["max_batch"] is None
    assert trained.ask("policy", "show")["workers"] == 3
    shown = trained("policy", "show").out
    assert re.search(r"approve visits +none", shown)
    assert len(shown.splitlines()) == len(trained.ask("policy", "show"))


@pytest.mark.parametrize(
    ("pair", "said"),
    [("workers", "no SETTING=VALUE"), ("workers=many", "workers"), ("pace=2", "pace")],
)
def test_a_setting_that_cannot_be_is_a_usage_error(trained, pair, said):
    assert said in trained("policy", "set", pair, status=2).err


def test_a_plan_that_the_policy_objects_to_is_refused_until_there_is_a_reason(trained, planned):
    trained("policy", "set", "approve_visits=1")
    refused = trained("apply", planned, "--on", "debug", "--json", status=5)
    assert refused.json["error"]["code"] == "refused"
    assert f"expunge apply {planned} --approve REASON" in refused.json["error"]["hint"]
    applied = trained.ask("apply", planned, "--on", "debug", "--approve", "a court order")
    assert applied["verdict"] == "passed"


def test_a_day_that_is_past_is_taken_and_said_to_be(trained):
    late = trained("request", "add", "--subject", "p3", "--due", "2020-01-01", "--json")
    assert late.json["due_at"] == "2020-01-01T23:59:59Z"
    assert "--due 2020-01-01 is past: what is due by then is overdue already" in late.err
    today = datetime.now(UTC).date().isoformat()
    assert "is past" not in trained("request", "add", "--subject", "p4", "--due", today).err
    assert "is past" not in trained("request", "add", "--subject", "p5").err


def test_a_day_of_another_age_is_refused_in_one_sentence(trained):
    refused = trained("request", "add", "--subject", "p3", "--due", "0001-01-01", status=2).err
    assert "0001-01-01 is no deadline: its year must be between 1970 and 9000" in refused
    assert "is past" not in refused
    assert trained.ask("request", "list") == []


def test_tick_waits_until_something_is_due(trained, requested):
    waiting = trained.ask("tick", "--on", "debug")
    assert (waiting["pending"], waiting["started"], waiting["applied"]) == (1, [], None)
    assert waiting["again_at"] < trained.ask("show", requested)["due_at"]
    trained("request", "add", "--subject", "p3", "--due", "2026-02-01")
    done = trained.ask("tick", "--on", "debug")
    assert done["started"] == [requested]
    assert done["applied"]["plan"] == done["plan"]
    assert trained.ask("show", requested)["state"] == "done"
    assert trained.ask("tick")["why"] == "nothing is pending"


def test_tick_asks_for_approval_and_makes_no_second_plan(trained, requested):
    trained("policy", "set", "start=at-once", "approve_visits=1")
    hints = {trained("tick", "--on", "debug", status=5).err for _ in range(2)}
    assert len({re.search(r"plan-\w+", hint)[0] for hint in hints}) == 1
    assert trained.ask("tick", "--on", "debug", "--approve", "so be it")["started"] == [requested]


def test_watch_looks_again_and_again(trained, requested):
    trained("policy", "set", "start=at-once")
    ticks = trained("watch", "--every", "0.01", "--times", "3", "--on", "debug", "--json")
    assert [tick["started"] for tick in ticks.json] == [[requested], [], []]
    assert ticks.json[0]["why"] == "pending requests start at once"
    assert ticks.err.count("nothing is pending") == 2


def test_watch_goes_on_where_a_plan_waits_for_approval(trained, requested):
    trained("policy", "set", "start=at-once", "approve_visits=1")
    ticks = trained("watch", "--every", "0.01", "--times", "2", "--on", "debug", "--json")
    assert ticks.json == []
    assert ticks.err.count("waiting: ") == 2


def test_watch_goes_on_while_another_process_carries_out_a_plan(trained, planned, monkeypatch):
    from unlearn.dispatch import journal
    from unlearn.errors import PlanError

    def busy(*_):
        raise PlanError(f"plan {planned} is being applied by another process")

    monkeypatch.setattr(journal, "own", busy)
    trained("policy", "set", "start=at-once")
    ticks = trained("watch", "--every", "0.01", "--times", "2", "--on", "debug", "--json")
    assert ticks.json == []
    assert ticks.err.count(f"waiting: plan {planned} is being applied") == 2


def test_a_plan_explains_a_task_and_draws_itself(trained, planned):
    why = trained.ask("plan", planned, "--why", "replay-1")
    assert (why["id"], why["kind"]) == ("replay-1", "replay")
    assert why["visits"] > 0
    assert why["ends"] == why["begins"] + why["seconds"]
    assert "full retrain" in {lost["name"] for lost in why["instead_of"]}
    drawn = trained.ask("plan", planned, "--mermaid")
    assert drawn["form"] == "mermaid"
    assert drawn["text"].startswith("flowchart LR")
    assert trained.ask("plan", planned)["id"] == planned


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("--why", "replay-9"), 3, "the plan has no task replay-9"),
        (("--why", "replay-1", "--mermaid"), 2, "give one of"),
        (("--workers", "2"), 2, "give its id alone"),
    ],
)
def test_what_cannot_be_explained_is_said(trained, planned, words, status, said):
    assert said in trained("plan", planned, *words, status=status).err


def test_accuracies_are_measured_on_the_canary(trained, rows, requested):
    (trained.folder / "held-out.csv").write_text(rows(7, 21))
    trained("dataset", "add", "held-out", "held-out.csv", "--id", "clip", "--subject", "who")
    canary = trained.ask("model", "canary", "speech", "--on", "held-out", "--label", "sick")
    assert canary == {"model": "speech", "on": "held-out", "label": "sick", "drop": 0.02}
    assert trained.ask("plan", requested)["accuracy"] == {}
    plan = trained.ask("plan", requested, "--measure")
    (measured,) = plan["accuracy"].values()
    assert measured["dataset"] == "held-out"
    assert 0 <= measured["interim"] <= 1
    (given_up,) = [lost for lost in plan["rejected"] if "for good" in lost["name"]]
    assert f"from {measured['whole']:.4f} to {measured['interim']:.4f}" in given_up["why"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("speech", "--on", "voices", "--label", "age"), "has no column 'age'"),
        (("sight", "--on", "voices", "--label", "sick"), "there is no model 'sight'"),
        (("speech", "--on", "noises", "--label", "sick"), "noises"),
    ],
)
def test_a_canary_of_nothing_is_not_found(trained, words, said):
    assert said in trained("model", "canary", *words, status=3).err

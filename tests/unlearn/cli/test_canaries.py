"""Canaries: a replacement that is much worse takes over no alias, and everything is erased."""

import pytest

from unlearn.tasks import canary


@pytest.fixture
def watched(trained, rows, requested):
    """A plan for a model with an alias and a canary; its id."""
    (trained.folder / "held-out.csv").write_text(rows(7, 21))
    trained("dataset", "add", "held-out", "held-out.csv", "--id", "clip", "--namespace", "others")
    trained("model", "canary", "speech", "--on", "held-out", "--label", "sick", "--drop", "0.1")
    trained("model", "promote", "speech", "production")
    return trained.ask("plan", requested)["id"]


def aliases(trained):
    return {
        each["id"]: each["aliases"]
        for each in trained.ask("model", "show", "speech")["versions"]
        if each["aliases"]
    }


def test_a_replacement_that_is_as_good_takes_over_its_aliases(trained, watched):
    plan = trained.ask("plan", watched)
    order = [task["id"] for task in plan["tasks"]]
    assert order.index("aggregate-1") < order.index("canary-1") < order.index("check")
    applied = trained.ask("apply", watched, "--on", "debug")
    (version,) = applied["versions"]
    assert applied["held"] == {}
    assert aliases(trained) == {version["id"]: ["production"]}
    measured = trained.ask("show", f"{watched}/canary-1")["result"]
    assert 0 <= measured["after"] <= 1
    assert measured["before"] - measured["after"] <= 0.1


def test_one_that_is_much_worse_takes_over_none_and_what_it_replaces_is_erased(
    trained, watched, requested, monkeypatch
):
    found = iter([0.9, 0.7])
    monkeypatch.setattr(canary, "accuracy", lambda *_: next(found))
    applied = trained.ask("apply", watched, "--on", "debug")
    (version,) = applied["versions"]
    assert applied["held"] == {version["id"]: "accuracy on held-out went from 0.9000 to 0.7000"}
    assert aliases(trained) == {}
    assert (applied["verdict"], applied["erased_records"]) == ("passed", 2)
    assert trained.ask("show", requested)["state"] == "done"
    trained("model", "promote", version["id"], "production")
    assert aliases(trained) == {version["id"]: ["production"]}


def test_one_that_cannot_be_measured_takes_over_none_either(trained, watched):
    (trained.folder / "odd.csv").write_text("clip,sick\nx1,0\nx2,1\n")
    trained("dataset", "add", "odd", "odd.csv", "--id", "clip", "--namespace", "odd")
    trained("model", "canary", "speech", "--on", "odd", "--label", "sick")
    applied = trained.ask("apply", watched, "--on", "debug")
    (why,) = applied["held"].values()
    assert why == "it cannot be measured: dataset 'odd' has no column 'pitch'"
    assert aliases(trained) == {}

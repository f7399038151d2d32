"""Gates: a replacement that is much worse takes over no alias, and everything is erased."""

import pytest

from lineage import Store
from storage import ledger
from storage.catalogue.tables import Alias, Task
from tests.unlearn.cli.conftest import TRAINING
from unlearn.dispatch import journal
from unlearn.tasks import canary


@pytest.fixture
def watched(trained, rows, requested):
    """A plan for a model with an alias and a gate; its id."""
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


def forget_notes(trained):
    """Leave a store as an earlier edition did, which noted no alias that it deleted."""
    with Store.open(trained.folder / ".expunge") as store, store.catalogue.write() as session:
        (task,) = session.query(Task).filter_by(kind="publish")
        gone = {"withheld", "ended"}
        task.result = {name: value for name, value in task.result.items() if name not in gone}
        outcome = {"results": journal.results_of(session, task.plan_id)}
        ledger.commit(session, "outcome", task.plan_id, outcome, store.clock())


def everybody_is_forgotten(trained):
    words = [word for number in range(30) for word in ("--subject", f"p{number}")]
    asked = [each["id"] for each in trained.ask("request", "add", *words)["requests"]]
    trained("model", "promote", "speech", "production")
    trained("apply", trained.ask("plan", *asked)["id"], "--on", "debug")


def test_a_store_whose_model_ended_with_its_alias_is_sound(trained):
    everybody_is_forgotten(trained)
    assert aliases(trained) == {}
    assert trained.ask("doctor", "--sweep")["problems"] == []
    forget_notes(trained)
    assert trained.ask("doctor")["problems"] == []


def test_an_alias_that_was_deleted_by_hand_is_found(trained):
    trained("model", "promote", "speech", "production")
    with Store.open(trained.folder / ".expunge") as store, store.catalogue.write() as session:
        session.query(Alias).delete()
    (problem,) = trained.ask("doctor", status=1)["problems"]
    assert "is not what the ledger says of its promotion" in problem


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


@pytest.fixture
def worse(monkeypatch):
    """The gate finds the replacement much worse."""
    found = iter([0.9, 0.7])
    monkeypatch.setattr(canary, "accuracy", lambda *_: next(found))


MUTE = """
import lineage


@lineage.program
def train(run):
    for batch in run.batches(run.dataset("voices")):
        pass
"""

WHY = "accuracy on held-out went from 0.9000 to 0.7000"


def test_one_that_is_much_worse_takes_over_none_and_what_it_replaces_is_erased(
    trained, watched, requested, worse
):
    applied = trained.ask("apply", watched, "--on", "debug", status=7)
    (version,) = applied["versions"]
    assert applied["held"] == {version["id"]: WHY}
    (withheld,) = applied["withheld"]
    assert (withheld["alias"], withheld["model"], withheld["why"]) == ("production", "speech", WHY)
    assert withheld["version"] == withheld["measured"] == version["id"]
    assert aliases(trained) == {}
    assert (applied["verdict"], applied["erased_records"]) == ("passed", 2)
    assert trained.ask("show", requested)["state"] == "done"
    trained("model", "promote", version["id"], "production")
    assert aliases(trained) == {version["id"]: ["production"]}


def test_a_withheld_alias_is_in_the_status_until_it_is_promoted(trained, watched, worse):
    assert trained.ask("status")["withheld"] == []
    applied = trained("apply", watched, "--on", "debug", "--json", status=7)
    assert f"withheld: alias 'production' of model 'speech' names nothing: {WHY}" in applied.err
    promote = f"expunge model promote {applied.json['versions'][0]['id']} production"
    assert promote in applied.err
    shown = trained("status", "--json")
    assert shown.json["withheld"] == applied.json["withheld"]
    assert promote in shown.err
    assert "production" in trained("status").out
    trained(*promote.split()[1:])
    assert trained.ask("status")["withheld"] == []


def test_a_withheld_alias_follows_what_a_later_plan_makes(trained, watched, worse, monkeypatch):
    first = trained.ask("apply", watched, "--on", "debug", status=7)["versions"][0]["id"]
    monkeypatch.undo()
    monkeypatch.chdir(trained.folder)
    later = trained.ask("request", "add", "--subject", "p4")["id"]
    applied = trained.ask("apply", trained.ask("plan", later)["id"], "--on", "debug")
    assert applied["withheld"] == []
    (withheld,) = trained.ask("status")["withheld"]
    assert withheld["version"] == applied["versions"][0]["id"]
    assert withheld["measured"] == first
    assert f"{WHY} (measured on {first})" in trained("status").err


def test_a_withheld_alias_of_a_model_that_was_retired_is_over_for_good(trained, watched, worse):
    trained("apply", watched, "--on", "debug", status=7)
    trained("model", "retire", "speech")
    assert trained.ask("status")["withheld"] == []
    trained("train", "program.py:train", "--dataset", "voices", *TRAINING)
    assert trained.ask("status")["withheld"] == []


def test_a_withheld_alias_that_was_promoted_is_over_for_good(trained, watched, worse):
    trained("apply", watched, "--on", "debug", status=7)
    trained("model", "promote", "speech", "production")
    with Store.open(trained.folder / ".expunge") as store, store.catalogue.write() as session:
        session.query(Alias).delete()  # as where what it named has ended
    assert trained.ask("status")["withheld"] == []


def test_a_store_whose_alias_was_withheld_is_sound(trained, watched, worse):
    trained("apply", watched, "--on", "debug", status=7)
    assert trained.ask("doctor", "--sweep")["problems"] == []
    trained("model", "retire", "speech")
    assert trained.ask("doctor")["problems"] == []


def test_an_alias_that_a_plan_withheld_and_did_not_note_is_no_damage(trained, watched, worse):
    trained("apply", watched, "--on", "debug", status=7)
    forget_notes(trained)
    assert trained.ask("doctor")["problems"] == []


def test_a_plan_that_is_applied_again_still_says_which_alias_it_withheld(trained, watched, worse):
    first = trained.ask("apply", watched, "--on", "debug", status=7)
    assert trained.ask("apply", watched, "--on", "debug", status=7) == first


def test_a_tick_ends_with_the_status_of_a_withheld_alias(trained, watched, worse):
    trained("policy", "set", "start=at-once")
    ticked = trained.ask("tick", "--on", "debug", status=7)
    assert [each["alias"] for each in ticked["applied"]["withheld"]] == ["production"]


def test_a_model_without_an_alias_is_held_and_nothing_is_withheld(trained, watched, worse):
    with Store.open(trained.folder / ".expunge") as store, store.catalogue.write() as session:
        session.query(Alias).delete()
    applied = trained.ask("apply", watched, "--on", "debug")
    assert (len(applied["held"]), applied["withheld"]) == (1, [])


def test_a_publication_that_was_interrupted_remembers_what_it_withheld(
    trained, watched, worse, monkeypatch
):
    complete = journal.complete

    def crash(store, ownership, task_id, result):
        if task_id == "publish":
            raise OSError("the power is gone")
        complete(store, ownership, task_id, result)

    with monkeypatch.context() as patch:
        patch.setattr(journal, "complete", crash)
        trained("apply", watched, "--on", "debug", status=1)
    (withheld,) = trained.ask("status")["withheld"]
    assert (withheld["alias"], withheld["version"]) == ("production", None)
    applied = trained.ask("apply", watched, "--on", "debug", status=7)
    assert [each["alias"] for each in applied["withheld"]] == ["production"]


def test_one_that_cannot_be_measured_any_more_takes_over_none_either(trained, watched, requested):
    lines = (trained.folder / "held-out.csv").read_text().splitlines()[1:]
    ids = [line.partition(",")[0] for line in lines]
    words = [word for each in ids for word in ("--record", each)]
    trained("request", "add", "--dataset", "held-out", *words)
    plan = trained.ask("plan", requested)["id"]
    applied = trained.ask("apply", plan, "--on", "debug", status=7)
    (why,) = applied["held"].values()
    assert why.startswith("it cannot be measured: dataset 'held-out' has no rows left to measure")
    assert aliases(trained) == {}


@pytest.mark.parametrize(
    ("rows", "label", "said"),
    [
        ("clip,sick\nx1,0\nx2,1\n", "sick", "dataset 'odd' has no column 'pitch'"),
        ("clip,pitch,tone,sick\nx1,0.5,low,2\n", "sick", "numbers of the 2 classes"),
        ("clip,pitch,tone,sick\nx1,0.5,low,-1\n", "sick", "numbers of the 2 classes"),
        ("clip,pitch,tone,sick\nx1,0.5,low,0.5\n", "sick", "numbers of the 2 classes"),
        ("clip,pitch,tone,sick\nx1,0.5,low,1\n", "clip", "numbers of the 2 classes"),
    ],
)
def test_a_gate_that_can_never_be_measured_is_refused_when_it_is_set(trained, rows, label, said):
    (trained.folder / "odd.csv").write_text(rows)
    trained("dataset", "add", "odd", "odd.csv", "--id", "clip", "--namespace", "odd")
    refused = trained.ask("model", "canary", "speech", "--on", "odd", "--label", label, status=5)[
        "error"
    ]
    assert refused["message"].startswith(
        "this gate would keep every alias from moving: 'speech' cannot be measured on 'odd': "
    )
    assert said in refused["message"]


def test_a_gate_on_a_dataset_without_rows_is_refused(trained):
    (trained.folder / "one.csv").write_text("clip,pitch,tone,sick\nx1,0.5,low,1\n")
    trained("dataset", "add", "one", "one.csv", "--id", "clip", "--namespace", "odd")
    trained("request", "add", "--record", "x1", "--dataset", "one")
    refused = trained("model", "canary", "speech", "--on", "one", "--label", "sick", status=5)
    assert "dataset 'one' has no rows left" in refused.err


def test_a_gate_of_a_model_that_does_not_predict_is_refused(trained):
    (trained.folder / "mute.py").write_text(MUTE)
    trained("train", "mute.py:train", "--dataset", "voices", "--model", "mute")
    refused = trained("model", "canary", "mute", "--on", "voices", "--label", "sick", status=5)
    assert "does not say how it predicts" in refused.err


def test_a_gate_of_no_model_is_not_found(trained):
    trained("model", "canary", "speach", "--on", "voices", "--label", "sick", status=3)

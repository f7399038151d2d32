"""The verbs where nobody can say beforehand who comes when: orders that are drawn, and watched."""

import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from lineage.integrations.torch import observe
from lineage.store import Store
from unlearn.cli.plan import verification
from unlearn.plan.stored import load_plan

DEBUG = ("--on", "debug")
TRAIN = ("train", "drawn.py:train", "--dataset", "voices", "--model", "speech", "--epochs", "2")

ORDER = """
class Order:
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return -(-self.rows // 8)

    def __iter__(self):
        return iter(np.split(np.random.permutation(self.rows), range(8, self.rows, 8)))
"""


@pytest.fixture
def registered(shell):
    """The command where `drawn.py` trains in an order of its own."""
    source = (shell.folder / "program.py").read_text()
    model = "    model = Sums()\n"
    drawn = source.replace(model, f"    run.draw(Order(len(voices)))\n{model}") + ORDER
    (shell.folder / "drawn.py").write_text(drawn)
    shell("dataset", "add", "voices", "voices.csv", "--id", "clip", "--subject", "who")
    return shell


@pytest.fixture
def observed(registered):
    """A store in which a loop that trains `speech` was watched; its command fails."""
    words = (sys.executable, "-c", "import sys; sys.exit('no such disk')")
    data = [{"id": f"c{row}", "x": torch.tensor([row / 60])} for row in range(60)]
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with (
        Store.open(registered.folder / ".expunge") as store,
        observe(store, "voices", "speech", optimizer=optimizer, retrain=words, model=model) as run,
    ):
        for batch in run.watch(DataLoader(data, batch_size=8), record="id"):
            optimizer.zero_grad()
            model(batch["x"]).square().mean().backward()
            optimizer.step()
            if run.step == 4:
                run.checkpoint()
    return registered


def test_an_order_that_was_drawn_is_recorded_and_followed(registered, twin_here):
    made = registered.ask(*TRAIN, "--schedule", "recorded", "--checkpoint-every", "4")
    (run,) = registered.ask("run", "list")
    assert (run["step"], run["steps"], run["state"]) == (16, None, "complete")
    shown = registered.ask("run", "show", run["id"])
    assert registered.ask("show", run["id"]) == shown
    assert shown["specification"]["schedule"]["kind"] == "recorded/1"
    seen = registered.ask("who-saw", "--subject", "p3")
    assert (seen["state"], seen["complete"]) == ("trained", True)
    assert seen["runs"][0]["visits"] == 4
    request = registered.ask("request", "add", "--subject", "p3")["id"]
    plan = registered.ask("plan", request)
    assert plan["claim_possible"] == "replay-verified"
    assert plan["full_retrain_visits"] == 2 * 58
    applied = registered.ask("apply", plan["id"], *DEBUG, "--twin")
    assert (applied["claim"], applied["verdict"]) == ("replay-verified", "passed")
    replay = registered.ask("run", "list")[-1]
    assert f"order_drawn_with_forgotten: {replay['id']}" in applied["caveats"]
    assert applied["model_digest"] == applied["twin_digest"] != made["digest"]
    assert "order_drawn_with_forgotten" in registered("verify", plan["id"]).out
    assert registered.ask("who-saw", "--subject", "p4")["runs"][-1]["visits"] == 4
    assert registered.ask("doctor")["healthy"]


def test_a_training_that_draws_goes_on_after_an_interruption(registered, monkeypatch):
    whole = registered.ask(*TRAIN, "--schedule", "recorded", "--checkpoint-every", "4")
    monkeypatch.setenv("INTERRUPT_AT", "11")
    registered(*TRAIN, "--schedule", "recorded", "--checkpoint-every", "4", status=130)
    monkeypatch.delenv("INTERRUPT_AT")
    stopped = registered.ask("run", "list")[-1]
    assert (stopped["step"], stopped["steps"], stopped["state"]) == (8, None, "stopped")
    resumed = registered.ask("run", "resume", stopped["training"])
    assert resumed["digest"] == whole["digest"]
    assert registered.ask("doctor")["healthy"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("drawn.py:train", "--schedule", "recorded", "--shards", "2"), "isolates no shards"),
        (("drawn.py:train", "--schedule", "recorded", "--slices", "2"), "isolates no shards"),
        (("drawn.py:train",), "this run has a stable schedule"),
        (("program.py:train", "--schedule", "recorded"), "has not said how to draw it"),
        (("drawn.py:train", "--schedule", "random"), "'random' is not one of"),
    ],
)
def test_an_order_must_be_drawn_where_it_is_recorded_and_nowhere_else(registered, words, said):
    program, *more = words
    refused = registered(
        "train", program, "--dataset", "voices", "--model", "speech", *more, status=2
    )
    assert said in refused.err


def test_a_run_that_was_watched_is_listed_and_shown(observed):
    (run,) = observed.ask("run", "list")
    assert (run["model"], run["state"]) == ("speech", "complete")
    assert (run["step"], run["steps"]) == (8, None)
    shown = observed.ask("run", "show", run["id"])
    assert shown["specification"]["schedule"]["epochs"] is None
    assert [checkpoint["step"] for checkpoint in shown["checkpoints"]] == [4, 8]
    assert [checkpoint["visits"] for checkpoint in shown["checkpoints"]] == [32, 28]
    for each in (run["id"], shown["checkpoints"][0]["segment"], run["training"]):
        assert observed.ask("show", each)["id"] == each
    assert run["id"] in observed("run", "list").out
    assert run["id"] in observed("run", "show", run["id"]).out
    seen = observed.ask("who-saw", "--record", "c3", "--dataset", "voices")
    assert seen["steps"] == {run["id"]: [0]}
    assert [model["model"] for model in seen["models"]] == ["speech"]
    assert observed.ask("doctor")["healthy"]


def test_a_run_that_was_watched_is_its_owners_to_go_on_with(observed):
    (run,) = observed.ask("run", "list")
    assert "is complete" in observed("run", "resume", run["training"], status=1).err
    predicted = observed("model", "predict", "speech", "voices.csv", status=2)
    assert "was observed, so nothing here can build its model" in predicted.err


def test_a_plan_says_whose_command_it_starts(observed):
    (run,) = observed.ask("run", "list")
    request = observed.ask("request", "add", "--subject", "p3")["id"]
    planned = observed("plan", request, "--json")
    plan = planned.json
    assert [task["kind"] for task in plan["tasks"]] == [
        "external", "aggregate", "check", "publish", "purge"
    ]  # fmt: skip
    assert plan["claim_possible"] == "exact-by-provenance"
    assert plan["visits"] == plan["full_retrain_visits"] == 58
    command = f"sys.exit('\"'\"'no such disk'\"'\"')', in {observed.folder}"
    assert plan["tasks"][0]["reason"].startswith(f"{run['id']} trained on the forgotten records")
    assert plan["tasks"][0]["reason"].endswith(command)
    shown = observed("plan", request).out
    assert "external-1" in shown
    assert command in shown
    assert command in observed("show", plan["id"]).out
    with Store.open(observed.folder / ".expunge") as store, store.catalogue.read() as session:
        assert verification(plan["id"], load_plan(session, plan["id"])[1]) == f"verify {plan['id']}"
    failed_call = observed("apply", plan["id"], *DEBUG, "--twin", "--json", status=1)
    assert "a loop that was only watched has no twin" in failed_call.err
    failed = failed_call.json
    assert failed["error"]["code"] == "failed"
    assert failed["error"]["message"].endswith("ended with status 1: no such disk")
    assert "apply the plan again" in failed["error"]["hint"]
    assert observed.ask("status")["plans"][0]["state"] == "failed"

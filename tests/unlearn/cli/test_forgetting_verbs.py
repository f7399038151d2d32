import pytest

DEBUG = ("--on", "debug")


def test_a_plan_says_what_it_costs_and_what_it_rejected(trained, requested):
    made = trained("plan", requested, "--json")
    plan = made.json
    promised = {"id", "visits", "full_retrain_visits", "tasks", "rejected", "claim_possible"}
    promised |= {"deadline", "latest_start", "workers", "duration", "critical", "adaptive"}
    assert promised | {"graph_revision", "affected"} <= plan.keys()
    assert 0 < plan["visits"] < plan["full_retrain_visits"]
    assert plan["requests"] == [requested]
    assert [task["kind"] for task in plan["tasks"]] == [
        "interim", "replay", "aggregate", "check", "publish", "purge"
    ]  # fmt: skip
    expected = {"id", "kind", "depends_on", "visits", "seconds", "reason"}
    assert all(expected <= task.keys() for task in plan["tasks"])
    assert {"name", "visits", "why", "task"} == plan["rejected"][0].keys()
    assert plan["latest_start"] < plan["deadline"] == trained.ask("show", requested)["due_at"]
    assert "forget" not in plan
    assert f"next: expunge apply {plan['id']}" in made.err


def test_several_requests_are_planned_together(trained, requested):
    other = trained.ask("request", "add", "--subject", "p4")["id"]
    plan = trained.ask("plan", requested, other)
    assert (plan["requests"], plan["records"]) == ([requested, other], 4)


def test_planning_changes_no_model_and_no_dataset(trained, requested):
    before = trained.ask("model", "show", "speech"), trained.ask("dataset", "show", "voices")
    trained("plan", requested)
    after = trained.ask("model", "show", "speech"), trained.ask("dataset", "show", "voices")
    assert before == after


def test_a_plan_for_nobody_who_was_trained_on_says_so(trained):
    trained("dataset", "add", "others", "voices.csv", "--subject", "who")
    request = trained.ask("request", "add", "--subject", "p3", "--namespace", "others")["id"]
    plan = trained.ask("plan", request)
    assert plan["visits"] == 0
    assert any("nothing learned from them" in note for note in plan["notes"])
    applied = trained.ask("apply", plan["id"], *DEBUG)
    assert (applied["model_digest"], applied["verdict"]) == (None, "passed")


def test_applying_answers_with_what_came_of_it(trained, planned):
    before = trained.ask("model", "show", "speech")["versions"][0]
    applied = trained("apply", planned, *DEBUG, "--json")
    answer = applied.json
    promised = {"plan", "model_digest", "versions", "interim", "claim", "verdict", "residuals"}
    assert promised | {"purged_checkpoints"} <= answer.keys()
    assert answer["verdict"] == "passed"
    (replaced,) = answer["versions"]
    assert replaced["replaces"] == before["id"]
    newest = trained.ask("model", "show", "speech")
    assert (newest["version"], newest["digest"]) == (replaced["id"], answer["model_digest"])
    assert newest["digest"] != before["digest"]
    assert answer["interim"] == [trained.ask("show", answer["interim"][0])["id"]]
    assert "voices.csv" in [residual["name"] for residual in answer["residuals"]]
    assert f"next: expunge verify {planned}" in applied.err
    assert trained.ask("request", "list")[0]["state"] == "done"


def test_other_processes_carry_out_a_plan_as_well(trained, planned):
    assert trained.ask("apply", planned, "--workers", "2")["verdict"] == "passed"


def test_a_twin_makes_the_claim_the_strongest(trained, planned):
    applied = trained.ask("apply", planned, *DEBUG, "--twin")
    assert applied["claim"] == "replay-verified"
    assert applied["model_digest"] == applied["twin_digest"] is not None
    checked = trained.ask("verify", planned)
    assert (checked["plan"], checked["verdict"]) == (planned, "passed")
    assert checked["model_digest"] == applied["model_digest"]
    assert checked["twin_digest"] is None


def test_what_an_applied_plan_is_asked_again_is_said_not_to_be_done(trained, planned):
    first = trained("apply", planned, *DEBUG)
    assert "nothing was done again" not in first.err
    again = trained("apply", planned, *DEBUG, "--twin", "--json")
    assert again.json["claim"] == "exact-reproducible"
    assert f"plan {planned} was applied on " in again.err
    assert "nothing was done again" in again.err
    assert "no twin was trained" in again.err
    assert f"next: expunge verify {planned} --twin" in again.err
    assert "no twin was trained" not in trained("apply", planned, *DEBUG).err


def test_a_twin_that_is_asked_for_after_the_check_is_said_not_to_be_trained(
    trained, planned, monkeypatch
):
    import unlearn.tasks.publish as publish

    def crash(*_given):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(publish, "execute", crash)
        trained("apply", planned, *DEBUG, status=1)
    assert "no twin was trained" in trained("apply", planned, *DEBUG, "--twin").err


def test_a_plan_is_shown_with_its_state_and_the_way_on_from_there(trained, requested, planned):
    made = trained("plan", planned, "--json")
    assert (made.json["state"], made.json["applied_at"]) == ("ready", None)
    assert f"next: expunge apply {planned}" in made.err
    other = trained.ask("plan", requested)["id"]
    trained("cancel", other)
    given_up = trained("plan", other, "--json")
    assert given_up.json["state"] == "cancelled"
    assert f"next: expunge show {other}" in given_up.err
    trained("apply", planned, *DEBUG)
    done = trained("plan", planned, "--json")
    assert done.json["state"] == "applied"
    assert done.json["applied_at"] is not None
    assert f"next: expunge verify {planned} --twin" in done.err


def test_a_verification_is_shown_with_its_evidence(trained, planned):
    trained("apply", planned, *DEBUG)
    checked = trained("verify", planned, "--json")
    assert f"next: expunge show {checked.json['id']}" in checked.err
    shown = trained.ask("show", checked.json["id"])
    assert (shown["claim"], shown["plan"]) == (checked.json["claim"], planned)


def test_a_plan_that_was_not_applied_cannot_be_verified(trained, planned):
    answer = trained.ask("verify", planned, status=6)
    assert answer["error"]["code"] == "inconclusive"


@pytest.mark.parametrize(("verdict", "status"), [("failed", 4), ("inconclusive", 6)])
def test_the_verdict_of_a_verification_is_the_exit_status(
    trained, planned, monkeypatch, verdict, status
):
    import unlearn.audit

    trained("apply", planned, *DEBUG)
    honest = unlearn.audit.verify_plan

    def judged(*given, **named):
        return honest(*given, **named).model_copy(update={"verdict": verdict})

    monkeypatch.setattr(unlearn.audit, "verify_plan", judged)
    answer = trained.ask("verify", planned, status=status)
    assert answer["verdict"] == verdict
    assert answer["model_digest"]


def test_a_plan_whose_graph_changed_is_refused_with_the_difference(trained, planned):
    trained("request", "add", "--subject", "p4")
    refused = trained.ask("apply", planned, *DEBUG, status=5)
    assert refused["error"]["code"] == "refused"
    assert "no longer fits the store" in refused["error"]["message"]
    assert "expunge plan" in refused["error"]["hint"]


def test_an_erased_id_is_not_requested_again(trained, requested, planned):
    trained("apply", planned, *DEBUG)
    answer = trained.ask("request", "add", "--subject", "p3")
    assert (answer["state"], answer["request"]) == ("erased", requested)
    assert answer["date"]


def test_a_changed_program_is_refused_until_it_is_allowed(trained, planned, trained_once):
    program = trained_once / "program.py"
    before = program.read_text()
    program.write_text(before + "\n# another line\n")
    try:
        refused = trained.ask("apply", planned, *DEBUG, status=2)
        assert "program.py" in refused["error"]["message"]
        answer = trained.ask("apply", planned, *DEBUG, "--allow-changed")
        assert answer["claim"] == "exact-by-provenance"
        assert "program changed" in answer["reason"]
    finally:
        program.write_text(before)


def test_an_interrupted_plan_goes_on_with_the_next_apply(trained, planned, monkeypatch):
    monkeypatch.setenv("INTERRUPT_AT", "3")
    stopped = trained("apply", planned, *DEBUG, status=130)
    assert stopped.out == ""
    assert f"go on with: expunge apply {planned}" in stopped.err
    monkeypatch.delenv("INTERRUPT_AT")
    assert trained.ask("apply", planned, *DEBUG)["verdict"] == "passed"


def test_a_failed_plan_is_retried_and_a_request_is_planned_again(
    trained, requested, planned, monkeypatch
):
    monkeypatch.setenv("FAIL_AT", "3")
    trained("apply", planned, *DEBUG, status=1)
    monkeypatch.delenv("FAIL_AT")
    assert trained.ask("show", planned)["state"] == "failed"
    assert trained.ask("retry", planned, *DEBUG)["verdict"] == "passed"
    assert trained.ask("show", planned)["state"] == "applied"


def test_a_request_is_planned_again(trained, requested, planned):
    again = trained.ask("retry", requested)
    assert again["id"] != planned
    assert again["requests"] == [requested]


NOTHING_LEFT: dict[str, list[str]] = {"derive": [], "restored": [], "interim": []}


def test_a_cancelled_request_gives_its_rows_back(trained, requested):
    cancelled = {"id": requested, "state": "cancelled", **NOTHING_LEFT}
    assert trained.ask("cancel", requested) == cancelled
    assert trained.ask("dataset", "show", "voices")["records"] == 60
    assert trained.ask("cancel", requested, status=5)["error"]["code"] == "refused"


def test_a_cancelled_plan_is_never_applied_and_leaves_its_request_open(trained, requested, planned):
    cancelled = {"id": planned, "state": "cancelled", **NOTHING_LEFT}
    assert trained.ask("cancel", planned) == cancelled
    assert "is cancelled" in trained("apply", planned, *DEBUG, status=5).err
    assert "is cancelled" in trained("cancel", planned, status=5).err
    assert trained.ask("request", "show", requested)["state"] == "open"


def test_a_failed_plan_can_be_given_up_and_its_request_planned_again(
    trained, requested, planned, monkeypatch
):
    monkeypatch.setenv("FAIL_AT", "3")
    trained("apply", planned, *DEBUG, status=1)
    monkeypatch.delenv("FAIL_AT")
    trained("cancel", planned)
    again = trained.ask("plan", requested)["id"]
    assert trained.ask("apply", again, *DEBUG)["verdict"] == "passed"


def test_a_plan_that_is_applied_is_not_given_up(trained, planned):
    trained("apply", planned, *DEBUG)
    assert "is applied" in trained("cancel", planned, status=5).err


def test_a_plan_that_has_begun_to_destroy_can_only_be_finished(trained, planned, monkeypatch):
    import unlearn.tasks.purge as purge

    def crash(*_given):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(purge, "destroy", crash)
        trained("apply", planned, *DEBUG, status=1)
    refused = trained("cancel", planned, status=5)
    assert "has begun to purge" in refused.err
    assert f"expunge apply {planned}" in refused.err
    assert trained.ask("apply", planned, *DEBUG)["verdict"] == "passed"


def test_a_begun_plan_is_cancelled_with_its_request_and_the_whole_model_serves_again(
    trained, requested, planned, monkeypatch
):
    import unlearn.tasks.replay as replay

    def crash(*_given):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(replay, "execute", crash)
        trained("apply", planned, *DEBUG, status=1)
    assert f"expunge cancel {planned}" in trained("cancel", requested, status=5).err
    given_up = trained("cancel", planned, "--json")
    (interim,) = given_up.json["interim"]
    assert f"interim version {interim} stays in use while requests are open" in given_up.err
    assert trained.ask("model", "show", "speech")["version"] == interim
    (again,) = trained.ask("cancel", requested)["restored"]
    newest = trained.ask("model", "show", "speech")
    assert (newest["version"], newest["versions"][-1]["interim"]) == (again, False)


def test_a_plan_in_the_hands_of_a_living_process_is_not_given_up(trained, planned):
    from lineage import Store
    from storage.catalogue.tables import Plan
    from storage.processes import this_process

    with Store.open(trained.folder / ".expunge") as store, store.catalogue.write() as session:
        session.get_one(Plan, planned).owner = this_process()
    assert "is being applied by process" in trained("cancel", planned, status=5).err


@pytest.mark.parametrize("verb", ["cancel", "retry"])
def test_only_plans_and_requests_are_cancelled_or_retried(trained, verb):
    assert "plan-…" in trained(verb, "run-0", status=2).err


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "req-0"),
        ("apply", "plan-0"),
        ("verify", "plan-0"),
        ("cancel", "plan-0"),
        ("cancel", "req-0"),
        ("retry", "plan-0"),
        ("retry", "req-0"),
        ("request", "show", "req-0"),
    ],
)
def test_what_is_not_there_is_not_found(trained, words):
    assert trained.ask(*words, status=3)["error"]["code"] == "not_found"


def test_a_damaged_checkpoint_costs_visits_and_is_named(shell):
    shell("dataset", "add", "voices", "voices.csv", "--id", "clip", "--subject", "who")
    shell(
        "train", "program.py:train", "--dataset", "voices", "--model", "speech", "--epochs", "8",
        "--slices", "2", "--batch-size", "2",
    )  # fmt: skip
    run = shell.ask("run", "list")[0]["id"]
    first = shell.ask("run", "show", run)["checkpoints"][0]
    late = next(
        person
        for person in range(30)
        if first["id"] not in shell.ask("who-saw", "--subject", f"p{person}")["checkpoints"]
    )
    request = shell.ask("request", "add", "--subject", f"p{late}")["id"]
    sound = shell.ask("plan", request)
    damage(shell.folder / ".expunge", first["id"])
    plan = shell.ask("plan", request)
    assert plan["visits"] > sound["visits"]
    replays = [task for task in plan["tasks"] if task["kind"] == "replay"]
    assert [task["fallback_from"] for task in replays] == [first["id"]]
    assert "is damaged" in shell("doctor", status=1).out


def damage(place, checkpoint):
    from lineage import Store
    from storage.catalogue.tables import Checkpoint

    with Store.open(place) as store:
        with store.catalogue.read() as session:
            digest = session.get_one(Checkpoint, checkpoint).object
        path = store.objects.open(digest)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)

from statistics import mean, pstdev

import pytest


def test_who_saw_answers_completely_in_json(trained):
    answer = trained.ask("who-saw", "--subject", "p3")
    assert (answer["state"], answer["kind"], answer["complete"]) == ("trained", "subject", True)
    assert answer["datasets"] == {"voices": 2}
    (run,) = answer["runs"]
    assert run["visits"] == 4
    assert answer["steps"] == {run["run"]: run["steps"]}
    assert [model["model"] for model in answer["models"]] == ["speech"]
    assert [node["kind"] for node in answer["path"]][::3] == ["dataset-version", "model-version"]


def test_who_saw_shows_a_path_from_the_data_to_the_model(trained):
    shown = trained("who-saw", "--subject", "p3")
    answer = trained.ask("who-saw", "--subject", "p3")
    places = [shown.out.index(node["id"], shown.out.index("path")) for node in answer["path"]]
    assert places == sorted(places)
    assert "next: expunge request add --subject" in shown.err
    assert "p3" not in shown.out + shown.err


def test_a_record_is_asked_for_by_its_own_id(trained):
    answer = trained.ask("who-saw", "--record", "c3", "--dataset", "voices")
    assert (answer["kind"], answer["records"]) == ("record", 1)


@pytest.mark.parametrize("verb", ["who-saw", "impact"])
@pytest.mark.parametrize(
    ("form", "begins"),
    [("--tree", "voices v1"), ("--dot", "digraph"), ("--mermaid", "flowchart")],
)
def test_an_answer_can_be_drawn(trained, verb, form, begins):
    drawn = trained(verb, "--subject", "p3", form).out
    assert drawn.startswith(begins)
    document = trained.ask(verb, "--subject", "p3", form)
    assert document == {"form": form[2:], "text": drawn.removesuffix("\n")}


def test_the_impact_names_everything_that_descends(trained):
    seen = trained.ask("who-saw", "--subject", "p3")
    answer = trained.ask("impact", "--subject", "p3")
    assert answer["checkpoints"] == seen["checkpoints"]
    assert answer["versions"] == [model["id"] for model in seen["models"]]
    assert [run["visits"] for run in answer["runs"]] == [4]
    assert answer["complete"] is True
    drawn = trained("impact", "--subject", "p3", "--dot").out
    assert all(node in drawn for node in (*answer["segments"], *answer["checkpoints"]))


@pytest.mark.parametrize("verb", ["who-saw", "impact"])
@pytest.mark.parametrize("kind", ["--subject", "--record"])
def test_an_unknown_id_is_not_found_and_not_repeated(trained, verb, kind):
    missing = trained(verb, kind, "nobody-in-particular", status=3)
    assert missing.out == ""
    assert "nobody-in-particular" not in missing.err
    assert "did you mean" not in missing.err
    answer = trained.ask(verb, kind, "nobody-in-particular", status=3)
    assert answer["error"]["code"] == "not_found"


@pytest.mark.parametrize("verb", ["who-saw", "impact"])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "one of --subject, --record, --subjects and --records"),
        (("--subject", "p1", "--record", "c1"), "one of --subject, --record,"),
        (("--subject", "p1", "--dataset", "voices"), "use --namespace"),
        (("--record", "c1", "--namespace", "voices"), "use --dataset"),
    ],
)
def test_whom_is_asked_about_must_be_clear(trained, verb, words, said):
    assert said in trained(verb, *words, status=2).err


@pytest.mark.parametrize("verb", ["who-saw", "impact"])
def test_several_are_asked_about_as_one_set(trained, verb):
    (trained.folder / "ids.txt").write_text("p3\r\n\r\np4\r\np3\r\n")
    answer = trained.ask(verb, "--subjects", "ids.txt")
    assert (answer["asked"], answer["records"], answer["erased"]) == (2, 4, {})
    assert sum(run["visits"] for run in answer["runs"]) == 8
    assert trained.ask(verb, "--subject", "p3", "--subject", "p4") == answer
    each = [trained.ask(verb, "--subject", name) for name in ("p3", "p4")]
    assert {run["run"] for run in answer["runs"]} == {r["run"] for a in each for r in a["runs"]}
    shown = trained(verb, "--subjects", "ids.txt")
    assert "next: expunge request add --subjects FILE" in shown.err
    records = trained(verb, "--records", "-", "--json", input="c3\nc4\nc33\nc34\n").json
    assert {**records, "kind": "subject", "asked": 2} == answer


@pytest.mark.parametrize("verb", ["who-saw", "impact"])
def test_unknown_ids_of_a_file_are_named_by_line(trained, verb):
    lines = ["p1", "who", "p2", "", "whom", "whose", "p3", ""]
    (trained.folder / "ids.txt").write_text("\n".join(lines))
    missing = trained(verb, "--subjects", "ids.txt", status=3)
    assert "no dataset has 3 of these 6 subjects (line 2, 5–6)" in missing.err
    assert not {"who", "whom", "whose"} & set(missing.err.replace("\n", " ").split())


@pytest.mark.parametrize("verb", ["who-saw", "impact"])
def test_the_erased_among_several_are_counted(trained, requested, planned, verb):
    trained("apply", planned, "--on", "debug")
    answer = trained.ask(verb, "--subject", "p3", "--subject", "p4")
    assert (answer["asked"], answer["erased"], answer["records"]) == (2, {requested: 1}, 2)
    alone = trained.ask(verb, "--subject", "p4")
    assert {**answer, "asked": 1, "erased": {}} == alone


def test_a_moment_hides_what_came_later(trained):
    now = trained.ask("who-saw", "--subject", "p3")
    (run,) = now["runs"]
    first = run["first_step"]
    assert first == run["steps"][0]
    before = trained.ask("who-saw", "--subject", "p3", "--at", str(first))
    assert (before["state"], before["steps"], before["path"]) == ("not-trained", {}, [])
    then = trained.ask("impact", "--subject", "p3", "--at", str(first + 1), "--run", run["run"])
    assert (then["state"], len(then["segments"]), then["versions"]) == ("trained", 1, [])
    late = trained("impact", "--subject", "p3", "--at", "99", "--run", run["run"], status=2)
    assert "was never at 99" in late.err
    assert "run-0" in trained("who-saw", "--subject", "p3", "--run", "run-0", status=3).err


def test_a_batch_is_shown_with_the_records_it_has(trained, requested):
    seen = trained.ask("who-saw", "--record", "c4")
    ((run, (step, *_)),) = seen["steps"].items()
    batch = trained.ask("show", run, "--at", str(step))
    assert (batch["id"], batch["step"], batch["state"]) == (run, step, "executed")
    names = [record["id"] for record in batch["records"]]
    assert "c4" in names
    assert not {"c3", "c33"} & set(names)
    assert batch["segment"] in trained("show", run, "--at", str(step)).out
    traced = trained.ask("lineage", "of", run, "--at", str(step))
    assert [node["id"] for node in traced["upstream"]] == [batch["version"]]
    assert [node["kind"] for node in traced["downstream"]] == [
        "segment", "checkpoint", "model-version"
    ]  # fmt: skip
    assert "--at names a batch of a run" in trained("show", "p3", "--at", "1", status=2).err
    assert "p3" not in trained("lineage", "of", "p3", "--at", "1", status=2).err
    assert "has no step 999" in trained("show", run, "--at", "999", status=2).err


def test_lineage_can_be_asked_in_one_direction_and_drawn(trained):
    version = trained.ask("model", "list")[0]["version"]
    whole = trained.ask("lineage", "of", version)
    assert [node["id"] for node in whole["parts"]] == [version]
    assert whole["upstream"]
    assert whole["downstream"] == []
    assert trained.ask("lineage", "of", version, "--up") == whole
    assert trained.ask("lineage", "of", version, "--up", "--down") == whole
    assert trained.ask("lineage", "of", version, "--down")["upstream"] == []
    for form, begins in (("--tree", "voices v1"), ("--dot", "digraph"), ("--mermaid", "flowchart")):
        drawn = trained("lineage", "of", version, form).out
        assert drawn.startswith(begins)
        assert all(node["id"] in drawn for node in whole["upstream"])
    shown = trained("lineage", "of", version).out
    assert all(link["kind"] in shown for link in whole["edges"])


@pytest.mark.parametrize("identifier", ["mv-0", "run-0", "dsv-0"])
def test_the_lineage_of_what_is_not_there_is_not_found(trained, identifier):
    assert identifier in trained("lineage", "of", identifier, status=3).err


def test_a_person_has_no_lineage_and_is_not_repeated(trained):
    missing = trained("lineage", "of", "p3", status=3)
    assert "p3" not in missing.err
    assert "who-saw" in missing.err


def test_an_id_in_two_namespaces_is_ambiguous_until_one_is_named(trained):
    trained("dataset", "add", "others", "voices.csv", "--subject", "who")
    refused = trained.ask("who-saw", "--subject", "p3", status=2)
    assert refused["error"]["code"] == "usage"
    assert "others, voices" in refused["error"]["message"]
    answer = trained.ask("who-saw", "--subject", "p3", "--namespace", "others")
    assert answer["state"] == "not-trained"


@pytest.mark.parametrize("verb", ["who-saw", "impact"])
def test_an_erased_id_is_answered_with_its_request_and_date(trained, requested, planned, verb):
    trained("apply", planned, "--on", "debug")
    answer = trained.ask(verb, "--subject", "p3")
    assert (answer["state"], answer["request"]) == ("erased", requested)
    assert answer["date"]
    assert requested in trained(verb, "--subject", "p3").out


TRANSFORM = """
from lineage import transform

@transform(scope="record")
def louder(rows):
    return rows.select(["pitch"])
"""


def test_everything_that_has_an_id_can_be_shown(trained, requested):
    (trained.folder / "shaping.py").write_text(TRANSFORM)
    trained("dataset", "derive", "loud", "shaping.py:louder", "--from", "voices")
    version = trained.ask("model", "list")[0]["version"]
    trained("model", "publish", version, "--to", "x")
    trained("model", "hold", version, "--reason", "y")
    planned = trained.ask("plan", requested)["id"]
    trained("apply", planned, "--on", "debug")
    check = trained.ask("verify", planned)["id"]
    ids = {requested, planned, f"{planned}/purge", check} | every_id(trained.folder / ".expunge")
    assert {each.partition("-")[0] for each in ids} == {
        "chunk", "ckpt", "ds", "dsv", "fence", "hold", "model", "mv", "part", "plan", "prog",
        "pub", "redact", "req", "run", "seg", "train", "check", "tf",
    }  # fmt: skip
    for each in ids:
        shown = trained.ask("show", each)
        assert shown["id"] in (each, each.rpartition("/")[2])


def every_id(place):
    """Primary keys of every table that has typed ids, but tasks, whose ids are two."""
    from sqlalchemy import inspect, text

    from lineage import Store

    with Store.open(place) as store, store.catalogue.read() as session:
        names = inspect(store.catalogue.engine).get_table_names()
        columns = {name: inspect(store.catalogue.engine).get_columns(name) for name in names}
        return {
            identifier
            for name in names
            if name != "tasks" and any(column["name"] == "id" for column in columns[name])
            for identifier in session.scalars(text(f"SELECT id FROM {name}"))
        }


def test_what_is_shown_as_its_row_has_the_fields_of_the_row():
    from lineage.provenance.listing.by_id import _ROWS

    for table, answer in _ROWS.values():
        fields = {field.validation_alias or name for name, field in answer.model_fields.items()}
        assert {name for name in fields if not hasattr(table, name)} == set()


def test_a_fit_is_shown_with_the_rows_it_saw_until_it_is_purged(trained):
    trained(
        "train", "program.py:train", "--dataset", "voices", "--model", "scaled",
        "--min-batch", "1", "--set", "notes=true",
    )  # fmt: skip
    version = trained.ask("dataset", "show", "voices")["version"]
    run = trained.ask("run", "list")[-1]["id"]
    moments, other = trained.ask("run", "show", run)["fits"]
    shown = trained.ask("show", moments)
    assert (shown["dataset"], shown["version"], shown["records"]) == ("voices", version, 60)
    assert shown["statistic"] == "Moments"
    pitch = [(row * 37 % 100) / 100 for row in range(60)]
    assert shown["summary"] == {
        "pitch": {"count": 60, "missing": 0, "mean": mean(pitch), "std": pstdev(pitch)}
    }
    assert "count: 60, missing: 0" in trained("show", moments).out
    plain = trained.ask("show", other)
    assert (plain["records"], plain["statistic"], plain["summary"]) == (60, None, None)
    request = trained.ask("request", "add", "--subject", "p3")["id"]
    trained("apply", trained.ask("plan", request)["id"], "--on", "debug")
    for fit in (moments, other):
        gone = trained.ask("show", fit)
        assert gone["purged_at"] is not None
        assert (gone["version"], gone["records"], gone["summary"]) == (version, None, None)


@pytest.mark.parametrize("identifier", ["run-0", "ds-0", "mv-0", "fit-0", "plan-0", "check-0"])
def test_an_id_that_nothing_has_is_not_found(trained, identifier):
    assert identifier in trained("show", identifier, status=3).err


def test_a_task_that_a_plan_does_not_have_is_not_found(trained, planned):
    assert "has no task nap" in trained("show", f"{planned}/nap", status=3).err


def test_what_is_no_id_is_not_repeated(trained):
    missing = trained("show", "p3", status=3)
    assert "p3" not in missing.err
    assert "dataset show NAME" in missing.err

import csv
import json

import pytest


@pytest.fixture
def version(trained):
    return trained.ask("model", "list")[0]["version"]


def test_a_model_shows_its_versions_and_members(trained, version):
    shown = trained.ask("model", "show", "speech")
    assert shown["version"] == version
    (only,) = shown["versions"]
    assert only["id"] == version
    assert only["live"]
    assert set(only["members"]) == {"0", "1"}
    assert all(member.startswith("ckpt-") for member in only["members"].values())


@pytest.mark.parametrize("given", ["version", "name"])
def test_an_alias_follows_the_version_that_is_promoted(trained, version, given):
    promoted = trained("model", "promote", version if given == "version" else "speech", "live")
    assert "live" in promoted.out
    assert f"next: expunge model publish {version}" in promoted.err
    assert trained.ask("model", "show", "speech")["aliases"] == {"live": version}


def test_an_alias_moves(trained, version):
    second = trained.ask(
        "train", "program.py:train", "--dataset", "voices", "--model", "speech", "--epochs", "1"
    )["id"]
    trained("model", "promote", version, "live")
    assert trained.ask("model", "promote", second, "live")["aliases"] == ["live"]
    assert trained.ask("model", "show", "speech")["aliases"] == {"live": second}


def test_a_publication_is_there_until_it_is_withdrawn(trained, version):
    made = trained.ask("model", "publish", version, "--to", "St. Mary")
    assert (made["recipient"], made["version"]) == ("St. Mary", version)
    assert made["withdrawn_at"] is None
    assert trained.ask("show", version)["publications"] == [made["id"]]
    assert trained.ask("model", "withdraw", made["id"])["withdrawn_at"] is not None
    assert trained.ask("show", version)["publications"] == []
    assert trained.ask("model", "withdraw", made["id"], status=5)["error"]["code"] == "refused"


def test_a_choice_is_kept_and_told_of_whom_it_was_made_by(trained, version):
    second = trained.ask(
        "train", "program.py:train", "--dataset", "voices", "--model", "speech", "--epochs", "1"
    )["id"]
    made = trained.ask("model", "choose", version, "--over", second, "--by", "voices:loss")
    assert (made["version"], made["over"]) == (version, [second])
    assert [*made["by"].values()] == ["loss"]
    assert trained.ask("show", made["id"]) == made
    impact = trained.ask("impact", "--subject", "p3")
    assert [each["choice"] for each in impact["chosen"]] == [made["id"]]
    assert trained.ask("who-saw", "--subject", "p3")["chosen"] == impact["chosen"]
    by_name = trained("model", "choose", "speech", "--by", "voices:loss").err
    next_ = by_name.rpartition("next: expunge ")[2].split()
    assert trained.ask(*next_)["id"] == second
    assert "nothing is said of what" in trained("model", "choose", version, status=2).err
    twice = ("model", "choose", version, "--by", "voices:loss", "--by", "voices")
    assert "name each dataset once" in trained(*twice, status=2).err


def test_a_retired_model_is_live_no_more(trained, version):
    assert trained.ask("model", "retire", "speech")["retired_at"] is not None
    assert not trained.ask("show", version)["live"]
    assert "was retired on" in trained("model", "retire", "speech", status=5).err


def test_a_hold_is_seen_until_it_is_released(trained, version):
    made = trained("model", "hold", version, "--reason", "case 7", "--json")
    held = made.json
    assert (held["artefact"], held["reason"]) == (version, "case 7")
    assert f"next: expunge model release {held['id']}" in made.err
    assert trained.ask("status")["holds"] == [held]
    assert trained.ask("model", "release", held["id"])["released_at"] is not None
    assert trained.ask("status")["holds"] == []
    assert "was released on" in trained("model", "release", held["id"], status=5).err


def test_only_what_purge_destroys_can_be_held(trained):
    run = trained.ask("run", "list")[0]["id"]
    assert "ckpt-…" in trained("model", "hold", run, "--reason", "x", status=5).err


@pytest.mark.parametrize(
    "words",
    [
        ("show", "speach"),
        ("promote", "mv-0", "live"),
        ("publish", "mv-0", "--to", "x"),
        ("withdraw", "pub-0"),
        ("retire", "speach"),
        ("hold", "mv-0", "--reason", "x"),
        ("release", "hold-0"),
        ("predict", "speach", "voices.csv"),
    ],
)
def test_what_is_not_there_is_not_found(trained, words):
    assert trained.ask("model", *words, status=3)["error"]["code"] == "not_found"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("promote", "live"), "promotion"),
        (("publish", "--to", "x"), "publication"),
        (("hold", "--reason", "x"), "hold"),
    ],
)
def test_bookkeeping_leaves_a_commitment(trained, version, words, kind):
    from sqlalchemy import select

    from lineage import Store
    from storage.catalogue.tables import Commitment

    trained("model", words[0], version, *words[1:])
    with Store.open(trained.folder / ".expunge") as store, store.catalogue.read() as session:
        kinds = session.scalars(select(Commitment.kind).order_by(Commitment.sequence)).all()
    assert kinds[-1] == kind


def test_a_purged_version_is_neither_promoted_nor_held(trained, planned, version):
    trained("apply", planned, "--on", "debug")
    for words in (("promote", version, "x"), ("publish", version, "--to", "x")):
        assert "was purged on" in trained("model", *words, status=5).err
    assert "was purged on" in trained("model", "hold", version, "--reason", "x", status=5).err
    assert trained("model", "predict", version, "voices.csv", status=5).out == ""


def test_what_is_held_outlives_a_purge_in_quarantine_and_is_destroyed_on_release(
    trained, requested, version
):
    members = trained.ask("show", version)["members"].values()
    hold = trained.ask("model", "hold", version, "--reason", "case 7")["id"]
    plan = trained.ask("plan", requested)
    assert plan["claim_possible"] == "exact-by-provenance"
    applied = trained.ask("apply", plan["id"], "--on", "debug")
    assert applied["claim"] == "exact-by-provenance"
    assert "hold" in [residual["kind"] for residual in applied["residuals"]]
    quarantined = [each for each in members if trained.ask("show", each)["purged_at"]]
    assert len(quarantined) == 1
    assert trained("model", "predict", version, "voices.csv", status=5).out == ""
    before = trained.ask("doctor")
    trained("model", "release", hold)
    after = trained.ask("doctor")
    assert (before["orphaned"], after["orphaned"]) == (0, 0)
    assert before["referenced"] - after["referenced"] == 1


def table(text):
    return [[float(cell) for cell in row] for row in list(csv.reader(text.splitlines()))[1:]]


def test_predictions_are_a_row_of_probabilities_a_record(trained):
    printed = trained("model", "predict", "speech", "voices.csv").out
    assert printed.splitlines()[0] == "p0,p1"
    answer = trained.ask("model", "predict", "speech", "voices.csv")
    assert answer["records"] == 60
    assert answer["probabilities"] == table(printed)
    assert all(abs(sum(row) - 1) < 1e-12 for row in answer["probabilities"])


def test_predictions_equal_those_of_the_library(trained):
    import lineage

    with lineage.Store.open(trained.folder / ".expunge") as store:
        model = lineage.load_model(store, "speech")
        from lineage.data.dataset import head

        expected = model.predict(model.batch(head(store, "voices")))
    answer = trained.ask("model", "predict", "speech", "voices.csv")
    assert answer["probabilities"] == expected.tolist()


def test_codes_are_those_of_the_dataset_whichever_labels_a_file_has(trained):
    whole = trained.ask("model", "predict", "speech", "voices.csv")["probabilities"]
    lines = (trained.folder / "voices.csv").read_text().splitlines()
    (trained.folder / "some.csv").write_text("\n".join([lines[0], lines[3], lines[2]]) + "\n")
    some = trained.ask("model", "predict", "speech", "some.csv")["probabilities"]
    assert some == [whole[2], whole[1]]


def test_a_label_that_the_data_got_after_the_training_is_refused(trained):
    lines = (trained.folder / "voices.csv").read_text().splitlines()
    later = lines[1].split(",")
    later[lines[0].split(",").index("clip")] = "later"
    later[lines[0].split(",").index("tone")] = "shrill"
    (trained.folder / "more.csv").write_text(f"{lines[0]}\n{','.join(later)}\n")
    trained("dataset", "add", "voices", "more.csv")
    refused = trained("model", "predict", "speech", "more.csv", status=2)
    assert "labels that the model does not know" in refused.err


def test_a_label_column_may_be_missing_and_one_that_is_read_may_not(trained):
    (trained.folder / "new.csv").write_text("pitch,tone\n0.5,low\n0.25,high\n")
    assert trained.ask("model", "predict", "speech", "new.csv")["records"] == 2
    (trained.folder / "new.csv").write_text("pitch\n0.5\n")
    assert "lacks column 'tone'" in trained("model", "predict", "speech", "new.csv", status=2).err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("pitch,tone\n0.5,shrill\n", "labels that the model does not know"),
        ("pitch,tone\nloud,low\n", "row 1"),
        ("size\n3\n", "none of the columns"),
        ("pitch,tone,size\n0.5,low,3\n", "'size' that was not declared"),
    ],
)
def test_a_file_that_does_not_fit_the_model_is_refused_without_its_cells(trained, content, said):
    (trained.folder / "new.csv").write_text(content)
    refused = trained("model", "predict", "speech", "new.csv", status=2)
    assert said in refused.err
    assert "shrill" not in refused.err
    assert "loud" not in refused.err


def test_predictions_go_to_a_file(trained):
    printed = trained("model", "predict", "speech", "voices.csv").out
    answer = trained.ask("model", "predict", "speech", "voices.csv", "--output", "out.csv")
    assert (answer["output"], answer["probabilities"]) == ("out.csv", None)
    assert (trained.folder / "out.csv").read_text() == printed
    assert json.dumps(answer)

"""The verbs that tell other tools: what they print, what they write, and what they refuse."""

import json
import sys

import pytest

FORMS = {
    "prov": ("prov",),
    "provn": ("prov", "--format", "provn"),
    "openlineage": ("openlineage",),
}


@pytest.fixture
def run(trained):
    """The id of the first run in the store of ``trained``."""
    return trained.ask("run", "list")[0]["id"]


def told(shell, form, *words, status=0):
    return shell("export", *FORMS[form], *words, status=status)


def test_prov_json_is_one_document_on_standard_output(trained, run):
    found = json.loads(told(trained, "prov", "--run", run).out)
    assert f"expunge:{run}" in found["activity"]
    assert found["prefix"] == {"expunge": "urn:expunge:"}


def test_prov_n_can_be_asked_for(trained, run):
    out = told(trained, "provn", "--run", run).out
    assert out.startswith("document\n")
    assert out.endswith("endDocument\n")
    assert f"activity(expunge:{run}, " in out


def test_openlineage_is_an_event_a_line_in_the_namespace_that_was_asked_for(trained, run):
    answer = told(trained, "openlineage", "--run", run, "--namespace", "clinic")
    found = [json.loads(line) for line in answer.out.splitlines()]
    kinds = [event["eventType"] for event in found]
    assert kinds == ["START", "START", "COMPLETE", "COMPLETE"]
    assert {event["job"]["namespace"] for event in found} == {"clinic"}
    assert answer.err == ""


@pytest.mark.parametrize(
    ("form", "mark"),
    [("prov", '"expunge:Step"'), ("provn", "'expunge:Step'"), ("openlineage", '"RUNNING"')],
)
def test_steps_are_told_when_asked_for(trained, run, form, mark):
    assert mark not in told(trained, form, "--run", run).out
    steps = trained.ask("run", "show", run)["step"]
    assert told(trained, form, "--run", run, "--steps").out.count(mark) == steps


@pytest.mark.parametrize("form", FORMS)
def test_a_file_gets_what_would_be_printed_and_is_answered_for(trained, run, form):
    training = trained.ask("run", "list")[0]["training"]
    answer = json.loads(
        told(trained, form, "--run", training, "--output", "lineage.txt", "--json").out
    )
    written = (trained.folder / "lineage.txt").read_bytes()
    assert (answer["id"], answer["output"], answer["size"]) == (
        training,
        "lineage.txt",
        len(written),
    )
    assert written.decode() == told(trained, form, "--run", training).out
    shown = told(trained, form, "--run", run, "--output", "other.txt").out
    assert "other.txt" in shown


@pytest.mark.parametrize("form", FORMS)
def test_json_holds_the_text_whole(trained, run, form):
    document = json.loads(told(trained, form, "--run", run, "--json").out)
    assert document["text"] == told(trained, form, "--run", run).out
    assert document["form"] in ("json", "provn", "openlineage")


@pytest.mark.parametrize("form", FORMS)
def test_nobody_is_named(trained, run, form):
    out = told(trained, form, "--run", run, "--steps").out
    assert not [word for word in ('"p3"', '"c3"', "'p3'") if word in out]
    assert str(trained.folder) not in out


@pytest.mark.parametrize("form", FORMS)
def test_an_unknown_run_is_not_found_and_makes_no_file(trained, form):
    missing = told(trained, form, "--run", "run-0123456789", "--output", "new.txt", status=3)
    assert "there is no run run-0123456789" in missing.err
    assert not (trained.folder / "new.txt").exists()
    refused = trained.ask("export", *FORMS[form], "--run", "train-0123456789", status=3)
    assert refused["error"]["code"] == "not_found"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("voices.csv", "voices.csv exists: remove it, or name another file"),
        ("missing/lineage.txt", "missing/lineage.txt cannot be written: No such file or directory"),
        (".", ". exists"),
    ],
)
def test_only_a_new_file_in_a_folder_that_is_there_is_written(trained, run, form, file, said):
    before = (trained.folder / "voices.csv").read_bytes()
    assert said in told(trained, form, "--run", run, "--output", file, status=2).err
    assert (trained.folder / "voices.csv").read_bytes() == before


def test_a_file_that_could_not_be_finished_is_not_left_behind(trained, run, monkeypatch):
    def broken(*_arguments, **_settings):
        yield {"eventType": "START"}
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lineage.export.openlineage.events", broken)
    failed = trained(
        "export", "openlineage", "--run", run, "--output", "new.txt", "--json", status=1
    )
    error = json.loads(failed.out)["error"]
    assert error["code"] == "unavailable"
    assert error["message"] == "no space left on device"
    assert not (trained.folder / "new.txt").exists()


def test_a_missing_package_is_named_with_its_remedy(trained, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "prov.model", None)
    failed = told(trained, "prov", "--run", run, status=1)
    assert failed.err == (
        "error: an export to PROV needs the package prov\nhint: pip install 'expunge[prov]'\n"
    )


def test_a_run_must_be_named(trained):
    assert "Missing option '--run'" in trained("export", "prov", status=2).err

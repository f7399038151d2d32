import os
import sqlite3

import pytest


def test_init_makes_a_store_and_says_so(shell):
    made = shell("init", "--json")
    assert made.json == {"store": str(shell.folder / ".expunge")}
    assert "made a store at .expunge" in made.err
    assert "next: expunge dataset add" in made.err
    assert (shell.folder / ".expunge" / "catalogue.db").is_file()


def test_init_again_changes_nothing(trained):
    before = trained.ask("status")
    assert "made a store" not in trained("init").err
    assert trained.ask("status") == before


@pytest.mark.parametrize(
    "words", [("status",), ("doctor",), ("dataset", "list"), ("show", "run-0")]
)
def test_without_a_store_the_remedy_is_named(shell, words):
    missing = shell.ask(*words, status=3)
    assert missing["error"]["code"] == "not_found"
    assert "expunge init" in missing["error"]["hint"]
    assert not (shell.folder / ".expunge").exists()


def test_a_file_in_place_of_a_store_is_a_usage_error(shell, monkeypatch):
    assert "is a file" in shell("init", "--store", "voices.csv", status=2).err
    monkeypatch.setenv("EXPUNGE_STORE", "voices.csv")
    assert "is not a folder" in shell("init", status=2).err


def test_the_store_is_named_before_or_after_the_verb_or_by_the_environment(shell, monkeypatch):
    place = str(shell.folder / "there")
    shell("--store", place, "init")
    shell("dataset", "--store", place, "add", "voices", "voices.csv")
    assert len(shell.ask("dataset", "list", "--store", place)) == 1
    monkeypatch.setenv("EXPUNGE_STORE", place)
    assert len(shell.ask("dataset", "list")) == 1
    assert shell("dataset", "list", "--store", str(shell.folder / "elsewhere"), status=3)


def test_the_next_verb_is_told_with_the_store_that_was_named(shell):
    made = shell("dataset", "add", "voices", "voices.csv", "--store", "a folder")
    assert "--dataset voices --model NAME --store 'a folder'" in made.err


def test_status_counts_and_names_what_waits(trained, requested, planned):
    status = trained("status", "--json")
    assert status.json["datasets"] == 1
    assert status.json["records"] == 58
    assert status.json["runs"] == {"complete": 2}
    assert status.json["requests"] == {"open": 1}
    assert [plan["id"] for plan in status.json["plans"]] == [planned]
    assert f"next: expunge apply {planned}" in status.err
    trained("apply", planned, "--on", "debug")
    assert trained.ask("status")["plans"] == []


def test_a_store_of_a_newer_schema_is_refused(trained):
    with sqlite3.connect(trained.folder / ".expunge" / "catalogue.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    for words in (("status",), ("init",), ("dataset", "add", "voices", "voices.csv")):
        refused = trained.ask(*words, status=5)
        assert refused["error"]["code"] == "newer_schema"
        assert "pip install -U expunge" in refused["error"]["hint"]


def test_a_catalogue_that_is_none_is_said_to_be_unreadable(trained):
    (trained.folder / ".expunge" / "catalogue.db").write_bytes(b"not a database" * 100)
    answer = trained.ask("status", status=1)
    assert answer["error"]["code"] == "corrupt"
    assert "cannot be read" in answer["error"]["message"]


def test_a_sound_store_is_healthy(trained, planned):
    before = trained.ask("doctor")
    trained("apply", planned, "--on", "debug")
    after = trained.ask("doctor")
    for found in (before, after):
        assert found["healthy"]
        assert found["problems"] == []
        assert (found["missing"], found["damaged"], found["orphaned"]) == ([], [], 0)
    assert before["pragmas"]["secure_delete"] == "1"


def objects(folder):
    return sorted(path for path in (folder / ".expunge" / "objects").glob("??/*") if path.is_file())


def test_a_missing_object_is_named(trained):
    gone = objects(trained.folder)[0]
    gone.unlink()
    found = trained.ask("doctor", status=1)
    digest = gone.parent.name + gone.name
    assert found["missing"] == [digest]
    assert found["problems"] == [f"object {digest} is missing"]


def test_a_damaged_object_is_named(trained):
    hurt = objects(trained.folder)[-1]
    hurt.chmod(0o600)
    hurt.write_bytes(hurt.read_bytes()[:-1] + b"?")
    found = trained("doctor", "--json", status=1).json
    assert found["damaged"] == [hurt.parent.name + hurt.name]
    assert not found["healthy"]
    from lineage import Store

    with Store.open(trained.folder / ".expunge") as store:
        store.objects.put(b"of nobody")
    found = trained("doctor", "--sweep", "--json", status=1).json
    assert (found["orphaned"], found["swept"]) == (1, 0)
    assert "nothing was swept: mend the store first" in found["problems"]


def test_orphans_are_counted_and_no_problem(trained):
    from lineage import Store

    with Store.open(trained.folder / ".expunge") as store:
        store.objects.put(b"of nobody")
    found = trained.ask("doctor")
    assert (found["orphaned"], found["healthy"]) == (1, True)


def test_what_crashed_writers_left_is_swept_when_asked(trained):
    folder = trained.folder / ".expunge" / "objects" / "tmp"
    folder.mkdir(exist_ok=True)
    (folder / "99999999-dead-1").write_bytes(b"half a file")
    found = trained.ask("doctor")
    assert (found["temporaries"], found["swept"]) == (1, 0)
    found = trained.ask("doctor", "--sweep")
    assert (found["temporaries"], found["swept"]) == (0, 1)


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX")
def test_a_key_that_others_can_read_is_a_problem(trained):
    key = next((trained.folder / ".expunge" / "keys").glob("salt-*"))
    key.chmod(0o644)
    (problem,) = trained.ask("doctor", status=1)["problems"]
    assert str(key) in problem
    assert "0644" in problem


def test_a_lost_key_is_a_problem(trained):
    key = next((trained.folder / ".expunge" / "keys").glob("salt-*"))
    key.unlink()
    (problem,) = trained.ask("doctor", status=1)["problems"]
    assert key.name in problem


def test_a_row_that_refers_to_nothing_is_a_problem(trained):
    with sqlite3.connect(trained.folder / ".expunge" / "catalogue.db") as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("UPDATE runs SET training_id = 'train-nowhere'")
    problems = trained.ask("doctor", status=1)["problems"]
    assert any("runs refers to a row of trainings" in problem for problem in problems)


def test_a_package_of_another_distribution_is_a_problem(trained, monkeypatch):
    import storage

    monkeypatch.setattr(storage, "__file__", "/elsewhere/site-packages/storage/__init__.py")
    problems = trained.ask("doctor", status=1)["problems"]
    assert any("/elsewhere/site-packages" in problem for problem in problems)


def test_sqlite_settings_that_are_not_as_they_must_be_are_a_problem(trained, monkeypatch):
    import unlearn.cli.examination as examination

    monkeypatch.setitem(examination.PRAGMAS, "secure_delete", "2")
    assert trained.ask("doctor", status=1)["problems"] == ["SQLite's secure_delete is 1, not 2"]


def test_a_damaged_index_is_a_problem(trained):
    with sqlite3.connect(trained.folder / ".expunge" / "catalogue.db") as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute(
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX ix_parts_dataset_id ON parts (source)' "
            "WHERE name = 'ix_parts_dataset_id'"
        )
    problems = trained.ask("doctor", status=1)["problems"]
    assert any(problem.startswith("the catalogue is damaged: ") for problem in problems)


def test_packages_that_no_distribution_installed_are_a_problem(trained, monkeypatch):
    import unlearn.cli.examination as examination

    monkeypatch.setattr(examination, "DISTRIBUTION", "expunge-of-nobody")
    (problem,) = trained.ask("doctor", status=1)["problems"]
    assert problem == "the distribution 'expunge-of-nobody' is not installed here"


def test_packages_that_hide_the_installed_ones_are_a_problem(trained, monkeypatch, tmp_path):
    import unlearn.cli.examination as examination

    class Installed:
        def __init__(self):
            self.files = [File("storage/__init__.py"), File("numpy/__init__.py")]

    class File(type(tmp_path)):
        def locate(self):
            return tmp_path / "site-packages" / self

    monkeypatch.setattr(examination, "distribution", lambda _name: Installed())
    (problem,) = trained.ask("doctor", status=1)["problems"]
    assert problem.startswith("storage is not imported from")
    assert str(tmp_path / "site-packages") in problem

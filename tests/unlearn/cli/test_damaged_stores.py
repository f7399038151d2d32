"""What the command says of a store that is empty, cut, locked, read-only, or full of marks."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lineage.store import Store

CATALOGUE = Path(".expunge/catalogue.db")
LOOKS = [("status",), ("doctor",), ("doctor", "--sweep"), ("init",), ("dataset", "list")]


def files(folder):
    return {path for path in (folder / ".expunge").rglob("*") if path.is_file()}


@pytest.mark.parametrize("words", LOOKS)
@pytest.mark.parametrize("size", [0, 1, 100, 4096, 20_480])
def test_an_empty_or_cut_catalogue_is_damage_and_nothing_is_destroyed(trained, words, size):
    os.truncate(trained.folder / CATALOGUE, size)
    before = files(trained.folder)
    error = trained.ask(*words, status=1)["error"]
    assert error["code"] == "corrupt"
    assert str(CATALOGUE) in error["message"]
    assert "restore it from a backup" in error["hint"]
    assert files(trained.folder) == before
    assert (trained.folder / CATALOGUE).stat().st_size == size


@pytest.mark.parametrize("words", LOOKS)
def test_keys_and_objects_without_a_catalogue_are_damage_and_no_new_store(trained, words):
    (trained.folder / CATALOGUE).unlink()
    before = files(trained.folder)
    error = trained.ask(*words, status=1)["error"]
    assert error["code"] == "corrupt"
    assert "no catalogue" in error["message"]
    assert "restore" in error["hint"]
    assert files(trained.folder) == before


def test_a_damaged_secret_is_named_before_anybody_who_was_forgotten_is_admitted(
    trained, planned, rows
):
    trained("apply", planned, "--on", "debug")
    key = trained.folder / ".expunge" / "keys" / "store"
    key.write_bytes(bytes([key.read_bytes()[0] ^ 1]) + key.read_bytes()[1:])
    (trained.folder / "more.csv").write_text("clip,who,pitch,tone,sick\nx1,p3,0.5,low,1\n")
    error = trained.ask("dataset", "add", "voices", "more.csv", status=1)["error"]
    assert error["code"] == "corrupt"
    assert "'store'" in error["message"]
    (problem,) = trained.ask("doctor", status=1)["problems"]
    assert "'store'" in problem
    assert "backup" in problem


def test_a_damaged_salt_is_named_before_it_is_used(trained):
    (key,) = (trained.folder / ".expunge" / "keys").glob("salt-*")
    key.write_bytes(key.read_bytes()[:-1] + b"\0" + key.read_bytes()[-1:])
    error = trained.ask("who-saw", "--subject", "p3", status=1)["error"]
    assert key.name in error["message"]


def test_a_salt_of_a_dataset_that_never_came_to_be_is_swept(trained):
    keys = trained.folder / ".expunge" / "keys"
    for name in ("salt-ds-0000000000", ".0123456789abcdef"):
        (keys / name).write_bytes(bytes(32))
        (keys / name).chmod(0o600)
    before = {path.name for path in keys.iterdir()}
    found = trained.ask("doctor")
    assert found["healthy"]
    assert found["temporaries"] == 2
    assert trained.ask("doctor", "--sweep")["swept"] == 2
    assert len(before) - len(list(keys.iterdir())) == 2


@pytest.fixture
def impatient(monkeypatch):
    """Nobody waits a minute for a lock here."""
    from storage.catalogue import engine

    pragmas = tuple(each.replace("60000", "50") for each in engine.PRAGMAS)
    monkeypatch.setattr(engine, "PRAGMAS", pragmas)


def test_a_lock_is_no_damage(trained, impatient):
    other = sqlite3.connect(trained.folder / CATALOGUE)
    other.execute("BEGIN EXCLUSIVE")
    for words in (("status",), ("doctor", "--sweep"), ("request", "add", "--subject", "p3")):
        error = trained.ask(*words, status=1)["error"]
        assert error["code"] == "unavailable"
        assert "is locked" in error["message"]
        assert "backup" not in error["hint"]
    other.rollback()
    other.close()
    trained("status")


@pytest.mark.parametrize(
    ("pragma", "said"), [("max_page_count = 1", "disk is full"), ("query_only = ON", "read-only")]
)
def test_a_full_disk_and_a_read_only_file_are_no_damage(trained, monkeypatch, pragma, said):
    from storage.catalogue import engine

    before = (trained.folder / CATALOGUE).read_bytes()
    monkeypatch.setattr(engine, "PRAGMAS", (*engine.PRAGMAS, f"PRAGMA {pragma}"))
    (trained.folder / "long.csv").write_text("id,text\n" + f"1,{'x' * 99}\n")
    name = "n" * 99_999
    error = trained.ask("dataset", "add", name, "long.csv", status=1)["error"]
    assert error["code"] == "unavailable"
    assert said in error["message"]
    assert "backup" not in error["hint"]
    assert (trained.folder / CATALOGUE).read_bytes() == before


def test_a_file_that_cannot_be_read_is_a_sentence(trained, monkeypatch):
    from lineage.data import version

    def refused(*_arguments):
        raise PermissionError(13, "Permission denied", "/srv/objects/ab")

    monkeypatch.setattr(version, "chunks_of", refused)
    asked = trained("who-saw", "--subject", "p3", status=1)
    assert "error: /srv/objects/ab: Permission denied" in asked.err
    assert "hint: " in asked.err
    assert trained.ask("who-saw", "--subject", "p3", status=1)["error"]["code"] == "unavailable"


def test_a_message_obeys_nobody(shell):
    name = "x\x1b[2Jy\u202ez\nhint: rm -rf"
    shell("init")
    asked = shell("dataset", "show", name, status=3)
    assert "\x1b" not in asked.err
    assert "\u202e" not in asked.err
    assert "\nhint: rm" not in asked.err
    usage = shell("run", "list", f"--{name}", status=2)
    assert "\x1b" not in usage.err


def test_an_interrupted_making_of_a_store_is_made_again(shell):
    script = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from lineage.store import Store\n"
        "at, count, call = int(sys.argv[1]), 0, os.fsync\n"
        "def dies(*given):\n"
        "    global count\n"
        "    count += 1\n"
        "    if count == at: os._exit(9)\n"
        "    return call(*given)\n"
        "os.fsync = dies\n"
        "Store.create(Path('.expunge'))\n"
    )
    for step in range(1, 20):
        died = subprocess.run(
            [sys.executable, "-c", script, str(step)],
            cwd=shell.folder,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        if died.returncode == 0:
            break
        shell("init")
        assert shell.ask("doctor")["healthy"]
        assert {p.name for p in (shell.folder / ".expunge").iterdir()} == {"catalogue.db", "keys"}
        with Store.open(shell.folder / ".expunge") as store:
            assert len(store.keys.get("store")) == 32
        subprocess.run(["rm", "-r", str(shell.folder / ".expunge")], check=True)
    assert step > 3


@pytest.mark.parametrize(("part", "mode"), [(".", 0o755), ("catalogue.db", 0o644)])
def test_a_store_that_others_may_read_is_a_problem_with_its_remedy(trained, part, mode):
    path = trained.folder / ".expunge" / part
    path.chmod(mode)
    (problem,) = trained.ask("doctor", status=1)["problems"]
    assert f"{mode:04o}" in problem
    assert "chmod" in problem


def test_a_store_in_a_folder_that_was_there_is_the_owners_alone(shell):
    folder = shell.folder / "there"
    folder.mkdir(mode=0o755)
    before = os.umask(0)
    try:
        shell("init", "--store", str(folder))
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "catalogue.db").stat().st_mode & 0o777 == 0o600
    assert shell.ask("doctor", "--store", str(folder))["healthy"]

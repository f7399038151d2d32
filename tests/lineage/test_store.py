import os
import sqlite3
import stat
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from lineage.store import Store, default_path
from storage.errors import DamagedStoreError, NotFoundError, SchemaVersionError


def test_a_new_store_is_the_owners_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Store.create(tmp_path / "store").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "store").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "store").iterdir()) == ["catalogue.db", "keys"]


@pytest.mark.parametrize("name", ["plain", "what? 100%20 #1", "a;b&c=d", "ümlaut"])
def test_a_store_lies_where_it_was_asked_to_whatever_the_folder_is_called(
    tmp_path: Path, name: str
) -> None:
    Store.create(tmp_path / name).close()
    assert (tmp_path / name / "catalogue.db").is_file()
    Store.open(tmp_path / name).close()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_making_a_store_again_opens_the_one_that_is_there(tmp_path: Path) -> None:
    with Store.create(tmp_path) as first:
        secret = first.keys.get("store")
    with Store.create(tmp_path) as second:
        assert second.keys.get("store") == secret


def test_opening_no_store_makes_none_and_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no store") as missing:
        Store.open(tmp_path / "store")
    assert "expunge init" in missing.value.hint
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("enter", [Store.open, Store.create])
def test_a_store_that_lost_its_secret_invents_no_other(tmp_path: Path, enter: Any) -> None:
    # Under a new secret no fence would match, and everybody who was erased could be added again.
    Store.create(tmp_path).close()
    (tmp_path / "keys" / "store").unlink()
    with enter(tmp_path) as opened, pytest.raises(NotFoundError, match="'store'"):
        opened.keys.get("store")


def test_a_store_of_a_newer_schema_is_refused(tmp_path: Path) -> None:
    with Store.create(tmp_path) as store, store.catalogue.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = {path: path.stat() for path in tmp_path.rglob("*")}
    with pytest.raises(SchemaVersionError):
        Store.open(tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == {
        path: found.st_mtime_ns for path, found in before.items()
    }


def test_the_place_of_the_store_is_the_variable_or_below_the_working_directory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("EXPUNGE_STORE", raising=False)
    assert default_path() == Path(".expunge")
    monkeypatch.setenv("EXPUNGE_STORE", "/srv/store")
    assert default_path() == Path("/srv/store")


def test_the_clock_is_the_one_that_was_given_and_by_default_utc(tmp_path: Path) -> None:
    noon = datetime(2026, 11, 2, 12, tzinfo=UTC)
    with Store.create(tmp_path, lambda: noon) as store:
        assert store.clock() == noon
    with Store.open(tmp_path) as store:
        assert store.clock().utcoffset() == timedelta(0)


def test_an_older_store_gets_the_digests_of_its_keys_when_it_is_opened(tmp_path: Path) -> None:
    with Store.create(tmp_path) as store:
        secret = store.keys.get("store")
        with store.catalogue.write() as session:
            session.execute(text("DROP TABLE key_digests"))
            session.execute(text("ALTER TABLE evaluations DROP COLUMN steers"))
            session.execute(text("ALTER TABLE runs DROP COLUMN untracked"))
            session.execute(text("UPDATE alembic_version SET version_num = '0009'"))
    (tmp_path / "keys" / ".draft").write_bytes(b"half")
    with Store.open(tmp_path) as store:
        assert store.keys.get("store") == secret
        with store.catalogue.read() as session:
            assert store.keys.recorded(session) == {"store": sha256(secret).hexdigest()}
    (tmp_path / "keys" / "store").write_bytes(bytes([secret[0] ^ 128]) + secret[1:])
    with Store.open(tmp_path) as store, pytest.raises(DamagedStoreError, match="'store'") as found:
        store.keys.get("store")
    assert "backup" in found.value.hint


MAKE = """
import sys
from pathlib import Path
from lineage.store import Store
Store.create(Path(sys.argv[1]))
"""


def test_a_store_that_two_processes_make_at_once_is_one_store(tmp_path: Path) -> None:
    for number in range(3):
        place = tmp_path / str(number)
        command = [sys.executable, "-c", MAKE, str(place)]
        makers = [subprocess.Popen(command) for _ in range(3)]
        assert [maker.wait(60) for maker in makers] == [0, 0, 0]
        assert sorted(path.name for path in place.iterdir()) == ["catalogue.db", "keys"]
        with Store.open(place) as store:
            assert len(store.keys.get("store")) == 32


@pytest.mark.parametrize("enter", [Store.open, Store.create])
def test_an_empty_catalogue_is_refused_and_gets_no_tables(tmp_path: Path, enter: Any) -> None:
    Store.create(tmp_path).close()
    (tmp_path / "catalogue.db").write_bytes(b"")
    with pytest.raises(DamagedStoreError, match="is empty"):
        enter(tmp_path)
    assert (tmp_path / "catalogue.db").read_bytes() == b""


def test_a_database_without_tables_is_no_store(tmp_path: Path) -> None:
    Store.create(tmp_path).close()
    (tmp_path / "catalogue.db").unlink()
    with sqlite3.connect(tmp_path / "catalogue.db") as connection:
        connection.execute("PRAGMA user_version = 1")
    connection.close()
    with pytest.raises(DamagedStoreError, match="is empty"):
        Store.open(tmp_path)

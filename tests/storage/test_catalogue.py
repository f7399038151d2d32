"""The catalogue's file: what is in force on every connection, and what a write leaves behind."""

import sqlite3
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from sqlalchemy import func, inspect, select, text
from sqlalchemy.exc import IntegrityError, StatementError

from storage.catalogue import Catalogue, migrate
from storage.catalogue.tables import Base, Commitment, ForgetSet, Model, new_id
from storage.errors import DamagedStoreError, SchemaVersionError

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)


def model(name: str, **values: object) -> Model:
    return Model(id=new_id("model"), name=name, **{"created_at": NOON, **values})


def names(catalogue: Catalogue) -> list[str]:
    with catalogue.read() as session:
        return list(session.scalars(select(Model.name).order_by(Model.name)))


@pytest.mark.parametrize(
    ("pragma", "value"),
    [
        ("journal_mode", "delete"),
        ("synchronous", 2),  # FULL
        ("secure_delete", 1),
        ("foreign_keys", 1),
        ("busy_timeout", 60_000),
    ],
)
def test_a_pragma_is_in_force_on_readers_and_writers(
    catalogue: Catalogue, pragma: str, value: object
) -> None:
    for session in (catalogue.read, catalogue.write):
        with session() as opened:
            assert opened.execute(text(f"PRAGMA {pragma}")).scalar() == value


def test_every_constraint_has_a_name_that_a_later_migration_can_drop(catalogue: Catalogue) -> None:
    schema = inspect(catalogue.engine)
    for table in Base.metadata.tables:
        assert schema.get_pk_constraint(table)["name"] == f"pk_{table}"
        for constraint in (*schema.get_foreign_keys(table), *schema.get_unique_constraints(table)):
            assert constraint["name"] is not None


def test_migrating_again_changes_no_byte(catalogue: Catalogue, tmp_path: Path) -> None:
    before = (tmp_path / "catalogue.db").read_bytes()
    migrate(catalogue.engine)
    assert (tmp_path / "catalogue.db").read_bytes() == before


def test_a_store_of_a_newer_schema_is_refused_and_untouched(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    with catalogue.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = (tmp_path / "catalogue.db").read_bytes()
    with pytest.raises(SchemaVersionError, match="9999") as refused:
        migrate(catalogue.engine)
    assert "upgrade" in refused.value.hint
    assert refused.value.fields["revision"] == "9999"
    assert (tmp_path / "catalogue.db").read_bytes() == before


@pytest.mark.parametrize("place", [0, 7, 13, 20])
def test_a_damaged_schema_is_named_though_the_driver_cannot_read_what_sqlite_says_of_it(
    catalogue: Catalogue, tmp_path: Path, place: int
) -> None:
    catalogue.close()
    damaged = bytearray((tmp_path / "catalogue.db").read_bytes())
    damaged[damaged.index(b"CREATE TABLE models") + place] = 0xD4
    (tmp_path / "catalogue.db").write_bytes(damaged)
    with pytest.raises(DamagedStoreError, match="is damaged"):
        migrate(catalogue.engine)


def test_what_is_written_in_a_block_lands_together_at_its_end(catalogue: Catalogue) -> None:
    with catalogue.write() as session:
        session.add(model("a"))
        session.flush()
        assert names_in_another_connection(catalogue) == []
        session.add(model("b"))
    assert names(catalogue) == ["a", "b"]


def names_in_another_connection(catalogue: Catalogue) -> list[str]:
    with sqlite3.connect(catalogue.engine.url.database or "") as other:
        found = [name for (name,) in other.execute("SELECT name FROM models")]
    other.close()
    return found


def test_an_error_in_a_block_leaves_nothing_of_it(catalogue: Catalogue) -> None:
    def fails() -> None:
        with catalogue.write() as session:
            session.add(model("a"))
            session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert names(catalogue) == []


CRASH = """
import os, sys
from storage.catalogue import Catalogue
from storage.catalogue.tables import Model
from datetime import UTC, datetime
catalogue = Catalogue(sys.argv[1])
with catalogue.write() as session:
    for number in range(2_000):
        session.add(Model(id=f"model-{number}", name="x" * 500 + str(number),
                          created_at=datetime.now(UTC)))
    session.flush()
    session.connection().exec_driver_sql("PRAGMA cache_spill = 1")
    os._exit(9)
"""


def test_a_process_that_dies_inside_a_write_leaves_nothing(catalogue: Catalogue) -> None:
    with catalogue.write() as session:
        session.add(model("before"))
    catalogue.close()
    died = subprocess.run([sys.executable, "-c", CRASH, str(catalogue.engine.url)], check=False)
    assert died.returncode == 9
    assert names(catalogue) == ["before"]
    with catalogue.read() as session:
        assert session.execute(text("PRAGMA integrity_check")).scalar() == "ok"


COUNT = """
import sys
from datetime import UTC, datetime
from sqlalchemy import func, select
from storage.catalogue import Catalogue
from storage.catalogue.tables import Commitment
catalogue = Catalogue(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with catalogue.write() as session:
        last = session.scalar(select(func.max(Commitment.sequence))) or 0
        now = datetime.now(UTC)
        session.add(Commitment(kind="count", row_id=str(last), digest="", created_at=now))
"""


def test_concurrent_writers_queue_and_each_sees_the_one_before(catalogue: Catalogue) -> None:
    command = [sys.executable, "-c", COUNT, str(catalogue.engine.url), "12"]
    writers = [subprocess.Popen(command) for _ in range(2)]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    with catalogue.read() as session:
        assert session.scalar(select(func.count(Commitment.sequence))) == 24
        # Each wrote down the number before its own, so nobody read a state that another replaced.
        seen = session.scalars(select(Commitment.row_id).order_by(Commitment.sequence))
        assert list(seen) == [str(number) for number in range(24)]


def test_a_reference_to_nothing_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(IntegrityError, match="FOREIGN KEY"), catalogue.write() as session:
        session.add(ForgetSet(request_id="req-none", dataset_id="ds-none", positions=b""))


def test_a_stored_time_comes_back_aware_and_in_utc(catalogue: Catalogue) -> None:
    east = timezone(timedelta(hours=9))
    with catalogue.write() as session:
        session.add(model("a", created_at=NOON.astimezone(east), retired_at=None))
    with catalogue.read() as session:
        found = session.scalars(select(Model)).one()
        assert (found.created_at, found.retired_at) == (NOON, None)
        assert found.created_at.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(catalogue: Catalogue) -> None:
    with pytest.raises(StatementError, match="zone"), catalogue.write() as session:
        session.add(model("a", created_at=datetime(2026, 11, 2)))


def test_deleted_text_is_nowhere_in_the_file(catalogue: Catalogue, tmp_path: Path) -> None:
    secret = "nobody-shall-read-this" * 20
    with catalogue.write() as session:
        session.add(model(secret))
    assert secret.encode() in (tmp_path / "catalogue.db").read_bytes()
    with catalogue.write() as session:
        session.delete(session.scalars(select(Model)).one())
    catalogue.close()
    assert b"nobody-shall" not in (tmp_path / "catalogue.db").read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["catalogue.db"]


def test_ids_are_typed_and_not_repeated() -> None:
    made = {new_id("plan") for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(each.startswith("plan-") and len(each) == 15 for each in made)

"""The write lock: held from a block's first line, and never taken twice by one thread."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from storage.catalogue import Catalogue
from storage.errors import UnavailableError


def test_a_write_holds_the_lock_before_its_first_statement(
    catalogue: Catalogue, tmp_path: Path
) -> None:
    other = sqlite3.connect(tmp_path / "catalogue.db", timeout=0)
    with catalogue.write(), pytest.raises(sqlite3.OperationalError, match="locked"):
        other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.rollback()
    other.close()


def test_a_write_inside_a_write_is_refused_and_does_not_wait_for_itself(
    catalogue: Catalogue,
) -> None:
    with catalogue.write(), pytest.raises(RuntimeError, match="inside"), catalogue.write():
        pass
    with catalogue.write() as session:
        session.execute(text("SELECT 1"))


def test_a_lock_that_is_held_for_too_long_is_named_and_is_no_damage(
    catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from storage.catalogue import engine

    monkeypatch.setattr(engine, "PRAGMAS", ("PRAGMA busy_timeout = 10",))
    catalogue.close()
    other = sqlite3.connect(tmp_path / "catalogue.db")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="is locked") as refused, catalogue.write():
        pass
    assert "backup" not in refused.value.hint
    with catalogue.read() as session:
        assert session.scalar(text("SELECT 1")) == 1
    other.rollback()
    other.close()


def test_no_message_shows_the_parameters_of_a_statement(catalogue: Catalogue) -> None:
    with catalogue.read() as session, pytest.raises(Exception, match="no such table") as failed:
        session.execute(text("SELECT * FROM nowhere WHERE id = :id"), {"id": "patient-7"})
    assert "patient-7" not in str(failed.value)

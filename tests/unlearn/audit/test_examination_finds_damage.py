"""The examination of a store: what the ledger, an object or another row states is compared."""

import os
import random
import sqlite3
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from lineage.store import CATALOGUE, Store
from storage.errors import StorageError
from tests.soak_counts import COUNTED
from unlearn.cli.examination import examine

STATED = {
    "checkpoints": "run_id step edition object digest size consumed",
    "commitments": "sequence kind row_id digest",
    "dataset_versions": "rows live deleted root digest",
    "chunks": "part_id dataset_id first_position rows manifest data",
    "parts": "first_position rows",
    "environments": "digest fingerprint",
    "fits": "object digest",
    "holds": "artefact_id reason",
    "key_digests": "name digest",
    "model_members": "checkpoint_id",
    "model_versions": "aggregation digest",
    "plans": "body digest",
    "policies": "body",
    "programs": "source files",
    "publications": "version_id recipient",
    "recording_files": "object visits",
    "requests": "identity state",
    "run_inputs": "alias version_id",
    "runs": "program_id first_step specification",
    "suppressions": "kind fingerprint request_id",
    "tasks": "result state",
    "verifications": "plan_id claim verdict evidence",
}
"""The columns that something else states: table → columns."""


UNMISSED = {"commitments", "fits", "recording_files"}
"""Tables whose last rows nothing else names."""


def problems(path: Path) -> tuple[str, ...]:
    """What the examination finds, or the sentence by which the store is refused."""
    try:
        with Store.open(path) as store:
            return examine(store, sweep=False).problems
    except StorageError as error:
        return (error.message,)


def test_a_store_that_lived_is_healthy(lived: Path) -> None:
    assert problems(lived) == ()


def changed(value: Any) -> Any:
    """Another value of the same type, as near as possible."""
    match value:
        case None:
            return "2026-11-02 09:00:00.000000"
        case int():
            return value + 1
        case bytes():
            return value[:-1] + bytes([value[-1] ^ 1])
        case str():
            middle = next((n for n, c in enumerate(value) if c.isalnum() and n > 5), 0)
            return value[:middle] + chr(ord(value[middle]) ^ 1) + value[middle + 1 :]
    raise AssertionError(value)


@pytest.mark.parametrize(
    ("table", "column"), [(table, each) for table, all_ in STATED.items() for each in all_.split()]
)
def test_a_changed_value_that_something_else_states_is_found(
    lived: Path, table: str, column: str
) -> None:
    with sqlite3.connect(lived / CATALOGUE) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        present = "purged_at IS NULL" if table in ("checkpoints", "fits") else "true"
        query = f"SELECT rowid, {column} FROM {table} WHERE {present} ORDER BY rowid DESC"
        found = connection.execute(query).fetchall()
        row, value = next((row for row in found if row[1]), found[0])
        update = f"UPDATE {table} SET {column} = ? WHERE rowid = ?"
        connection.execute(update, (changed(value), row))
    connection.close()
    assert problems(lived) != ()


@pytest.mark.parametrize("table", sorted(STATED.keys() - UNMISSED))
def test_a_row_that_is_gone_is_found(lived: Path, table: str) -> None:
    with sqlite3.connect(lived / CATALOGUE) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        last = f"SELECT rowid FROM {table} ORDER BY rowid LIMIT 1"
        connection.execute(f"DELETE FROM {table} WHERE rowid = ({last})")
    connection.close()
    assert problems(lived) != ()


@pytest.mark.parametrize(
    ("state", "lifted_at"), [("done", "'2026-11-02 09:00:00'"), ("cancelled", "NULL")]
)
def test_a_fence_that_does_not_fit_its_request_is_found(
    lived: Path, state: str, lifted_at: str
) -> None:
    with sqlite3.connect(lived / CATALOGUE) as connection:
        mine = f"SELECT id FROM requests WHERE state = '{state}'"
        connection.execute(
            f"UPDATE suppressions SET lifted_at = {lifted_at} WHERE request_id IN ({mine})"
        )
    connection.close()
    assert any("its fences are not" in problem for problem in problems(lived))


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE checkpoints SET object = replace(object, 'a', 'b')",
        "DELETE FROM chunks",
        "DELETE FROM key_digests WHERE name != 'store'",
    ],
)
def test_nothing_is_swept_by_a_catalogue_that_is_not_sound(lived: Path, change: str) -> None:
    with sqlite3.connect(lived / CATALOGUE) as connection:
        connection.execute(change)
    connection.close()
    before = {each for each in lived.rglob("*") if each.is_file()}
    with Store.open(lived) as store:
        found = examine(store, sweep=True)
    assert found.swept == 0
    assert "nothing was swept: mend the store first" in found.problems
    assert {each for each in lived.rglob("*") if each.is_file()} == before


def test_every_byte_of_a_secret_counts(lived: Path) -> None:
    for key in sorted((lived / "keys").iterdir()):
        whole = key.read_bytes()
        for place in range(len(whole)):
            key.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
            with Store.open(lived) as store:
                with store.catalogue.read() as session:  # what doctor says of keys
                    (said,) = store.keys.problems(session)
                assert f"{key.name!r} is damaged" in said
                with pytest.raises(StorageError, match=key.name):
                    store.keys.get(key.name)
        for damaged in (b"", whole[:-1], whole + b"\0"):
            key.write_bytes(damaged)
            with Store.open(lived) as store, pytest.raises(StorageError, match=key.name):
                store.keys.get(key.name)
        key.write_bytes(whole)
    assert problems(lived) == ()


PAGE = 4_096


Values = dict[str, list[tuple[object, ...]]]


def stated(path: Path) -> Values | None:
    """The values of the catalogue that something else states; None where they cannot be read."""
    connection = sqlite3.connect(path / CATALOGUE)
    connection.text_factory = lambda text: text.decode(errors="backslashreplace")
    try:
        return {
            table: list(connection.execute(f"SELECT {columns.replace(' ', ', ')} FROM {table}"))
            for table, columns in STATED.items()
        }
    except sqlite3.DatabaseError:
        return None
    finally:
        connection.close()


def damaged(lived: Path, before: Values, original: bytes, place: int, bit: int) -> None:
    """Flip a bit of the catalogue: the examination finds it, or nothing that is stated changed."""
    hurt = bytearray(original)
    hurt[place] ^= 1 << bit
    (lived / CATALOGUE).write_bytes(hurt)
    if not problems(lived):
        assert stated(lived) == before, (place, bit)


def cut(lived: Path, original: bytes, size: int) -> None:
    (lived / CATALOGUE).write_bytes(original[:size])
    assert problems(lived), size


def test_a_page_that_is_cut_off_is_found(lived: Path) -> None:
    original = (lived / CATALOGUE).read_bytes()
    pages = len(original) // PAGE
    for page in (0, 1, 2, pages // 2, pages - 2, pages - 1):
        cut(lived, original, page * PAGE)
        cut(lived, original, page * PAGE + 100)


def test_a_flipped_bit_of_the_catalogue_is_found_or_harmless(lived: Path) -> None:
    original, before = (lived / CATALOGUE).read_bytes(), stated(lived)
    assert before is not None
    drawn = random.Random(0)
    for place in range(0, len(original), len(original) // 40):
        damaged(lived, before, original, min(place + drawn.randrange(PAGE), len(original) - 1), 0)


@pytest.mark.soak
def test_every_page_of_the_catalogue_is_found_cut_or_flipped(lived: Path) -> None:
    original, before = (lived / CATALOGUE).read_bytes(), stated(lived)
    assert before is not None
    for size in range(0, len(original), PAGE):
        cut(lived, original, size)
    until = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0")) / 10
    drawn = random.Random(int(os.environ.get("SEED", "0")))
    for _ in count():
        for page in range(0, len(original), PAGE):
            damaged(lived, before, original, page + drawn.randrange(PAGE), drawn.randrange(8))
            COUNTED["damage"] += 1
        if time.monotonic() > until:
            return

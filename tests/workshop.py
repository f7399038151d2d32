"""A bench to train at: people with records, and the program of ``tally.py`` in its own folder."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import select, text

from lineage.data.dataset import add
from lineage.data.version import Version, open_version
from lineage.store import Store
from lineage.training.ensemble import Recipe, prepare, train
from lineage.training.program import Program, load_program
from lineage.training.recording import open_recording
from storage import manifests, merkle
from storage.catalogue import tables

SALT = bytes(range(32))
RECIPE = Recipe(shards=2, slices=2, epochs=3, batch_size=8, checkpoint_every=6)
RECORDED: dict[str, Any] = {"shards": 1, "slices": 1, "schedule": "recorded"}
"""What makes of the recipe one whose order the program draws."""

PEOPLE = 24


class Clock:
    """Time that passes a second whenever somebody asks for it."""

    def __init__(self, days: int = 0) -> None:
        self.now = datetime(2026, 11, 2, 9, tzinfo=UTC) + timedelta(days=days)

    def __call__(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now


def people(count: int = PEOPLE, each: int = 4) -> list[dict[str, Any]]:
    """``each`` records of ``count`` people: ids ``record-0007``, people ``person-01``."""
    return [
        {"id": f"record-{row:04d}", "person": f"person-{row % count:02d}", "x": row / 7 - 3}
        for row in range(count * each)
    ]


def written(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """The rows as a CSV file at a path."""
    rows = list(rows)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


class Bench:
    """Registers people, trains on them, and reads what the program noted.

    ``root`` is the program's folder. Files, log and trap lie under ``folder``; whoever makes a
    bench sets ``TALLY_LOG`` and ``TALLY_TRAP`` to the latter two.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.folder = folder
        self.log = folder / "log"
        self.trap = folder / "trap"

    @property
    def program(self) -> Program:
        """The program, imported as a command would."""
        return load_program("tally.py:train", self.root)

    def register(
        self, store: Store, name: str = "people", rows: Iterable[Mapping[str, Any]] = people()
    ) -> Version:
        """Add rows to a dataset under a salt that spreads 24 people evenly enough."""
        return add(
            store,
            name,
            written(self.folder / f"{name}.csv", rows),
            id_columns=("id",),
            subject_columns=("person",),
            text_columns=("id",),
            namespace="people",
            salt=SALT,
        )

    def prepare(self, store: Store, model: str = "m", **recipe: Any) -> str:
        """Write a training down; returns its id."""
        data = recipe.get("config", {}).get("data", "people")
        return prepare(store, self.program, {data: data}, model, replace(RECIPE, **recipe))

    def train(self, store: Store, model: str = "m", **recipe: Any) -> tables.ModelVersion:
        """Train a version of a model on the people."""
        data = recipe.get("config", {}).get("data", "people")
        return train(store, self.program, {data: data}, model, replace(RECIPE, **recipe))

    def spring(self, step: int, way: str) -> None:
        """End the program at a step, once: error, interrupt, exit or kill; or let it wait."""
        self.trap.write_text(f"{step} {way}")

    def consumed(self, kind: str = "batch") -> list[tuple[int, list[str]]]:
        """The step and the record ids of everything the program was given, in order."""
        if not self.log.exists():
            return []
        entries = map(json.loads, self.log.read_text().splitlines())
        return [(entry["step"], entry["ids"]) for entry in entries if entry["kind"] == kind]

    def forget_the_log(self) -> None:
        """Start the notes anew."""
        self.log.unlink(missing_ok=True)


def rows_of(store: Store, table: type[Any], **where: Any) -> list[Any]:
    """All rows of a table with these values, in the order of their primary keys."""
    with store.catalogue.read() as session:
        query = select(table).filter_by(**where).order_by(*table.__mapper__.primary_key)
        return list(session.scalars(query))


def assert_consistent(store: Store) -> None:
    """Every row has its objects, keys and commitment; every number agrees with what it counts."""
    with store.catalogue.read() as session:
        assert session.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    assert {len(store.keys.get(path.name)) for path in store.keys.root.glob("[!.]*")} == {32}
    for version in rows_of(store, tables.DatasetVersion):
        opened = open_version(store, version.id)
        leaves = manifests.read_commitments(store.objects, opened.chunks)[: version.rows]
        if len(leaves) == opened.chunks[-1].first_position + opened.chunks[-1].rows:
            assert merkle.root(leaves).hex() == version.root
        assert opened.salt
    committed = {each.row_id for each in rows_of(store, tables.Commitment)}
    for chunk in rows_of(store, tables.Chunk):
        assert store.objects.verify(chunk.manifest)
        assert store.objects.verify(chunk.data)
    for recording in rows_of(store, tables.Recording):
        files = rows_of(store, tables.RecordingFile, recording_id=recording.id)
        assert all(store.objects.verify(file.object) for file in files)
        visits = sum(file.visits for file in files if file.kind in ("log", "visits"))
        assert open_recording(store, recording.id).batches.size.sum() == visits
    for checkpoint in rows_of(store, tables.Checkpoint):
        assert len(rows_of(store, tables.Segment, checkpoint_id=checkpoint.id)) == 1
        assert checkpoint.purged_at is not None or store.objects.verify(checkpoint.object)
        assert checkpoint.id in committed
    for table in (tables.DatasetVersion, tables.Run, tables.ModelVersion, tables.Request):
        assert {each.id for each in rows_of(store, table)} <= committed

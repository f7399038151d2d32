"""Training versions again from scratch without some rows, in a second store."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import select

from lineage.data.dataset import append
from lineage.data.version import open_version
from lineage.store import Store
from lineage.training.entries import add_run, record_program
from lineage.training.execute import execute
from lineage.training.specification import RunSpec
from storage import manifests
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.rows import Rows

AGGREGATE = 9_000
"""Row numbers below this are rows as given; an aggregate's rows count on from its multiples."""


class Scratch:
    """The runs behind some model versions, each executed once, as far as any of them needs."""

    def __init__(self, lived: Any, gone: set[int], folder: Path) -> None:
        self.lived, self.gone = lived, gone
        self.store = Store.create(folder)
        self.needed: dict[str, int] = {}
        self.inputs: dict[str, str] = {}
        self.made: dict[str, str] = {}
        self.datasets: dict[str, str] = {}

    def visits(self, versions: Iterable[str]) -> int:
        """Train the members of these versions; how many rows their programs were handed."""
        members = self.lived.sql("SELECT version_id, checkpoint_id FROM model_members")
        wanted = set(versions)
        for version, checkpoint in members:
            if version in wanted:
                self._need(checkpoint)
        self.lived.take()
        for run in sorted(self.needed, key=self._age):
            self._execute(run)
        return sum(len(rows) for kind, _, rows in self.lived.take() if kind == "batch")

    def _age(self, run: str) -> int:
        return int(self.lived.sql(f"SELECT rowid FROM runs WHERE id = '{run}'")[0][0])

    def _need(self, checkpoint: str) -> None:
        """Go back to the runs that were asked for; the newest replay knows what is left to read."""
        run, step = self._made_by(checkpoint)
        origin = self._origin(run)
        self.needed[origin] = max(step, self.needed.get(origin, 0))
        if run != origin:
            self.inputs.setdefault(origin, run)
        for source in (self._run(run).start_id, *self._models(run).values()):
            if source is not None:
                self._need(source)

    def _made_by(self, checkpoint: str) -> tuple[str, int]:
        query = f"SELECT run_id, step FROM checkpoints WHERE id = '{checkpoint}'"
        ((run, step),) = self.lived.sql(query)
        return run, step

    def _origin(self, run: str) -> str:
        row = self._run(run)
        return run if row.replay_of is None else self._origin(row.replay_of)

    def _run(self, run: str) -> tables.Run:
        with self.lived.store.catalogue.read() as session:
            return session.get_one(tables.Run, run)

    def _models(self, run: str) -> dict[tuple[str, int], str]:
        """(alias, shard) → checkpoint of each model that a run was given."""
        query = f"SELECT alias, shard, checkpoint_id FROM run_models WHERE run_id = '{run}'"
        return {(alias, shard): made for alias, shard, made in self.lived.sql(query)}

    def _execute(self, run: str) -> None:
        row = self._run(run)
        spec = RunSpec.model_validate(row.specification)
        with self.lived.store.catalogue.read() as session:
            left = tables.RunInput.run_id == self.inputs.get(run, run)
            given = session.scalars(select(tables.RunInput).where(left))
            inputs = {each.alias: each.version_id for each in given}
        versions = {alias: self._dataset(version) for alias, version in inputs.items()}
        with self.store.catalogue.write() as session:
            program = record_program(session, self.store, self.lived.program.source)
            start = None if row.start_id is None else self._start(row.start_id)
            given: dict[str, dict[int, str]] = {}
            for (alias, shard), checkpoint in self._models(run).items():
                given.setdefault(alias, {})[shard] = self._start(checkpoint)
            added = add_run(
                session, self.store, spec, program, versions, start_id=start, given=given
            )
        execute(self.store, added.id, until=self.needed[run])
        self.made[run] = added.id

    def _start(self, checkpoint: str) -> str:
        """Of a checkpoint of the first store, the one that was made here in its place."""
        run, step = self._made_by(checkpoint)
        with self.store.catalogue.read() as session:
            found = select(tables.Checkpoint.id).where(
                tables.Checkpoint.run_id == self.made[self._origin(run)],
                tables.Checkpoint.step == step,
            )
            return session.scalars(found).one()

    def _dataset(self, version_id: str) -> str:
        """The rows of a version that are not gone, as a dataset of their own, under its salt."""
        if version_id not in self.datasets:
            version = open_version(self.lived.store, version_id)
            positions = version.present.positions
            numbers = version.column("id")[positions] % AGGREGATE
            kept = positions[[number not in self.gone for number in numbers]]
            identified = manifests.read_identified(version.store.objects, version.chunks, kept)
            dataset = tables.Dataset(
                id=new_id("ds"),
                name=version_id,
                namespace=version.dataset.namespace,
                columns=version.dataset.columns,
                id_columns=[],
                subject_columns=[],
                created_at=self.store.clock(),
            )
            rows = [Rows(each.batch, each.records, each.subjects) for each in identified]
            made = append(self.store, dataset, rows, source="rows", salt=version.salt)
            self.datasets[version_id] = made.id
        return self.datasets[version_id]

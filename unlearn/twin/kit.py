"""What a twin is given: retained rows, specifications and the schedule salt. Nothing else.

The forgotten rows are not in it, so the twin cannot need them, not even their positions.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.data.mapping import maker
from lineage.data.retained import remade
from lineage.data.version import Version, contains, open_version
from lineage.store import Store
from lineage.training.given import given_to
from lineage.training.recording import schedule_of
from lineage.training.specification import RunSpec
from storage import manifests
from storage.catalogue import tables
from storage.intake import Column
from storage.rows import rows_table
from unlearn.errors import InconclusiveError

RESULT = "result.json"
"""The file in which a twin's process leaves its digests, at its end."""

ORDER = pa.schema([("step", pa.int64()), ("key", pa.uint64())])


TwinModels = dict[str, dict[int, tuple[str, int]]]
"""Models by alias: the (run, step) of each shard's member."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TwinDataset(_Frozen):
    """A dataset to register again: from a file of retained rows, or by a transform of another."""

    kind: Literal["dataset"] = "dataset"
    key: str
    namespace: str
    columns: tuple[Column, ...]
    salt: str
    file: str | None
    made_by: "TwinTransform | None" = None


class TwinTransform(_Frozen):
    """A transform to execute again over other datasets of the kit, with models of the kit."""

    ref: str
    root: str
    inputs: tuple[str, ...]
    given: TwinModels


class TwinRun(_Frozen):
    """A run to execute from scratch, or from a checkpoint of another run of the kit.

    ``given`` are the models that it reads. ``order`` is a file of (step, key) pairs, where the run
    follows a recorded order.
    """

    kind: Literal["run"] = "run"
    key: str
    ref: str
    root: str
    files: dict[str, str]
    specification: RunSpec
    inputs: dict[str, str]
    start: tuple[str, int] | None
    given: TwinModels
    until: int
    order: str | None = None


class Kit(_Frozen):
    """Datasets and runs, each after what it needs; versions name (run, step) of each member.

    Members that were ``left_out`` of a version are trained too: no record may reach them.
    """

    items: tuple[Annotated[TwinDataset | TwinRun, Field(discriminator="kind")], ...]
    versions: dict[str, tuple[tuple[str, int], ...]]
    left_out: dict[str, tuple[tuple[str, int], ...]]


def pack(
    store: Store,
    gone: Positions,
    pending: Positions,
    made: Iterable[Mapping[str, Any]],
    folder: Path,
    tainted: Collection[str],
) -> Kit:
    """Write the retained rows under ``folder`` and describe how to train from them.

    ``made`` gives, per version, ``replaces`` and the checkpoint of each shard in ``members``.
    ``gone`` is forgotten, and ``tainted`` are the checkpoints that descend from it; ``pending`` is
    what other open requests ask to forget.

    Raises:
        InconclusiveError: rows that the versions were trained on have been erased since, or are
            being forgotten by another request.
    """
    packer = _Packer(store, gone, pending, folder, tainted)
    versions, left_out = {}, {}
    for version in made:
        name = version["replaces"]
        versions[name] = packer.members(version["members"])
        left_out[name] = packer.members(version.get("left_out", {}))
    return Kit(items=tuple(packer.items.values()), versions=versions, left_out=left_out)


class _Packer:
    """Collects runs and datasets, each after what it needs."""

    def __init__(
        self,
        store: Store,
        gone: Positions,
        pending: Positions,
        folder: Path,
        tainted: Collection[str],
    ) -> None:
        self.store = store
        self.gone = gone
        self.pending = pending
        self.folder = folder
        self.tainted = tainted
        self.items: dict[str, TwinDataset | TwinRun] = {}

    def members(self, checkpoints: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
        """The runs that make the members of a version (shard → checkpoint), in shard order."""
        return tuple(self.member(checkpoints[shard]) for shard in sorted(checkpoints, key=int))

    def member(self, checkpoint_id: str) -> tuple[str, int]:
        """The run whose counterfactual makes this checkpoint, and the step it makes it at."""
        with self.store.catalogue.read() as session:
            checkpoint = session.get_one(tables.Checkpoint, checkpoint_id)
            run = _origin(session, checkpoint.run_id)
            if session.get(tables.ObservedRun, run.id) is not None:
                raise InconclusiveError(
                    f"run {run.id} was only observed, so nobody but its owner can train a twin",
                    hint="drive the loop from a program to have twins",
                )
            program = session.get_one(tables.Program, run.program_id)
            given = session.scalars(select(tables.RunInput).where(tables.RunInput.run_id == run.id))
            versions = {each.alias: each.version_id for each in given}
            models = given_to(session, run.id)
        start = None if run.start_id is None else self.member(run.start_id)
        known = self.items.get(run.id)
        assert known is None or known.kind == "run"
        self.items[run.id] = TwinRun(
            key=run.id,
            ref=program.ref,
            root=program.root,
            files=program.files,
            specification=RunSpec.model_validate(run.specification),
            inputs={alias: self._dataset(version) for alias, version in versions.items()},
            start=start,
            given=self._models(models),
            until=max(checkpoint.step, 0 if known is None else known.until),
            order=known.order if known is not None else self._order(run, versions),
        )
        return run.id, checkpoint.step

    def _models(self, models: Mapping[str, Mapping[int, str]]) -> TwinModels:
        return {
            alias: {shard: self.member(each) for shard, each in members.items()}
            for alias, members in models.items()
        }

    def _order(self, run: tables.Run, versions: Mapping[str, str]) -> str | None:
        """What is left of a recorded order, by the keys of the records that are still there.

        Rows that a transform makes anew are not: no step was ever drawn for them.
        """
        spec = RunSpec.model_validate(run.specification)
        if spec.train is None or spec.schedule.kind == "stable/1":
            return None
        version = open_version(self.store, versions[spec.train])
        schedule = schedule_of(self.store, run.id, spec, version.salt)
        left = self._left(version)
        records = version.present.records.take(contains(left, version.present.positions))
        name = f"{run.id}.parquet"
        with pq.ParquetWriter(self.folder / name, ORDER) as writer:
            for epoch in schedule.epochs(records):
                steps = np.repeat(epoch.steps, np.diff(epoch.offsets))
                keys = records.keys[epoch.order]
                writer.write_table(pa.table([steps, keys], ORDER))
        return name

    def _left(self, version: Version) -> BitMap:
        """What is left of a version; nothing, where another model has to make all of it."""
        with self.store.catalogue.read() as session:
            if any(self._replaced(session, each) for each in _given(session, version.row)):
                return BitMap()
            return remade(session, self.store, version.row, self.gone)

    def _replaced(self, session: Session, checkpoint_id: str) -> bool:
        checkpoint = session.get_one(tables.Checkpoint, checkpoint_id)
        return checkpoint_id in self.tainted or checkpoint.purged_at is not None

    def _dataset(self, version_id: str) -> str:
        if version_id not in self.items:
            version = open_version(self.store, version_id)
            made_by = self._made_by(version)
            self.items[version_id] = TwinDataset(
                key=version_id,
                namespace=version.dataset.namespace,
                columns=self._columns(version),
                salt=version.salt.hex(),
                file=None if made_by else self._export(version),
                made_by=made_by,
            )
        return version_id

    def _made_by(self, version: Version) -> TwinTransform | None:
        with self.store.catalogue.read() as session:
            made = maker(session, version.row)
        if made is None:
            return None
        inputs = tuple(self._dataset(each.version_id) for each in made.inputs)
        given = self._models(made.given)
        return TwinTransform(ref=made.ref, root=made.root, inputs=inputs, given=given)

    def _export(self, version: Version) -> str:
        """Write the retained rows by descending key: at other positions, in another file."""
        kept = self._retained(version)
        positions = version.present.positions[kept]
        self._complete(version, positions)
        order = np.argsort(version.present.records.keys[kept])[::-1]
        rows = manifests.read_identified(self.store.objects, version.chunks, positions)
        table = rows_table([manifests.no_rows(version.columns), *rows])
        name = f"{version.id}.parquet"
        pq.write_table(table.take(order), self.folder / name)
        return name

    def _columns(self, version: Version) -> tuple[Column, ...]:
        """The declared columns, without the labels that no retained row has.

        What a group or aggregate transform makes of the retained rows may have any label, and so
        may what another model makes.
        """
        with self.store.catalogue.read() as session:
            if _mixed(session, version.row):
                return version.columns
        positions = version.present.positions[self._retained(version)]
        return tuple(
            column.keeping(set(version.column(column.name)[positions].tolist()))
            if column.categories
            else column
            for column in version.columns
        )

    def _retained(self, version: Version) -> np.ndarray:
        """Which of the present rows are not forgotten: (n,)."""
        return ~contains(self.gone.get(version.dataset.id, BitMap()), version.present.positions)

    def _complete(self, version: Version, positions: np.ndarray) -> None:
        gone = version.deleted | self.gone.get(version.dataset.id, BitMap())
        gone.remove_range(version.row.rows, 2**32)
        if len(positions) != version.row.rows - len(gone):
            raise InconclusiveError(
                "rows that these models were trained on have been erased since",
                hint="verify the plan that erased them: it covers the models of today",
            )
        barred = self.pending.get(version.dataset.id, BitMap()) - version.deleted
        barred.remove_range(version.row.rows, 2**32)
        if barred:
            raise InconclusiveError(
                "other rows that these models were trained on are being forgotten",
                hint="apply that request's plan, and verify it",
            )


def _origin(session: Session, run_id: str) -> tables.Run:
    """The run that a chain of replays goes back to: its specification is the counterfactual's."""
    run = session.get_one(tables.Run, run_id)
    while run.replay_of is not None:
        run = session.get_one(tables.Run, run.replay_of)
    return run


def _mixed(session: Session, version: tables.DatasetVersion) -> bool:
    """Whether rows of a version, or rows that they were made from, depend on several others."""
    made = maker(session, version)
    if made is None:
        return False
    given = (session.get_one(tables.DatasetVersion, each.version_id) for each in made.inputs)
    return (
        made.scope != "record" or bool(made.models) or any(_mixed(session, each) for each in given)
    )


def _given(session: Session, version: tables.DatasetVersion) -> Iterator[str]:
    """The checkpoints that a version, or what it was made of, was made with."""
    made = maker(session, version)
    if made is not None:
        yield from (each.checkpoint_id for each in made.models)
        for each in made.input_ids:
            yield from _given(session, session.get_one(tables.DatasetVersion, each))

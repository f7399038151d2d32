"""What a twin is given: retained rows, specifications and the schedule salt. Nothing else.

The forgotten rows are not in it, so the twin cannot need them, not even their positions.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
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
from lineage.data.mapping import maker, mixed, models_behind
from lineage.data.retained import last_execution, remade, taken_out
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
from unlearn.twin.left_out import LeftOut

RESULT = "result.json"
"""The file in which a twin's process leaves its digests, at its end."""

REFUSAL = "refusal.txt"
"""The file in which a twin's process leaves one sentence instead, where it cannot train."""

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
    """A transform to execute again over other datasets of the kit, with models of the kit.

    Rows with the keys ``without`` are then taken out: the run was not given them either.
    """

    ref: str
    root: str
    source: str
    inputs: tuple[str, ...]
    given: TwinModels
    without: tuple[int, ...] = ()


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
    left_out: LeftOut,
    made: Iterable[Mapping[str, Any]],
    folder: Path,
    tainted: Collection[str],
) -> Kit:
    """Write the retained rows under ``folder`` and describe how to train from them.

    ``made`` gives, per version, ``replaces`` and the checkpoint of each shard in ``members``.
    ``left_out`` says which rows are none of a run's, and ``tainted`` are the checkpoints that
    descend from the forgotten.

    Raises:
        InconclusiveError: rows that the versions were trained on have been erased since.
    """
    packer = _Packer(store, left_out, folder, tainted)
    versions, members_out = {}, {}
    for version in made:
        name = version["replaces"]
        versions[name] = packer.members(version["members"])
        members_out[name] = packer.members(version.get("left_out", {}))
    return Kit(items=tuple(packer.items.values()), versions=versions, left_out=members_out)


@dataclass(frozen=True)
class _Cut:
    """Rows that are left out (dataset id → positions), and a name for what is made without them."""

    number: int
    gone: Positions

    def name(self, thing: str) -> str:
        return f"{thing}-{self.number}" if self.number else thing


class _Packer:
    """Collects runs and datasets, each after what it needs."""

    def __init__(
        self, store: Store, left_out: LeftOut, folder: Path, tainted: Collection[str]
    ) -> None:
        self.store = store
        self.left_out = left_out
        self.folder = folder
        self.tainted = tainted
        self.cuts: list[_Cut] = []
        self.items: dict[str, TwinDataset | TwinRun] = {}

    def members(self, checkpoints: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
        """The runs that make the members of a version (shard → checkpoint), in shard order."""
        return tuple(self.member(checkpoints[shard]) for shard in sorted(checkpoints, key=int))

    def member(self, checkpoint_id: str) -> tuple[str, int]:
        """The run whose counterfactual makes this checkpoint, and the step it makes it at."""
        with self.store.catalogue.read() as session:
            checkpoint = session.get_one(tables.Checkpoint, checkpoint_id)
            made_by = session.get_one(tables.Run, checkpoint.run_id)
            cut = self._cut(self.left_out.of(session, made_by))
            run = _origin(session, checkpoint.run_id)
            if session.get(tables.ObservedRun, run.id) is not None:
                raise InconclusiveError(
                    f"run {run.id} was only observed, so nobody but its owner can train a twin",
                    hint="drive the loop from a program to have twins",
                )
            program = session.get_one(tables.Program, run.program_id)
            versions, own = _inputs(session, run.id), _inputs(session, made_by.id)
            models = given_to(session, made_by.id)
            start_id = _start(session, made_by)
        start = None if start_id is None else self.member(start_id)
        key = cut.name(run.id)
        known = self.items.get(key)
        assert known is None or known.kind == "run"
        self.items[key] = TwinRun(
            key=key,
            ref=program.ref,
            root=program.root,
            files=program.files,
            specification=RunSpec.model_validate(run.specification),
            inputs={
                alias: self._dataset(each, own[alias], cut) for alias, each in versions.items()
            },
            start=start,
            given=self._models(models),
            until=max(checkpoint.step, 0 if known is None else known.until),
            order=known.order if known is not None else self._order(run, versions, cut),
        )
        return key, checkpoint.step

    def _cut(self, gone: Positions) -> _Cut:
        for cut in self.cuts:
            if cut.gone == gone:
                return cut
        self.cuts.append(_Cut(len(self.cuts), gone))
        return self.cuts[-1]

    def _models(self, models: Mapping[str, Mapping[int, str]]) -> TwinModels:
        return {
            alias: {shard: self.member(each) for shard, each in members.items()}
            for alias, members in models.items()
        }

    def _order(self, run: tables.Run, versions: Mapping[str, str], cut: _Cut) -> str | None:
        """What is left of a recorded order, by the keys of the records that are still there.

        Rows that a transform makes anew are not: no step was ever drawn for them.
        """
        spec = RunSpec.model_validate(run.specification)
        if spec.train is None or spec.schedule.kind == "stable/1":
            return None
        version = open_version(self.store, versions[spec.train])
        schedule = schedule_of(self.store, run.id, spec, version.salt)
        left = self._left(version, cut)
        records = version.present.records.take(contains(left, version.present.positions))
        name = f"{cut.name(run.id)}.parquet"
        with pq.ParquetWriter(self.folder / name, ORDER) as writer:
            for epoch in schedule.epochs(records):
                steps = np.repeat(epoch.steps, np.diff(epoch.offsets))
                keys = records.keys[epoch.order]
                writer.write_table(pa.table([steps, keys], ORDER))
        return name

    def _left(self, version: Version, cut: _Cut) -> BitMap:
        """What is left of a version; nothing, where another model has to make all of it."""
        with self.store.catalogue.read() as session:
            if any(self._replaced(session, each) for each in models_behind(session, version.row)):
                return BitMap()
            return remade(session, self.store, version.row, cut.gone)

    def _replaced(self, session: Session, checkpoint_id: str) -> bool:
        checkpoint = session.get_one(tables.Checkpoint, checkpoint_id)
        return checkpoint_id in self.tainted or checkpoint.purged_at is not None

    def _dataset(self, version_id: str, own_id: str, cut: _Cut) -> str:
        """A version as it is without the cut; a replay of the run was given its ``own`` instead."""
        version, own = (open_version(self.store, each) for each in (version_id, own_id))
        with self.store.catalogue.read() as session:
            derived = maker(session, version.row) is not None
        key = cut.name(f"{version_id}-{own_id}" if derived and own_id != version_id else version_id)
        if key not in self.items:
            made_by = self._made_by(version, own, cut)
            self.items[key] = TwinDataset(
                key=key,
                namespace=version.dataset.namespace,
                columns=self._columns(version, cut),
                salt=version.salt.hex(),
                file=None if made_by else self._export(version, cut),
                made_by=made_by,
            )
        return key

    def _made_by(self, version: Version, own: Version, cut: _Cut) -> TwinTransform | None:
        """How a version is made, with the models that made the rows of the run's ``own``."""
        with self.store.catalogue.read() as session:
            made, executed = maker(session, version.row), last_execution(session, own.row)
            absent = taken_out(session, version.row)
        if made is None or executed is None:
            return None
        pairs = zip(made.input_ids, executed.input_ids, strict=True)
        return TwinTransform(
            ref=made.ref,
            root=made.root,
            source=made.source,
            inputs=tuple(self._dataset(each, owns, cut) for each, owns in pairs),
            given=self._models(executed.given),
            without=_absent(version, own, absent),
        )

    def _export(self, version: Version, cut: _Cut) -> str:
        """Write the retained rows by descending key: at other positions, in another file."""
        kept = _retained(version, cut)
        positions = version.present.positions[kept]
        _complete(version, positions, cut)
        order = np.argsort(version.present.records.keys[kept])[::-1]
        rows = manifests.read_identified(self.store.objects, version.chunks, positions)
        table = rows_table([manifests.no_rows(version.columns), *rows])
        name = f"{cut.name(version.id)}.parquet"
        pq.write_table(table.take(order), self.folder / name)
        return name

    def _columns(self, version: Version, cut: _Cut) -> tuple[Column, ...]:
        """The declared columns, without the labels that no retained row has.

        What a group or aggregate transform makes of the retained rows may have any label, and so
        may what another model makes.
        """
        with self.store.catalogue.read() as session:
            if mixed(session, version.row):
                return version.columns
        positions = version.present.positions[_retained(version, cut)]
        return tuple(
            column.keeping(set(version.column(column.name)[positions].tolist()))
            if column.categories
            else column
            for column in version.columns
        )


def _retained(version: Version, cut: _Cut) -> np.ndarray:
    """Which of the present rows are not left out: (n,)."""
    return ~contains(cut.gone.get(version.dataset.id, BitMap()), version.present.positions)


def _complete(version: Version, positions: np.ndarray, cut: _Cut) -> None:
    gone = version.deleted | cut.gone.get(version.dataset.id, BitMap())
    gone.remove_range(version.row.rows, 2**32)
    if len(positions) != version.row.rows - len(gone):
        raise InconclusiveError(
            "rows that these models were trained on have been erased since",
            hint="verify the plan that erased them: it covers the models of today",
        )


def _absent(version: Version, own: Version, positions: BitMap) -> tuple[int, ...]:
    """The keys of rows that were taken out of a version, and that a replay did not make again."""
    index = version.index
    keys = index.keys[contains(positions, index.positions)]
    return tuple(np.setdiff1d(keys, own.present.records.keys).tolist()) if len(keys) else ()


def _inputs(session: Session, run_id: str) -> dict[str, str]:
    """The dataset version that a run was given under each alias."""
    given = session.scalars(select(tables.RunInput).where(tables.RunInput.run_id == run_id))
    return {each.alias: each.version_id for each in given}


def _origin(session: Session, run_id: str) -> tables.Run:
    """The run that a chain of replays goes back to: its specification is the counterfactual's."""
    run = session.get_one(tables.Run, run_id)
    while run.replay_of is not None:
        run = session.get_one(tables.Run, run.replay_of)
    return run


def _start(session: Session, run: tables.Run) -> str | None:
    """The checkpoint of another training that a chain of replays began with, as it was then."""
    first = _origin(session, run.id)
    while run.start_id is not None:
        before = session.get_one(tables.Checkpoint, run.start_id).run_id
        if _origin(session, before).id != first.id:
            break
        run = session.get_one(tables.Run, before)
    return run.start_id

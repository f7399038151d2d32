"""Training a twin: a new process and a new store that never held the forgotten rows.

Run as ``python -m unlearn.twin.train FOLDER``; FOLDER holds ``kit.json`` and gets
``result.json``, or ``refusal.txt``.
"""

import json
import sys
import traceback
from collections.abc import Collection, Mapping
from contextlib import closing
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pyroaring import BitMap
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from lineage.data.dataset import append, without
from lineage.data.function import TransformFunction
from lineage.data.transform import derive
from lineage.data.version import Version, open_version
from lineage.errors import ProgramError, ProgramFailedError, TransformError
from lineage.source import load
from lineage.store import Store
from lineage.training import recording
from lineage.training.entries import add_run, record_program
from lineage.training.execute import execute
from lineage.training.lesson import Teacher
from lineage.training.program import Program, load_program
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import ExpungeError
from storage.exposures import Log
from storage.rows import table_rows
from unlearn.twin.kit import (
    REFUSAL,
    RESULT,
    Kit,
    TwinDataset,
    TwinModels,
    TwinRun,
    TwinTransform,
)


def train(folder: Path) -> dict[str, list[str]]:
    """Train every run of the kit from scratch: version → digests of its members in order."""
    kit = Kit.model_validate_json((folder / "kit.json").read_text("utf-8"))
    with Store.create(folder / "store") as store:
        versions: dict[str, str] = {}
        runs: dict[str, str] = {}
        for item in kit.items:
            if item.kind == "dataset":
                versions[item.key] = _register(store, item, folder, runs)
            else:
                order = None if item.order is None else _recorded(store, item, versions, folder)
                runs[item.key] = _execute(store, item, versions, runs, order)
        return {version: _digests(store, kit, version, runs) for version in kit.versions}


def _digests(store: Store, kit: Kit, version: str, runs: Mapping[str, str]) -> list[str]:
    """The digests of a version's members, and of those left out that a record has reached."""
    left_out = (each for each in kit.left_out[version] if _visited(store, runs[each[0]]))
    members = (*kit.versions[version], *left_out)
    return [_digest(store, runs[key], step) for key, step in members]


def _register(store: Store, twin: TwinDataset, folder: Path, runs: Mapping[str, str]) -> str:
    """Register rows, or make them by the transform, under the columns that were declared then."""
    dataset = tables.Dataset(
        id=new_id("ds"),
        name=twin.key,
        namespace=twin.namespace,
        columns=[column.model_dump(mode="json") for column in twin.columns],
        id_columns=[],
        subject_columns=[],
        created_at=store.clock(),
    )
    if twin.made_by is not None:
        with store.catalogue.write() as session:
            session.add(dataset)
            given = _models(session, runs, twin.made_by.given)
        models = {alias: Teacher(store, members) for alias, members in given.items()}
        function = _function(twin.made_by)
        made = derive(store, function, twin.made_by.inputs, twin.key, models)
        return _without(store, made, twin.made_by.without)
    assert twin.file is not None
    rows = table_rows(pq.read_table(folder / twin.file))
    return append(store, dataset, rows, source=twin.file, salt=bytes.fromhex(twin.salt)).id


def _function(made_by: TwinTransform) -> TransformFunction:
    """Import a transform, and refuse it where it is not what was executed."""
    function = load(made_by.ref, Path(made_by.root))
    if not isinstance(function, TransformFunction) or function.source.digest != made_by.source:
        raise TransformError(
            f"transform {made_by.ref} has changed since it was executed",
            hint="restore the source it was executed with",
        )
    return function


def _without(store: Store, version: Version, keys: Collection[int]) -> str:
    """The version without the rows of these keys, which is then the head of its dataset."""
    if not keys:
        return version.id
    there = version.present
    absent = BitMap(there.positions[np.isin(there.records.keys, np.array([*keys], np.uint64))])
    with store.catalogue.write() as session:
        left = without(session, store, version.row, absent, "taken out before the training")
        session.get_one(tables.Dataset, version.dataset.id).head_id = left.id
    return left.id


def _recorded(store: Store, twin: TwinRun, versions: dict[str, str], folder: Path) -> str:
    """Write what is left of the order down as a recording of this store; returns its id."""
    assert twin.specification.train is not None
    records = open_version(store, versions[twin.inputs[twin.specification.train]]).present.records
    by_key = np.argsort(records.keys)
    file = pq.ParquetFile(folder / str(twin.order))
    with store.catalogue.write() as session:
        recording_id = recording.begin(session, store, None)
    with closing(Log(store.objects)) as log:
        for group in range(file.metadata.num_row_groups):
            step, key = (column.to_numpy() for column in file.read_row_group(group).columns)
            rows = by_key[np.searchsorted(records.keys, key, sorter=by_key)]
            begins = np.flatnonzero(np.diff(step, prepend=-1))
            for first, batch in zip(step[begins], np.split(rows, begins[1:]), strict=False):
                log.append(int(first), records.positions[batch])
        sealed = log.seal()
    with store.catalogue.write() as session:
        recording.add(session, store, recording_id, *([sealed] if sealed else []))
    return recording_id


def _execute(
    store: Store,
    twin: TwinRun,
    versions: dict[str, str],
    runs: dict[str, str],
    follows: str | None,
) -> str:
    program = load_program(twin.ref, Path(twin.root))
    _same_source(program, twin)
    with store.catalogue.write() as session:
        run = add_run(
            session,
            store,
            twin.specification,
            record_program(session, store, program.source),
            {alias: versions[key] for alias, key in twin.inputs.items()},
            start_id=None if twin.start is None else _made(session, runs, *twin.start),
            follows=follows,
            given=_models(session, runs, twin.given),
        )
    execute(store, run.id, until=twin.until)
    return run.id


def _same_source(program: Program, twin: TwinRun) -> None:
    if program.source.files != twin.files:
        raise ProgramError(
            f"program {twin.ref} has changed since it trained",
            hint="restore the source it trained with",
        )


def _models(
    session: Session, runs: Mapping[str, str], models: TwinModels
) -> dict[str, dict[int, str]]:
    return {
        alias: {shard: _made(session, runs, *each) for shard, each in members.items()}
        for alias, members in models.items()
    }


def _made(session: Session, runs: Mapping[str, str], key: str, step: int) -> str:
    """The checkpoint that a run of the kit left at a step."""
    return session.scalars(_checkpoint(runs[key], step)).one().id


def _visited(store: Store, run_id: str) -> bool:
    """Whether any record reached a run."""
    with store.catalogue.read() as session:
        visits = select(tables.Segment.visits).where(tables.Segment.run_id == run_id)
        return any(session.scalars(visits))


def _digest(store: Store, run_id: str, step: int) -> str:
    with store.catalogue.read() as session:
        return session.scalars(_checkpoint(run_id, step)).one().digest


def _checkpoint(run_id: str, step: int) -> Select[tables.Checkpoint]:
    return select(tables.Checkpoint).where(
        tables.Checkpoint.run_id == run_id, tables.Checkpoint.step == step
    )


def main(folder: Path) -> int:
    """Train, and leave the digests, or one sentence about why that is refused; return the status.

    The traceback of what a program raised goes to standard error: only its author understands it.
    """
    try:
        (folder / RESULT).write_text(json.dumps(train(folder)), "utf-8")
    except ExpungeError as error:
        (folder / REFUSAL).write_text(error.message, "utf-8")
        if isinstance(error, ProgramFailedError):
            traceback.print_exception(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

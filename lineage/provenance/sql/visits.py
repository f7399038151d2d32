"""The view ``exposures``: which record was visited at which step of which run.

Nothing of it is stored a visit: a stable schedule is drawn epoch by epoch, a recording read piece
by piece, each when a statement comes to it.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.fences import forgotten
from lineage.provenance.exposure import executed, runs_over, segments_of, skipped
from lineage.provenance.history import History
from lineage.provenance.sql.standing import OPENING, standing
from lineage.provenance.sql.view import Column, Part, View
from lineage.schedule import RecordedSchedule, Records, Schedule
from lineage.store import Store
from lineage.training.recording import bounds_of, recording_of, schedule_of
from storage.catalogue import tables

_COLUMNS = (
    Column("run", "VARCHAR", "id of the run"),
    Column("dataset", "VARCHAR", "name of the dataset that it trained on"),
    Column("segment", "VARCHAR", "id of the segment that the step is in"),
    Column("step", "BIGINT", "optimizer step, from 0"),
    Column("position", "BIGINT", "position of the record in the dataset"),
    Column("applied", "BOOLEAN", "whether the update of the step learned from it"),
    Column("bound", "BOOLEAN", "whether the step's records are an upper bound of what it learned"),
)
_DRAWN = pa.schema(
    [
        ("segment", pa.dictionary(pa.int32(), pa.string())),
        ("step", pa.int64()),
        ("position", pa.int64()),
        ("applied", pa.bool_()),
        ("bound", pa.bool_()),
    ]
)

_Visits = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]
"""Steps, positions, and whether the update learned from it (v,)."""


def _parts(store: Store, session: Session) -> Iterator[Part]:
    """A part a run, oldest first."""
    named = select(tables.Dataset.id, tables.Dataset.name)
    names = dict(session.execute(named).all())
    barred = {dataset_id: forgotten(session, dataset_id) for dataset_id in names}
    versions = select(tables.DatasetVersion.id, tables.DatasetVersion.dataset_id)
    dataset_of = dict(session.execute(versions).all())
    for run in runs_over(session, names):
        if run.spec.train is not None:
            version = run.inputs[run.spec.train]
            dataset = dataset_of[version]
            constants = {"run": run.id, "dataset": names[dataset]}
            about = (run, version, barred[dataset], _bounds(session, run))
            yield Part(constants, _DRAWN, partial(_drawn, store, *about))


def _bounds(session: Session, run: History) -> NDArray[np.int64]:
    """Return the steps of a run that are upper bounds (b,)."""
    recorded = recording_of(session, run.id)
    bounds = BitMap() if recorded is None else bounds_of(recorded)
    return np.asarray(bounds.to_array(), np.int64)


def _drawn(
    store: Store, run: History, version_id: str, barred: BitMap, bounds: NDArray[np.int64]
) -> Iterator[pa.RecordBatch]:
    with OPENING:
        version, shown = standing(store, version_id, barred)
        schedule = schedule_of(store, run.id, run.spec, version.salt)
        passed = skipped(run, schedule, version)
    names = pa.array([lap.id for lap in run.segments], pa.string())
    for steps, positions, applied in _visits(run, schedule, shown):
        done = executed(run, steps, passed)
        segments = pa.array(segments_of(run, steps[done]).astype(np.int32))
        yield pa.record_batch(
            [
                pa.DictionaryArray.from_arrays(segments, names),
                pa.array(steps[done]),
                pa.array(positions[done]),
                pa.array(applied[done]),
                pa.array(np.isin(steps[done], bounds)),
            ],
            _DRAWN,
        )


def _visits(run: History, schedule: Schedule, shown: Records) -> Iterator[_Visits]:
    """The scheduled visits of some records, piece by piece; all those of steps that were done."""
    if isinstance(schedule, RecordedSchedule):
        yield from _recorded(schedule, shown.positions)
    elif len(run.ends):
        for epoch in schedule.epochs(shown, run.first_step):
            if epoch.first >= run.ends[-1]:
                return
            steps = np.repeat(np.asarray(epoch.steps), np.diff(epoch.offsets))
            yield steps, shown.positions[epoch.order], np.ones(len(steps), np.bool_)


def _recorded(schedule: RecordedSchedule, shown: NDArray[np.int64]) -> Iterator[_Visits]:
    batches = schedule.exposures.batches
    for positions, numbers in schedule.exposures.every():
        mine = np.flatnonzero(np.isin(positions, shown))
        yield batches.step[numbers[mine]], positions[mine], batches.applied[numbers[mine]]


EXPOSURES = View(
    "exposures",
    "every visit of a record that is not forgotten, by a step that was carried out",
    _COLUMNS,
    _parts,
)

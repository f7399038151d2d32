"""The recordings of runs: drawn while they train, compacted when done, opened to answer."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from lineage.schedule import RecordedSchedule, Schedule, schedule_for
from lineage.store import Store
from lineage.training.specification import RunSpec
from storage import manifests
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import RecordingError
from storage.exposures import Batch, Exposures, File, Kind, Log, compact, merge


def begin(session: Session, store: Store, run_id: str | None, *, ordered: bool = True) -> str:
    """Make an empty recording, for a run to draw or to take files in; returns its id."""
    row = tables.Recording(id=new_id("rec"), ordered=ordered, created_at=store.clock())
    session.add(row)
    session.flush()
    if run_id is not None:
        _attach(session, run_id, row.id, draws=True)
    return row.id


def follow(session: Session, run_id: str, recording_id: str) -> None:
    """Let a run be given what a recording says, less the records that its data no longer holds."""
    _attach(session, run_id, recording_id, draws=False)


def recording_of(session: Session, run_id: str) -> tables.RunRecording | None:
    """What says which records a run was given; None where its schedule does."""
    return session.get(tables.RunRecording, run_id)


def bounds_of(row: tables.RunRecording) -> BitMap:
    """Return the steps of a run that may have learned from fewer records than are named."""
    return BitMap() if row.bounds is None else manifests.load_bitmap(row.bounds)


def followed(session: Session, run_id: str) -> str | None:
    """The id of the recording that an execution of the same run again must follow, if any."""
    row = recording_of(session, run_id)
    return None if row is None else row.recording_id


def open_log(
    store: Store,
    recording_id: str,
    told: Callable[[NDArray[np.uint32]], object] = lambda records: None,
    read: Callable[[Any], Iterable[Batch]] = lambda batch: (batch,),
) -> Log:
    """A log that goes on where the recording ends."""
    return Log(store.objects, _next_batch(store, recording_id), told, read)


def merged(
    store: Store,
    recording_id: str,
    logs: Sequence[File],
    told: Callable[[NDArray[np.uint32]], object],
) -> File | None:
    """What several processes drew at the same time as one log, which goes on as `open_log` does."""
    return merge(store.objects, logs, _next_batch(store, recording_id), told)


def add(session: Session, store: Store, recording_id: str, *files: File) -> None:
    """Make files part of a recording, in the caller's transaction.

    Raises:
        SweptObjectError: one was swept since it was written.
    """
    for file in files:
        store.objects.require(file.object)
        session.add(
            tables.RecordingFile(
                recording_id=recording_id,
                kind=file.kind.value,
                first=file.first,
                last=file.last,
                visits=file.visits,
                object=file.object,
            )
        )


def settle(store: Store, run_id: str) -> None:
    """Compact what a run drew, once it is done; there may be nothing to do.

    Raises:
        RecordingError: the disk is full; the recording stays as it is, and can be asked.
    """
    with store.catalogue.read() as session:
        drawn = recording_of(session, run_id)
        if drawn is None or not drawn.draws:
            return
        recording = session.get_one(tables.Recording, drawn.recording_id)
        logs = [file for file in _files(session, recording.id) if file.kind is Kind.LOG]
    with store.objects.claiming():
        try:
            files = compact(store.objects, logs, ordered=recording.ordered)
        except OSError as error:
            raise RecordingError(
                f"the recording of run {run_id} could not be compacted: {error}",
                hint=f"make room, then go on with: expunge run resume {run_id}",
            ) from error
        with store.catalogue.write() as session:
            add(session, store, recording.id, *files)
            session.execute(
                delete(tables.RecordingFile).where(
                    tables.RecordingFile.recording_id == recording.id,
                    tables.RecordingFile.kind == Kind.LOG.value,
                )
            )
    drop(store, {log.object for log in logs})


def open_recording(store: Store, recording_id: str) -> Exposures:
    """A recording, opened to be asked; one that was opened lately is shared."""
    with store.catalogue.read() as session:
        return _opened(store, _files(session, recording_id))


def schedule_of(store: Store, run_id: str, spec: RunSpec, salt: bytes) -> Schedule:
    """The schedule that answers for a run with steps: a function, or what was recorded so far."""
    if spec.schedule.kind == "stable/1":
        return schedule_for(spec.schedule, salt)
    with store.catalogue.read() as session:
        row = session.get_one(tables.RunRecording, run_id)
    exposures = open_recording(store, row.recording_id)
    recorded = exposures.batches.step
    return RecordedSchedule(exposures, int(recorded[-1]) + 1 if len(recorded) else 0)


def _next_batch(store: Store, recording_id: str) -> int:
    last = select(func.max(tables.RecordingFile.last)).where(
        tables.RecordingFile.recording_id == recording_id,
        tables.RecordingFile.kind.in_((Kind.LOG, Kind.BATCHES)),
    )
    with store.catalogue.read() as session:
        return session.scalar(last) or 0


def drop(store: Store, objects: set[str]) -> None:
    """Delete objects but those that another recording shares: equal logs are one object."""
    of_others = select(tables.RecordingFile.object).where(tables.RecordingFile.object.in_(objects))
    with store.catalogue.write() as session:
        for digest in objects - set(session.scalars(of_others)):
            store.objects.delete(digest)


def _attach(session: Session, run_id: str, recording_id: str, *, draws: bool) -> None:
    session.add(
        tables.RunRecording(run_id=run_id, recording_id=recording_id, draws=draws, unknown=0)
    )
    session.flush()


@lru_cache(maxsize=8)
def _opened(store: Store, files: tuple[File, ...]) -> Exposures:
    # The files are part of the key: what a run adds, and compaction, close what was open.
    return Exposures(store.objects, files)


def _files(session: Session, recording_id: str) -> tuple[File, ...]:
    rows = session.scalars(
        select(tables.RecordingFile)
        .where(tables.RecordingFile.recording_id == recording_id)
        .order_by(tables.RecordingFile.kind, tables.RecordingFile.first)
    )
    return tuple(File(Kind(row.kind), row.object, row.first, row.last, row.visits) for row in rows)

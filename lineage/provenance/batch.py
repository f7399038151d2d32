"""A batch as a thing that can be asked: the records of one optimizer step, drawn when asked.

Records that were erased, or are being forgotten, are counted and not named.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from lineage.data.fences import forgotten
from lineage.data.version import Version, open_version
from lineage.provenance.gone import is_gone
from lineage.provenance.history import History, Lap, history
from lineage.schedule import RecordedSchedule, Schedule
from lineage.store import Store
from lineage.training.recording import bounds_of, recording_of, schedule_of
from storage import manifests
from storage.catalogue import tables
from storage.errors import InvalidInputError

State = Literal["executed", "skipped", "without-effect", "uncertain", "not-executed"]
"""What became of a step.

It was passed over if it had too few records, and had no effect if no update followed; whether one
that has too few since some were erased was executed is uncertain; after the last checkpoint,
nothing was kept.
"""


class BatchRecord(BaseModel):
    """A record of a batch; ``applied`` if an update learned from it."""

    model_config = ConfigDict(frozen=True)

    position: int
    id: str
    applied: bool


class BatchDetail(BaseModel):
    """The batch of a run (``id``) at a step, and what is left of it.

    ``withheld`` records are being forgotten, and ``erased`` ones are gone. A stable schedule forgot
    with them which of a segment's steps were theirs: ``erased`` may be None, and their visits in
    the whole segment ``erased_of_segment``, where even this can be told. ``records`` are in the
    order of training if ``ordered``, otherwise by position. Where the batch is an upper ``bound``,
    its update may have learned from fewer. Of a run that is ``gone`` every checkpoint is purged.
    The batch is ``complete`` unless the run was given records nobody knows, or nobody can tell how
    many are erased.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    step: int
    state: State
    dataset: str
    version: str
    segment: str | None
    checkpoint: str | None
    size: int
    withheld: int
    erased: int | None
    erased_of_segment: int | None
    ordered: bool
    bound: bool
    gone: bool
    complete: bool
    records: tuple[BatchRecord, ...]


@dataclass(frozen=True)
class _Drawn:
    """Where the rows of a batch are that are still there, which were applied, and what is gone."""

    positions: NDArray[np.int64]
    applied: NDArray[np.bool_]
    state: State
    erased: int | None = None
    erased_of_segment: int | None = None


def batch_at(store: Store, run_id: str, step: int) -> BatchDetail:
    """The batch that a run was given, or would be, when ``step`` steps were done.

    Raises:
        NotFoundError: there is no such run.
        InvalidInputError: the run has no such step, or it is one of the run it started from.
    """
    with store.catalogue.read() as session:
        run = history(session, run_id)
        recorded = recording_of(session, run_id)
        ordered = (
            recorded is None or session.get_one(tables.Recording, recorded.recording_id).ordered
        )
    if run.spec.train is None:
        raise InvalidInputError(
            f"run {run_id} took no step: it was made of the models it was given",
            hint=f"see `expunge lineage of {run_id}`",
        )
    version = open_version(store, run.inputs[run.spec.train])
    schedule = schedule_of(store, run.id, run.spec, version.salt)
    last = max(schedule.steps, run.done)
    if not run.first_step <= step < last:
        raise InvalidInputError(
            f"run {run_id} has no step {step}: it has those from {run.first_step} to {last - 1}",
            hint="a run that goes on from a checkpoint leaves earlier steps to the run of that one",
        )
    lap = run.lap(step)
    if isinstance(schedule, RecordedSchedule):
        draws = recorded is not None and recorded.draws
        drawn = _recorded(run, schedule, version, step, lap, draws=draws)
    else:
        drawn = _scheduled(run, schedule, version, step, lap)
    with store.catalogue.read() as session:
        barred = np.asarray(forgotten(session, version.dataset.id).to_array(), np.int64)
        gone = is_gone(session, run_id)
    shown = ~np.isin(drawn.positions, barred)
    positions = drawn.positions[shown]
    names = manifests.read_ids(store.objects, version.chunks, positions)
    return BatchDetail(
        id=run_id,
        step=step,
        state=drawn.state,
        dataset=version.dataset.name,
        version=version.id,
        segment=lap and lap.id,
        checkpoint=lap and lap.checkpoint,
        size=len(positions),
        withheld=int(np.count_nonzero(~shown)),
        erased=drawn.erased,
        erased_of_segment=drawn.erased_of_segment,
        ordered=ordered,
        bound=recorded is not None and step in bounds_of(recorded),
        gone=gone,
        complete=drawn.erased is not None and (recorded is None or not recorded.unknown),
        records=tuple(
            BatchRecord(position=position, id=name, applied=applied)
            for position, name, applied in zip(
                positions.tolist(), names, drawn.applied[shown].tolist(), strict=True
            )
        ),
    )


def _recorded(
    run: History,
    schedule: RecordedSchedule,
    version: Version,
    step: int,
    lap: Lap | None,
    *,
    draws: bool,
) -> _Drawn:
    """A step that was written down: positions are known, whether rows are still there or not."""
    batches = schedule.exposures.batches
    first, last = np.searchsorted(batches.step, (step, step + 1)).tolist()
    given = schedule.exposures.between(first, last, ordered=False)
    applied = np.repeat(batches.applied[first:last], batches.size[first:last])
    present = ~np.isin(given, np.asarray(version.deleted.to_array(), np.int64))
    there = present & np.isin(given, version.index.positions)
    state = _state(run, schedule, version, lap, int(np.count_nonzero(there)))
    if draws and state in ("skipped", "uncertain"):
        state = "executed" if len(given) else "skipped"
    if state == "executed" and len(given) and not applied.any():
        state = "without-effect"
    applied = applied & (state in ("executed", "uncertain"))
    erased = int(np.count_nonzero(present & ~there))
    return _Drawn(given[there], applied[there], state, erased)


def _scheduled(
    run: History, schedule: Schedule, version: Version, step: int, lap: Lap | None
) -> _Drawn:
    """A step of a stable schedule: an erased record's key is gone, and with it where it was."""
    records = version.present.records
    positions = records.positions[schedule.rows(records, step)]
    state = _state(run, schedule, version, lap, len(positions))
    applied = np.full(len(positions), state in ("executed", "uncertain"))
    if version.row.live == len(records):
        return _Drawn(positions, applied, state, 0, 0 if lap else None)
    lost = None if lap is None else _lost(run, schedule, version, lap)
    erased = None
    if lap is not None and state == "executed" and (lost == 0 or lap.end == lap.first_step + 1):
        erased = lost
    return _Drawn(positions, applied, state, erased, lost)


def _state(run: History, schedule: Schedule, version: Version, lap: Lap | None, size: int) -> State:
    if lap is None:
        return "not-executed"
    if not lap.skipped or size >= run.spec.min_batch:
        return "executed"
    return "skipped" if _are_all_skipped(run, _sizes(schedule, version, lap), lap) else "uncertain"


def _lost(run: History, schedule: Schedule, version: Version, lap: Lap) -> int | None:
    """How many visits of a segment were of records that are gone, if that can be told."""
    sizes = _sizes(schedule, version, lap)
    if not _are_all_skipped(run, sizes, lap):
        return None
    return lap.visits - int(sizes[sizes >= run.spec.min_batch].sum())


def _are_all_skipped(run: History, sizes: NDArray[np.int64], lap: Lap) -> bool:
    """Whether the steps with too few records now are those that were passed over then."""
    return bool(np.count_nonzero(sizes < run.spec.min_batch) == lap.skipped)


def _sizes(schedule: Schedule, version: Version, lap: Lap) -> NDArray[np.int64]:
    """How many present records each step of a segment has."""
    stop = min(lap.end, schedule.steps)
    sizes = schedule.sizes(version.present.records, lap.first_step, stop)
    return np.append(sizes, np.zeros(lap.end - stop, np.int64))

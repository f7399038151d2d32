"""Which segments and fitted artefacts some records entered: drawn from schedules, never stored."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.version import Version, open_version
from lineage.schedule import Schedule, shards_of
from lineage.store import Store
from lineage.training.recording import schedule_of
from lineage.training.specification import RunSpec
from storage.catalogue import tables


@dataclass(frozen=True)
class Exposure:
    """What some records did to one run.

    ``steps`` are the executed optimizer steps that trained on any of them, ascending; ``segments``
    and ``fits`` the ids of the graph's nodes they entered directly; ``visits`` counts pairs. A
    visit that no update followed enters its segment, whose state it may have moved, and no step.
    """

    run_id: str
    version_id: str
    shard: int
    steps: NDArray[np.int64]
    visits: int
    segments: tuple[str, ...]
    fits: tuple[str, ...]


def exposures(store: Store, records: Mapping[str, BitMap]) -> list[Exposure]:
    """Every run that some of these records (dataset id → positions) entered; complete."""
    with store.catalogue.read() as session:
        plans = list(_runs_over(session, records.keys()))
    versions: dict[str, Version] = {}
    found = []
    for each in plans:
        for version_id in each.inputs.values():
            if version_id not in versions:
                versions[version_id] = open_version(store, version_id)
        salt = versions[each.inputs[each.spec.train]].salt
        schedule = schedule_of(store, each.id, each.spec, salt)
        exposure = _exposure(each, schedule, versions, records)
        if exposure is not None:
            found.append(exposure)
    return found


def incomplete_runs(session: Session, datasets: Iterable[str]) -> tuple[str, ...]:
    """Runs over these datasets that were given records nobody knows, and have something left.

    Whether they saw somebody cannot be told.
    """
    left = select(tables.Checkpoint.run_id).where(tables.Checkpoint.purged_at.is_(None))
    found = (
        select(tables.RunRecording.run_id)
        .join(tables.RunInput, tables.RunInput.run_id == tables.RunRecording.run_id)
        .join(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .where(
            tables.DatasetVersion.dataset_id.in_(list(datasets)),
            tables.RunRecording.unknown > 0,
            tables.RunRecording.run_id.in_(left),
        )
        .order_by(tables.RunRecording.run_id)
    )
    return tuple(dict.fromkeys(session.scalars(found)))


@dataclass(frozen=True)
class _RunRecord:
    """A run, as far as exposure depends on it."""

    id: str
    spec: RunSpec
    first_step: int
    inputs: Mapping[str, str]
    fits: tuple[tables.Fit, ...]
    segments: tuple["_Lap", ...]
    ends: NDArray[np.int64]


class _Lap(NamedTuple):
    """A segment: its steps from ``first_step`` to ``end``, of which some were ``skipped``."""

    id: str
    first_step: int
    skipped: int
    end: int


def _runs_over(session: Session, datasets: Iterable[str]) -> Iterator[_RunRecord]:
    touched = (
        select(tables.RunInput.run_id)
        .join(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .where(tables.DatasetVersion.dataset_id.in_(list(datasets)))
        .distinct()
    )
    given: dict[str, dict[str, str]] = defaultdict(dict)
    fits: dict[str, list[tables.Fit]] = defaultdict(list)
    laps: dict[str, list[_Lap]] = defaultdict(list)
    for each in session.scalars(select(tables.RunInput).where(tables.RunInput.run_id.in_(touched))):
        given[each.run_id][each.alias] = each.version_id
    for fit in session.scalars(select(tables.Fit).where(tables.Fit.run_id.in_(touched))):
        fits[fit.run_id].append(fit)
    segment, checkpoint = tables.Segment, tables.Checkpoint
    for run_id, lap, first_step, skipped, end in session.execute(
        select(segment.run_id, segment.id, segment.first_step, segment.skipped, checkpoint.step)
        .join(checkpoint, checkpoint.id == segment.checkpoint_id)
        .where(segment.run_id.in_(touched))
        .order_by(segment.run_id, checkpoint.step)
    ):
        laps[run_id].append(_Lap(lap, first_step, skipped, end))
    for run in session.scalars(
        select(tables.Run).where(tables.Run.id.in_(touched)).order_by(tables.Run.created_at)
    ):
        yield _RunRecord(
            run.id,
            RunSpec.model_validate(run.specification),
            run.first_step,
            given[run.id],
            tuple(fits[run.id]),
            tuple(laps[run.id]),
            np.array([lap.end for lap in laps[run.id]], np.int64),
        )


def _exposure(
    run: _RunRecord,
    schedule: Schedule,
    versions: Mapping[str, Version],
    records: Mapping[str, BitMap],
) -> Exposure | None:
    version = versions[run.inputs[run.spec.train]]
    rows = _rows(version, records)
    done = int(run.ends[-1]) if len(run.ends) else 0
    visits = schedule.visits(version.present.records.take(rows))
    executed = (visits.steps >= run.first_step) & (visits.steps < done)
    executed &= ~np.isin(visits.steps, _skipped(run, schedule, version))
    reached, steps = visits.steps[executed], visits.steps[executed & visits.applied]
    fits = tuple(
        fit.id for fit in run.fits if _in_fit(versions[run.inputs[fit.alias]], records, run.spec)
    )
    if not len(reached) and not fits:
        return None
    entered = np.unique(np.searchsorted(run.ends, reached, side="right"))
    return Exposure(
        run.id,
        version.id,
        run.spec.schedule.shard,
        np.unique(steps),
        len(reached),
        tuple(run.segments[index].id for index in entered),
        fits,
    )


def _rows(version: Version, records: Mapping[str, BitMap]) -> NDArray[np.intp]:
    return version.present.rows_of(records.get(version.dataset.id, BitMap()))


def _in_fit(version: Version, records: Mapping[str, BitMap], spec: RunSpec) -> bool:
    """Whether an artefact fitted inside a shard saw any of the records."""
    rows = _rows(version, records)
    places = version.present.records.placement[rows]
    shards = shards_of(places, version.salt, spec.schedule.shards)
    return bool((shards == spec.schedule.shard).any())


def _skipped(run: _RunRecord, schedule: Schedule, version: Version) -> NDArray[np.int64]:
    """Steps of a run that had too few records to be executed; see `passed_over`."""
    if not any(segment.skipped for segment in run.segments):
        return np.empty(0, np.int64)
    laps = [(lap.first_step, lap.end, lap.skipped) for lap in run.segments]
    return passed_over(laps, schedule.sizes(version.present.records), run.spec.min_batch)


def passed_over(
    laps: Iterable[tuple[int, int, int]], sizes: NDArray[np.int64], fewest: int
) -> NDArray[np.int64]:
    """Steps of smaller ``sizes`` than ``fewest``, in laps: from, to, and how many were skipped.

    Rows erased since make other steps look as small. A lap with more small steps than it passed
    over has none here: an answer may then name a step too many, never one too few.
    """
    small = np.flatnonzero(sizes < fewest)
    skipped = [np.empty(0, np.int64)]
    for first, end, count in laps:
        mine = small[(small >= first) & (small < end)]
        if len(mine) == count:
            skipped.append(mine)
    return np.concatenate(skipped)

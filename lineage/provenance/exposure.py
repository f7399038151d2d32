"""Which segments and fitted artefacts some records entered: drawn from schedules, never stored."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.version import Version, open_version
from lineage.provenance.chains import Chain
from lineage.provenance.history import History, histories
from lineage.schedule import Schedule, Selection
from lineage.store import Store
from lineage.training.fits import in_shard
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


def exposures(
    store: Store,
    records: Mapping[str, BitMap],
    until: int | None = None,
    known: Iterable[Chain] | None = None,
) -> list[Exposure]:
    """Every run that some of these records (dataset id → positions) entered; complete.

    With ``until``, only what the first so many steps of each run were given. ``known`` are the
    chains of all runs, where they were read before.
    """
    with store.catalogue.read() as session:
        past = list(runs_over(session, records.keys(), known))
    inputs: dict[str, _Input] = {}
    found = []
    for each in past:
        if until is not None and each.first_step > until:
            continue
        for version_id in each.inputs.values():
            if version_id not in inputs:
                inputs[version_id] = _Input.of(open_version(store, version_id), records)
        exposure = _exposure(store, each, inputs, until)
        if exposure is not None:
            found.append(exposure)
    return found


def incomplete_runs(
    session: Session, datasets: Iterable[str], run: str | None = None
) -> tuple[str, ...]:
    """Runs over these datasets that were given records nobody knows, and have something left.

    Whether they saw somebody cannot be told. With ``run``, no other is looked at.
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
    if run is not None:
        found = found.where(tables.RunRecording.run_id == run)
    return tuple(dict.fromkeys(session.scalars(found)))


def runs_over(
    session: Session, datasets: Iterable[str], known: Iterable[Chain] | None = None
) -> Iterator[History]:
    """The runs that were given one of these datasets (ids), oldest first."""
    touched = (
        select(tables.RunInput.run_id)
        .join(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .where(tables.DatasetVersion.dataset_id.in_(list(datasets)))
        .distinct()
    )
    return histories(session, touched, known)


def executed(
    run: History, steps: NDArray[np.int64], passed: NDArray[np.int64], until: int | None = None
) -> NDArray[np.bool_]:
    """Which of these scheduled steps a run came to, and did not pass over."""
    done = run.done if until is None else min(run.done, until)
    return (steps >= run.first_step) & (steps < done) & ~np.isin(steps, passed)


def segments_of(run: History, steps: NDArray[np.int64]) -> NDArray[np.intp]:
    """Which of its segments, counted from 0, each of these executed steps is in."""
    return np.searchsorted(run.ends, steps, side="right")


def skipped(run: History, schedule: Schedule, version: Version) -> NDArray[np.int64]:
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
    passed = [np.empty(0, np.int64)]
    for first, end, count in laps:
        mine = small[(small >= first) & (small < end)]
        if len(mine) == count:
            passed.append(mine)
    return np.concatenate(passed)


@dataclass(frozen=True, slots=True)
class _Input:
    """A dataset version that runs were given, and those of its records that are asked about."""

    version: Version
    asked: Selection

    @classmethod
    def of(cls, version: Version, records: Mapping[str, BitMap]) -> "_Input":
        rows = version.present.rows_of(records.get(version.dataset.id, BitMap()))
        return cls(version, version.present.records.take(rows))


def _exposure(
    store: Store, run: History, inputs: Mapping[str, _Input], until: int | None
) -> Exposure | None:
    reached, steps = _visited(store, run, inputs, until)
    fits = tuple(fit.id for fit in run.fits if _in_fit(inputs[run.inputs[fit.alias]], run.spec))
    if not len(reached) and not fits:
        return None
    entered = np.unique(segments_of(run, reached))
    return Exposure(
        run.id,
        run.inputs[run.spec.train or run.fits[0].alias],
        run.spec.schedule.shard,
        np.unique(steps),
        len(reached),
        tuple(run.segments[index].id for index in entered),
        fits,
    )


def _visited(
    store: Store, run: History, inputs: Mapping[str, _Input], until: int | None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The steps that some of the records reached, a visit each, and those that learned from it."""
    if run.spec.train is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    given = inputs[run.inputs[run.spec.train]]
    schedule = schedule_of(store, run.id, run.spec, given.version.salt)
    visits = schedule.visits(given.asked)
    done = executed(run, visits.steps, skipped(run, schedule, given.version), until)
    return visits.steps[done], visits.steps[done & visits.applied]


def _in_fit(given: _Input, spec: RunSpec) -> bool:
    """Whether an artefact fitted inside a shard saw any of the records."""
    return bool(in_shard(given.asked, given.version, spec).any())

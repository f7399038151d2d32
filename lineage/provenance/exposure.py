"""Which segments and fitted artefacts some records entered: drawn from schedules, never stored."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from lineage.data.version import Version, open_version
from lineage.provenance.history import History, histories
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


def exposures(
    store: Store, records: Mapping[str, BitMap], until: int | None = None
) -> list[Exposure]:
    """Every run that some of these records (dataset id → positions) entered; complete.

    With ``until``, only what the first so many steps of each run were given.
    """
    with store.catalogue.read() as session:
        past = list(histories(session, _over(records.keys())))
    versions: dict[str, Version] = {}
    found = []
    for each in past:
        if until is not None and each.first_step > until:
            continue
        for version_id in each.inputs.values():
            if version_id not in versions:
                versions[version_id] = open_version(store, version_id)
        salt = versions[each.inputs[each.spec.train]].salt
        schedule = schedule_of(store, each.id, each.spec, salt)
        exposure = _exposure(each, schedule, versions, records, until)
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


def _over(datasets: Iterable[str]) -> Select[str]:
    return (
        select(tables.RunInput.run_id)
        .join(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .where(tables.DatasetVersion.dataset_id.in_(list(datasets)))
        .distinct()
    )


def _exposure(
    run: History,
    schedule: Schedule,
    versions: Mapping[str, Version],
    records: Mapping[str, BitMap],
    until: int | None,
) -> Exposure | None:
    version = versions[run.inputs[run.spec.train]]
    rows = _rows(version, records)
    done = run.done if until is None else min(run.done, until)
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


def _skipped(run: History, schedule: Schedule, version: Version) -> NDArray[np.int64]:
    """Steps of a run that had too few records to be executed.

    Rows erased since make other steps look as small. A segment with more small steps than it
    passed over has none here: an answer may then name a step too many, never one too few.
    """
    if not any(segment.skipped for segment in run.segments):
        return np.empty(0, np.int64)
    records = version.present.records
    sizes = schedule.sizes(records)
    small = np.flatnonzero(sizes < run.spec.min_batch)
    skipped = [np.empty(0, np.int64)]
    for lap in run.segments:
        mine = small[(small >= lap.first_step) & (small < lap.end)]
        if len(mine) == lap.skipped:
            skipped.append(mine)
    return np.concatenate(skipped)

"""Which segments and fitted artefacts some records entered: drawn from schedules, never stored."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.version import Version, open_version
from lineage.provenance.chains import Chain, chains
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
        runs = chains(session)
    return exposures_among(runs, store, records)


def exposures_among(
    runs: Iterable[Chain], store: Store, records: Mapping[str, BitMap]
) -> list[Exposure]:
    """The same for runs that were read before."""
    with store.catalogue.read() as session:
        plans = list(_runs_over(session, records.keys(), runs))
    versions: dict[str, Version] = {}
    found = []
    for each in plans:
        for version_id in each.inputs.values():
            if version_id not in versions:
                versions[version_id] = open_version(store, version_id)
        salt = versions[each.inputs[each.spec.train]].salt
        schedule = schedule_of(store, each.chain.run_id, each.spec, salt)
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

    spec: RunSpec
    first_step: int
    inputs: Mapping[str, str]
    fits: tuple[tables.Fit, ...]
    chain: Chain


def _runs_over(
    session: Session, datasets: Iterable[str], runs: Iterable[Chain]
) -> Iterator[_RunRecord]:
    touched = (
        select(tables.RunInput.run_id)
        .join(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .where(tables.DatasetVersion.dataset_id.in_(list(datasets)))
        .distinct()
    )
    given: dict[str, dict[str, str]] = defaultdict(dict)
    fits: dict[str, list[tables.Fit]] = defaultdict(list)
    for each in session.scalars(select(tables.RunInput).where(tables.RunInput.run_id.in_(touched))):
        given[each.run_id][each.alias] = each.version_id
    for fit in session.scalars(select(tables.Fit).where(tables.Fit.run_id.in_(touched))):
        fits[fit.run_id].append(fit)
    left = {chain.run_id: chain for chain in runs}
    for run in session.scalars(
        select(tables.Run).where(tables.Run.id.in_(touched)).order_by(tables.Run.created_at)
    ):
        if run.id in left:
            yield _RunRecord(
                RunSpec.model_validate(run.specification),
                run.first_step,
                given[run.id],
                tuple(fits[run.id]),
                left[run.id],
            )


def _exposure(
    run: _RunRecord,
    schedule: Schedule,
    versions: Mapping[str, Version],
    records: Mapping[str, BitMap],
) -> Exposure | None:
    version = versions[run.inputs[run.spec.train]]
    rows = _rows(version, records)
    ends = np.array(run.chain.ends, np.int64)
    done = int(ends[-1]) if len(ends) else 0
    visits = schedule.visits(version.present.records.take(rows))
    executed = (visits.steps >= run.first_step) & (visits.steps < done)
    executed &= ~np.isin(visits.steps, _skipped(run, schedule, version))
    reached, steps = visits.steps[executed], visits.steps[executed & visits.applied]
    fits = tuple(
        fit.id for fit in run.fits if _in_fit(versions[run.inputs[fit.alias]], records, run.spec)
    )
    if not len(reached) and not fits:
        return None
    entered = np.unique(np.searchsorted(ends, reached, side="right"))
    return Exposure(
        run.chain.run_id,
        version.id,
        run.spec.schedule.shard,
        np.unique(steps),
        len(reached),
        tuple(run.chain.segments[index] for index in entered),
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
    """Steps of a run that had too few records to be executed.

    Rows erased since make other steps look as small. A segment with more small steps than it
    passed over has none here: an answer may then name a step too many, never one too few.
    """
    chain = run.chain
    if not any(chain.skipped):
        return np.empty(0, np.int64)
    records = version.present.records
    sizes = schedule.sizes(records)
    small = np.flatnonzero(sizes < run.spec.min_batch)
    skipped = [np.empty(0, np.int64)]
    for first, end, passed in zip(chain.first_steps, chain.ends, chain.skipped, strict=True):
        mine = small[(small >= first) & (small < end)]
        if len(mine) == passed:
            skipped.append(mine)
    return np.concatenate(skipped)

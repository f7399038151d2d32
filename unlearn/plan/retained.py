"""What the retained records cost: visits a segment, exact, and expected seconds as recorded."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.data.version import Version, contains, open_version
from lineage.schedule import Division, Records, Schedule
from lineage.store import Store
from lineage.training.recording import schedule_of
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from unlearn.plan.world import CheckpointFacts, Lap


def retained_visits(
    store: Store,
    session: Session,
    laps: Sequence[Lap],
    segments: Collection[str],
    forget: Positions,
) -> dict[str, int]:
    """Visits that each of these segments has when executed without the forgotten positions.

    Exact: steps that fall below ``min_batch`` are passed over, as the executor does.
    """
    left = _Left(store, session, forget)
    visits: dict[str, int] = {}
    wanted = [
        (run_id, segment, first, step)
        for _, run_id, step, _, _, segment, first, _, _ in laps
        if segment in segments
    ]
    for run_id, of_run in groupby(wanted, itemgetter(0)):
        found = left.of(run_id)
        for _, segment, first, step in of_run:
            visits[segment] = 0 if found is None else int(found.sizes[first:step].sum())
    return visits


def seconds(checkpoints: Iterable[CheckpointFacts]) -> float:
    """Expected seconds to make these checkpoints again, by what their segments took before.

    An upper estimate: the forgotten records' share of the time is not taken off.
    """
    return round(sum(each.seconds for each in checkpoints), 3)


@dataclass(frozen=True)
class Retained:
    """What a run trains on without the forgotten; ``sizes`` (T,) counts the records of each step.

    Steps below ``min_batch`` have none. ``records`` are those of the run's shard.
    """

    version: Version
    records: Records
    schedule: Schedule
    sizes: NDArray[np.int64]


def retained(store: Store, session: Session, run_id: str, forget: Positions) -> Retained | None:
    """A run without the forgotten positions; None where it takes no step."""
    return _Left(store, session, forget).of(run_id)


class _Left:
    """The records that are left of dataset versions, divided into shards once for all runs."""

    def __init__(self, store: Store, session: Session, forget: Positions) -> None:
        self.store, self.forget = store, forget
        runs = session.scalars(select(tables.Run))
        self.specifications = {run.id: run.specification for run in runs}
        given = session.scalars(select(tables.RunInput))
        self.inputs = {(each.run_id, each.alias): each.version_id for each in given}
        self.versions: dict[str, Version] = {}
        self.shards: dict[tuple[str, Division], list[Records]] = {}

    def of(self, run_id: str) -> Retained | None:
        """What a run trains on; None where it takes no step."""
        spec = RunSpec.model_validate(self.specifications[run_id])
        if spec.train is None:
            return None
        version = self._version(self.inputs[run_id, spec.train])
        schedule = schedule_of(self.store, run_id, spec, version.salt)
        records = self._records(version, spec)
        sizes = schedule.sizes(records)
        return Retained(version, records, schedule, np.where(sizes < spec.min_batch, 0, sizes))

    def _version(self, version_id: str) -> Version:
        if version_id not in self.versions:
            self.versions[version_id] = open_version(self.store, version_id)
        return self.versions[version_id]

    def _records(self, version: Version, spec: RunSpec) -> Records:
        division = spec.schedule.division
        if (version.id, division) not in self.shards:
            self.shards[version.id, division] = self._divided(version, division)
        return self.shards[version.id, division][spec.schedule.shard]

    def _divided(self, version: Version, division: Division) -> list[Records]:
        present = version.present
        gone = contains(self.forget.get(version.dataset.id, BitMap()), present.positions)
        kept = present.records.take(~gone)
        shard = division.shard_of(kept, version.salt)
        return [kept.take(shard == number) for number in range(division.shards)]

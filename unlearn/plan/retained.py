"""What the retained records cost: visits a segment, exact, and expected seconds as recorded."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.data.version import Version, contains, open_version
from lineage.schedule import Records, Schedule
from lineage.store import Store
from lineage.training.recording import schedule_of
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from unlearn.plan.world import CheckpointFacts


def retained_visits(
    store: Store, session: Session, segments: Iterable[str], forget: Positions
) -> dict[str, int]:
    """Visits that each of these segments has when executed without the forgotten positions.

    Exact: steps that fall below ``min_batch`` are passed over, as the executor does.
    """
    wanted = set(segments)
    by_run: dict[str, list[tuple[tables.Segment, int]]] = {}
    for segment, step in session.execute(
        select(tables.Segment, tables.Checkpoint.step).join(
            tables.Checkpoint, tables.Checkpoint.id == tables.Segment.checkpoint_id
        )
    ):
        if segment.id in wanted:
            by_run.setdefault(segment.run_id, []).append((segment, step))
    visits = {}
    for run_id, laps in by_run.items():
        left = retained(store, session, run_id, forget)
        for segment, step in laps:
            steps = slice(segment.first_step, step)
            visits[segment.id] = 0 if left is None else int(left.sizes[steps].sum())
    return visits


def seconds(checkpoints: Iterable[CheckpointFacts]) -> float:
    """Expected seconds to make these checkpoints again, by what their segments took before.

    An upper estimate: the forgotten records' share of the time is not taken off.
    """
    return round(sum(each.seconds for each in checkpoints), 3)


@dataclass(frozen=True)
class Retained:
    """What a run trains on without the forgotten; ``sizes`` (T,) counts the records of each step.

    Steps below ``min_batch`` have none.
    """

    version: Version
    records: Records
    schedule: Schedule
    sizes: NDArray[np.int64]


def retained(store: Store, session: Session, run_id: str, forget: Positions) -> Retained | None:
    """A run without the forgotten positions; None where it takes no step."""
    run = session.get_one(tables.Run, run_id)
    spec = RunSpec.model_validate(run.specification)
    if spec.train is None:
        return None
    version = open_version(store, session.get_one(tables.RunInput, (run_id, spec.train)).version_id)
    present = version.present
    kept = ~contains(forget.get(version.dataset.id, BitMap()), present.positions)
    schedule = schedule_of(store, run_id, spec, version.salt)
    records = present.records.take(kept)
    sizes = schedule.sizes(records)
    return Retained(version, records, schedule, np.where(sizes < spec.min_batch, 0, sizes))

"""How many deletions a placement has borne, and when that is too many.

A placement is drawn for a dataset: it follows from the dataset's secret salt and from the number of
its ``generation``, which only `reshard` counts up. Whatever is trained on the dataset meanwhile
has the same placement, under any name and with any number of shards. So it bears the deletions of
all these trainings.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.fences import forgotten
from lineage.data.retained import live
from storage.catalogue import tables
from storage.errors import InvalidInputError

VARIABLE = "EXPUNGE_RESHARD_CAP"
CAP = 0.05
"""The share of records whose deletion a placement bears, unless the variable says another."""


@dataclass(frozen=True, slots=True)
class Wear:
    """How many of the ``records`` that a placement was drawn for have been ``deleted`` since."""

    generation: int
    records: int
    deleted: int

    @property
    def share(self) -> float:
        """The share of the records that were deleted."""
        return self.deleted / self.records if self.records else 0.0


def due(deleted: int, records: int, cap: float = CAP) -> bool:
    """Whether so many deletions pass the cap of a placement.

    >>> due(5, 100), due(6, 100), due(6, 100, cap=0.1), due(0, 0)
    (False, True, False, False)
    """
    return deleted > cap * records


def cap_of_placements() -> float:
    """The cap in force: ``EXPUNGE_RESHARD_CAP``, a share of the records from 0 to 1.

    Raises:
        InvalidInputError: it is no such number.
    """
    text = os.environ.get(VARIABLE, str(CAP))
    try:
        cap = float(text)
    except ValueError:
        cap = -1.0
    if not 0 <= cap <= 1:
        raise InvalidInputError(
            f"{VARIABLE} is {text!r}, and a cap is a share of the records, from 0 to 1",
            hint=f"leave it out for {CAP}",
        )
    return cap


def wear(session: Session, version_id: str) -> Wear | None:
    """Return what the placement of a version has borne; None where it has none to draw anew.

    An extended version may have shards of several placements: the one that has borne most counts.
    A shard that has all rows from a position on, and no slices, is placed by none.
    """
    own: dict[tuple[str, int], list[tables.DatasetVersion]] = {}
    for run in origins_of(session, version_id).values():
        if _places(run.specification["schedule"]):
            data = _trained_on(session, run)
            own.setdefault((data.dataset_id, _generation(run)), []).append(data)
    borne = [_borne(session, *drawn, versions) for drawn, versions in own.items()]
    return max(borne, key=lambda each: each.share, default=None)


def newest_generation(session: Session, dataset_id: str) -> int:
    """Return the number of the placement of a dataset that was drawn last; the first is 0."""
    return max((generation for generation, _ in _placed(session, dataset_id)), default=0)


def origins_of(session: Session, version_id: str) -> dict[int, tables.Run]:
    """Shard → the run that was trained first, for each member of a version."""
    origins = {}
    for shard, run in session.execute(
        select(tables.ModelMember.shard, tables.Run)
        .join(tables.Checkpoint, tables.Checkpoint.id == tables.ModelMember.checkpoint_id)
        .join(tables.Run, tables.Run.id == tables.Checkpoint.run_id)
        .where(tables.ModelMember.version_id == version_id)
    ):
        origin = run
        while origin.replay_of is not None:
            origin = session.get_one(tables.Run, origin.replay_of)
        origins[shard] = origin
    return origins


def _borne(
    session: Session, dataset_id: str, generation: int, own: Iterable[tables.DatasetVersion]
) -> Wear:
    """What a placement has borne, as far as versions of its dataset (``own``) could have been.

    A row that was deleted before a version was made is not in it, and would have been. So deleted
    rows are those of every version that was trained on, up to the last row of ``own``.
    """
    there = BitMap.union(BitMap(), *map(live, own))
    placed = (version for drawn, version in _placed(session, dataset_id) if drawn == generation)
    ever = BitMap.union(there, *map(live, placed))
    ever.remove_range(max(version.rows for version in own), 2**32)
    gone = ever & forgotten(session, dataset_id)
    return Wear(generation, records=len(there | gone), deleted=len(gone))


def _placed(session: Session, dataset_id: str) -> Iterator[tuple[int, tables.DatasetVersion]]:
    """Yield each version of a dataset that was trained on, and the generation of its placement."""
    seen: set[tuple[int, str]] = set()
    for run, version in session.execute(
        select(tables.Run, tables.DatasetVersion)
        .join(tables.RunInput, tables.RunInput.run_id == tables.Run.id)
        .join(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .where(
            tables.RunInput.trains,
            tables.Run.replay_of.is_(None),
            tables.DatasetVersion.dataset_id == dataset_id,
        )
    ):
        drawn = _generation(run)
        if _places(run.specification["schedule"]) and (drawn, version.id) not in seen:
            seen.add((drawn, version.id))
            yield drawn, version


def _trained_on(session: Session, run: tables.Run) -> tables.DatasetVersion:
    return session.scalars(
        select(tables.DatasetVersion)
        .join(tables.RunInput, tables.RunInput.version_id == tables.DatasetVersion.id)
        .where(tables.RunInput.run_id == run.id, tables.RunInput.trains)
    ).one()


def _generation(run: tables.Run) -> int:
    return int(run.specification["schedule"].get("generation", 0))


def _places(schedule: Mapping[str, Any]) -> bool:
    """Whether where a run's records are trained on depends on a placement, by its specification."""
    if schedule["kind"] != "stable/1":
        return False
    return (schedule["shards"], len(schedule["nominal"])) != (1, 1)

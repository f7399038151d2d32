"""Which runs have rows that are known, though transforms that made them are executed again."""

from collections.abc import Iterator

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from lineage.data.retained import live, remade
from lineage.errors import TransformError
from lineage.store import Store
from storage.catalogue import tables
from unlearn.plan.world import World


def settled(store: Store, session: Session, world: World, gone: Positions) -> frozenset[str]:
    """Return the runs that nothing is left of, and for which no transform makes anything new.

    Runs that still have a record are not asked about: their rows decide nothing before a replay.
    """
    return frozenset(
        run for run in _left_with_nothing(world) if _is_settled(store, session, world, run, gone)
    )


def _left_with_nothing(world: World) -> Iterator[str]:
    visits: dict[str, int] = {}
    for each in world.checkpoints.values():
        visits[each.run_id] = visits.get(each.run_id, 0) + each.visits
    return (run for run, count in visits.items() if not count and world.runs[run].transforms)


def _is_settled(store: Store, session: Session, world: World, run_id: str, gone: Positions) -> bool:
    """Return True if every input is what is left of the rows that there are.

    What a transform makes of rows with models that are made anew nobody knows before.
    """
    inputs = select(tables.RunInput.version_id).where(tables.RunInput.run_id == run_id)
    versions = [session.get_one(tables.DatasetVersion, each) for each in session.scalars(inputs)]
    taught = any(world.transforms[each].given for each in world.runs[run_id].transforms)
    for version in versions:
        try:
            rows = remade(session, store, version, gone)
        except TransformError:
            return False
        left = live(version) - gone.get(version.dataset_id, BitMap())
        if rows != left or (rows and taught):
            return False
    return True

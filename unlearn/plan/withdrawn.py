"""Rows of withdrawn requests that replays have left out: what goes on from these leaves them out.

A replay is executed without the rows of every request that was accepted by then. One of these may
be withdrawn later: its rows come back into the data, and not into what was replayed without them.
To go on from there with these rows would make a mixture that no training from scratch gives.
"""

from collections.abc import Iterator, Mapping, Sequence

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from storage.catalogue import tables
from storage.manifests import load_bitmap
from unlearn.plan.passes.restarts import Chain
from unlearn.plan.stored import decoded, load_plan, plan_of
from unlearn.plan.world import World


def left_out(session: Session, gone: Positions) -> dict[str, Positions]:
    """The rows that each run of a plan was executed without, beside those that are ``gone``."""
    if not _withdrawn(session, gone):
        return {}
    run = tables.Run
    executed = session.execute(select(run.id, run.task_id).where(run.task_id.is_not(None))).all()
    plans: dict[str | None, Positions] = {plan_of(task): {} for _, task in executed}
    for plan_id in plans:
        assert plan_id is not None
        plans[plan_id] = without(decoded(load_plan(session, plan_id)[1].forget), gone)
    return {run_id: plans[plan_of(task)] for run_id, task in executed if plans[plan_of(task)]}


def behind(world: World, chains: Sequence[Chain], left: Mapping[str, Positions]) -> Positions:
    """The rows among these that something was made without which the chains go on from."""
    rows = (left.get(world.checkpoints[each].run_id, {}) for each in _upstream(world, chains))
    return union(*rows)


def union(*several: Positions) -> Positions:
    """All of these positions."""
    found: Positions = {}
    for each in several:
        for dataset, rows in each.items():
            found[dataset] = found.get(dataset, BitMap()) | rows
    return found


def without(positions: Positions, gone: Positions) -> Positions:
    """The positions that are not ``gone``; datasets of which none is left are not named."""
    left = {each: rows - gone.get(each, BitMap()) for each, rows in positions.items()}
    return {dataset: rows for dataset, rows in left.items() if rows}


def _withdrawn(session: Session, gone: Positions) -> Positions:
    """The rows of withdrawn requests that no other request names."""
    asked, request = tables.ForgetSet, tables.Request
    found = session.execute(
        select(asked.dataset_id, asked.positions)
        .join(request, request.id == asked.request_id)
        .where(request.state == "cancelled")
    )
    return without(union(*({each: load_bitmap(rows)} for each, rows in found)), gone)


def _upstream(world: World, chains: Sequence[Chain]) -> Iterator[str]:
    """The checkpoints of chains, and all that they were made from."""
    seen: set[str] = set()
    waiting = [each.id for chain in chains for each in chain.checkpoints]
    while waiting:
        current = waiting.pop()
        if current not in seen:
            seen.add(current)
            waiting += world.sources(world.checkpoints[current])
            yield current

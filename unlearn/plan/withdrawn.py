"""Rows of withdrawn requests that runs were executed without: what goes on from these is, too.

A replay is executed without the rows of every request that was accepted by then. One of these may
be withdrawn later: its rows come back into the data, and not into what was replayed without them.
To go on from there with these rows would make a mixture that no training from scratch gives.

A run over a derived dataset that was trained while a request waited did not have its rows either.
To execute a transform again, over groups or with other models, could bring some of them back. So
they stay out of its replays.
"""

from collections.abc import Iterator, Mapping, Sequence

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.absent import absent, requests
from lineage.data.identity import Positions, union
from lineage.data.mapping import mixed
from storage.catalogue import tables
from unlearn.plan.passes.restarts import Chain
from unlearn.plan.stored import decoded, load_plan, plan_of
from unlearn.plan.world import World


def left_out(session: Session, gone: Positions) -> dict[str, Positions]:
    """The rows that each run was executed without, beside those that are ``gone``."""
    withdrawn = _withdrawn(session, gone)
    if not withdrawn:
        return {}
    found = _by_plans(session, gone)
    for run_id, rows in _by_data(session, withdrawn).items():
        found[run_id] = union(found.get(run_id, {}), rows)
    return {run_id: rows for run_id, rows in found.items() if rows}


def behind(world: World, chains: Sequence[Chain], left: Mapping[str, Positions]) -> Positions:
    """The rows among these that something was made without which the chains go on from."""
    rows = (left.get(world.checkpoints[each].run_id, {}) for each in _upstream(world, chains))
    return union(*rows)


def without(positions: Positions, gone: Positions) -> Positions:
    """The positions that are not ``gone``; datasets of which none is left are not named."""
    left = {each: rows - gone.get(each, BitMap()) for each, rows in positions.items()}
    return {dataset: rows for dataset, rows in left.items() if rows}


def _withdrawn(session: Session, gone: Positions) -> list[Positions]:
    """The rows of each withdrawn request that no other request names."""
    named = requests(session, "cancelled")
    return [left for each in named if (left := without(each, gone))]


def _by_plans(session: Session, gone: Positions) -> dict[str, Positions]:
    """The rows that the plan of each run named."""
    run = tables.Run
    executed = session.execute(select(run.id, run.task_id).where(run.task_id.is_not(None))).all()
    plans: dict[str | None, Positions] = {plan_of(task): {} for _, task in executed}
    for plan_id in plans:
        assert plan_id is not None
        plans[plan_id] = without(decoded(load_plan(session, plan_id)[1].forget), gone)
    return {run_id: plans[plan_of(task)] for run_id, task in executed}


def _by_data(session: Session, withdrawn: Sequence[Positions]) -> dict[str, Positions]:
    """The rows of withdrawn requests that a run was not given, of groups or of what models made."""
    found: dict[str, Positions] = {}
    given = select(tables.RunInput.run_id, tables.DatasetVersion).join(
        tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id
    )
    for run_id, version in session.execute(given):
        if mixed(session, version):
            found[run_id] = union(found.get(run_id, {}), absent(session, version, withdrawn))
    return found


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

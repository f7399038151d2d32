"""What else could be done, what it would cost, and why it lost."""

from collections.abc import Iterable

from unlearn.plan.model import Rejected
from unlearn.plan.passes.restarts import Chain, whole_runs
from unlearn.plan.retained import seconds
from unlearn.plan.world import CheckpointFacts, VersionFacts, World


def full_retrain(world: World, affected: Iterable[VersionFacts]) -> tuple[int, float]:
    """Visits and seconds to train every affected live version from scratch, shared work once."""
    every: dict[str, CheckpointFacts] = {}
    waiting = [member for version in affected for member in version.members.values()]
    while waiting:
        current = waiting.pop()
        if current not in every:
            every[current] = world.checkpoints[current]
            waiting += every[current].sources
    every |= whole_runs(world, every.values())
    return sum(each.visits for each in every.values()), seconds(every.values())


def rejected(
    world: World, chains: tuple[Chain, ...], visits: int, full_visits: int
) -> tuple[Rejected, ...]:
    """The alternatives to a plan of ``visits``: later restarts, and a full retrain."""
    lost = []
    for chain in chains:
        first, rest = chain.checkpoints[0], chain.checkpoints[1:]
        if rest:
            saved = visits - first.visits
            why = f"{first.id} descends from the forgotten records"
            if world.runs[chain.run_id].owner is not None:
                why = f"{chain.run_id} was only observed: its owner's command begins anew"
            elif not first.tainted:
                why = f"{first.id} is clean, but was purged or is damaged"
            lost.append(
                Rejected(name=f"restart {chain.run_id} at step {first.step}", visits=saved, why=why)
            )
    if full_visits:
        more = f"{full_visits - visits} visits more than needed" if full_visits > visits else ""
        lost.append(
            Rejected(
                name="full retrain",
                visits=full_visits,
                why=more or "the plan already recomputes everything",
            )
        )
    return tuple(lost)

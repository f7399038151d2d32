"""Where to start again: the last clean checkpoint that still exists and verifies.

Every checkpoint has one predecessor, so the cheapest set of segments that makes the needed ones
again without a tainted input is forced: walk back from each until a usable clean one, or scratch.
Segments that several of them share are recomputed once.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from unlearn.plan.world import CheckpointFacts, World


@dataclass(frozen=True, slots=True)
class Chain:
    """Consecutive segments of one run to be recomputed, from ``restart`` on.

    ``restart`` is a checkpoint id or None for scratch; ``again`` says that the restart is itself
    made anew by another chain. ``fallback_from`` names a clean checkpoint that should have served
    and is damaged.
    """

    run_id: str
    restart: str | None
    again: bool
    checkpoints: tuple[CheckpointFacts, ...]
    fallback_from: str | None

    @property
    def first_step(self) -> int:
        """The step the recomputation starts at."""
        return self.checkpoints[0].first_step

    @property
    def until(self) -> int:
        """The step it ends after."""
        return self.checkpoints[-1].step

    @property
    def visits(self) -> int:
        """The (record, step) pairs it recomputes."""
        return sum(each.visits for each in self.checkpoints)


def restarts(
    world: World, wanted: Iterable[str], usable: Callable[[str], bool]
) -> tuple[Chain, ...]:
    """The chains that make the wanted checkpoints again, each after the one it starts from."""
    again: dict[str, CheckpointFacts] = {}
    fallbacks: dict[str, str] = {}
    for checkpoint_id in wanted:
        _walk_back(world, checkpoint_id, usable, again, fallbacks)
    runs = dict.fromkeys(facts.run_id for facts in again.values())
    chains = [_chain(world, run_id, again, fallbacks) for run_id in runs]
    return _ordered(world, chains)


def _walk_back(
    world: World,
    wanted: str,
    usable: Callable[[str], bool],
    again: dict[str, CheckpointFacts],
    fallbacks: dict[str, str],
) -> None:
    damaged: str | None = None
    current: str | None = wanted
    while current is not None and current not in again:
        facts = world.checkpoints[current]
        if not facts.tainted and facts.kept:
            if usable(current):
                return
            damaged = damaged or current
        again[current] = facts
        if damaged is not None:
            fallbacks.setdefault(facts.run_id, damaged)
        current = facts.previous


def _chain(
    world: World,
    run_id: str,
    again: dict[str, CheckpointFacts],
    fallbacks: dict[str, str],
) -> Chain:
    mine = sorted((each for each in again.values() if each.run_id == run_id), key=lambda c: c.step)
    restart = mine[0].previous
    return Chain(run_id, restart, restart in again, tuple(mine), fallbacks.get(run_id))


def _ordered(world: World, chains: list[Chain]) -> tuple[Chain, ...]:
    ordered: list[Chain] = []
    waiting = {chain.run_id: chain for chain in chains}
    while waiting:
        ready = [c for c in waiting.values() if not c.again or _run_of(world, c) not in waiting]
        for chain in ready:
            ordered.append(chain)
            del waiting[chain.run_id]
    return tuple(ordered)


def _run_of(world: World, chain: Chain) -> str:
    assert chain.restart is not None
    return world.checkpoints[chain.restart].run_id

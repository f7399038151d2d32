"""Where to start again: the last clean checkpoint that still exists and verifies.

What a checkpoint was made from is one predecessor, the models its run was given, and those of the
transforms that have to make its run's data anew; all of them are needed. So the cheapest set of
segments that makes the needed ones again without a tainted input is forced: walk back from each
until usable clean ones, or scratch. What is made anew begins clean of every record that the plan
leaves out, also of those of other open requests: whatever becomes of these, it is what a training
from scratch on the other rows gives. Segments that several of them share are recomputed once. A run
that was only observed has no restart points: nobody but its owner can execute it, from the
beginning. Others still start from what is left of it.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter

from unlearn.plan.world import CheckpointFacts, World


@dataclass(frozen=True, slots=True)
class Chain:
    """Consecutive segments of one run to be recomputed, from ``restart`` on.

    ``restart`` is a checkpoint id or None for scratch; ``again`` says that the restart is itself
    made anew by another chain, and ``given`` which models its run reads are; ``taught`` are those
    that transforms read for it. ``fallback_from`` names a clean checkpoint that should have served
    and is damaged.
    """

    run_id: str
    restart: str | None
    again: bool
    given: tuple[str, ...]
    taught: tuple[str, ...]
    checkpoints: tuple[CheckpointFacts, ...]
    fallback_from: str | None

    @property
    def remade(self) -> tuple[str, ...]:
        """The checkpoints it needs that other chains make anew."""
        return self.given if self.restart is None or not self.again else (self.restart, *self.given)

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
    """The chains that make the wanted checkpoints where they are tainted, purged or damaged.

    Each comes after the one it starts from.
    """
    fallbacks: dict[str, str] = {}
    again = _walked(world, wanted, usable, fallbacks)
    whole = {**again, **whole_runs(world, again.values())}
    return _ordered([_chain(world, piece, again.keys(), fallbacks) for piece in _pieces(whole)])


def recomputed(
    world: World, wanted: Iterable[str], usable: Callable[[str], bool]
) -> dict[str, CheckpointFacts]:
    """The checkpoints that those chains make, by id."""
    again = _walked(world, wanted, usable, {})
    return {**again, **whole_runs(world, again.values())}


def whole_runs(world: World, again: Iterable[CheckpointFacts]) -> dict[str, CheckpointFacts]:
    """Every checkpoint of the observed runs among these: one is trained as a whole or not."""
    observed = {c.run_id for c in again if world.runs[c.run_id].owner is not None}
    return {c.id: c for c in world.checkpoints.values() if c.run_id in observed}


def _walked(
    world: World, wanted: Iterable[str], usable: Callable[[str], bool], fallbacks: dict[str, str]
) -> dict[str, CheckpointFacts]:
    again: dict[str, CheckpointFacts] = {}
    for checkpoint_id in wanted:
        _walk_back(world, checkpoint_id, usable, again, fallbacks)
    return again


def _walk_back(
    world: World,
    wanted: str,
    usable: Callable[[str], bool],
    again: dict[str, CheckpointFacts],
    fallbacks: dict[str, str],
    *,
    begun: bool = False,
) -> None:
    """Add what makes a checkpoint again; ``begun`` where something is made again from it."""
    damaged: str | None = None
    current: str | None = wanted
    while current is not None and current not in again:
        facts = world.checkpoints[current]
        unclean = facts.tainted or (facts.barred and begun)
        if not unclean and facts.kept:
            if usable(current):
                return
            damaged = damaged or (None if facts.barred else current)
        again[current] = facts
        if damaged is not None:
            fallbacks.setdefault(current, damaged)
        for given in (*facts.given, *world.models(world.runs[facts.run_id].transforms)):
            _walk_back(world, given, usable, again, fallbacks, begun=True)
        begun, current = True, facts.previous


def _pieces(again: dict[str, CheckpointFacts]) -> list[list[CheckpointFacts]]:
    """The segments of each run, cut where one between them is not recomputed."""
    runs = {run: n for n, run in enumerate(dict.fromkeys(c.run_id for c in again.values()))}
    pieces: list[list[CheckpointFacts]] = []
    for facts in sorted(again.values(), key=lambda c: (runs[c.run_id], c.step, c.edition)):
        last = pieces[-1][-1] if pieces else None
        if last is not None and last.run_id == facts.run_id and last.id == facts.previous:
            pieces[-1].append(facts)
        else:
            pieces.append([facts])
    return pieces


def _chain(
    world: World,
    piece: list[CheckpointFacts],
    lost: Collection[str],
    fallbacks: dict[str, str],
) -> Chain:
    restart = piece[0].previous
    fallback = next((fallbacks[c.id] for c in reversed(piece) if c.id in fallbacks), None)
    run_id = piece[0].run_id
    given = tuple(each for each in piece[0].given if each in lost)
    models = world.models(world.runs[run_id].transforms)
    taught = tuple(dict.fromkeys(each for each in models if each in lost))
    return Chain(run_id, restart, restart in lost, given, taught, tuple(piece), fallback)


def _ordered(chains: list[Chain]) -> tuple[Chain, ...]:
    maker = {each.id: number for number, chain in enumerate(chains) for each in chain.checkpoints}
    waits = {
        number: [maker[each] for each in (*chain.remade, *chain.taught)]
        for number, chain in enumerate(chains)
    }
    return tuple(chains[number] for number in TopologicalSorter(waits).static_order())

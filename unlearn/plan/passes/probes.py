"""The probe: whether bits are reproducible here, needed where a replay starts from a checkpoint.

What a program keeps between steps and does not track is lost where a replay starts. Only a segment
that was executed on from the one before it can show that: one at the beginning of a run lost
nothing.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

from unlearn.plan.model import Probe, Task
from unlearn.plan.passes.restarts import Chain
from unlearn.plan.world import CheckpointFacts, World


def probes(
    world: World,
    chains: tuple[Chain, ...],
    makers: Mapping[str, tuple[str, ...]],
    usable: Callable[[str], bool],
) -> tuple[Task, ...]:
    """The probes that speak for the chains which do not begin from scratch.

    The cheapest segment is executed again that no fenced record reached, that was executed on from
    an earlier one, and whose ends still exist: of the chain itself, where it has one left; else of
    a run of the same program and settings. A restart from scratch needs none: nothing of another
    execution enters it. ``makers`` gives, per run, the tasks that make its inputs anew; a probe
    opens all it was given, and what no other task needs is not made for it.
    """
    fit = [each for each in world.checkpoints.values() if _fit(world, each, makers)]
    fit = [each for each in _cheapest(fit) if all(map(usable, each.sources))]
    speaks: dict[str, list[str]] = {}
    for chain in chains:
        found = _for(world, chain, fit) if chain.restart is not None else None
        if found is not None:
            speaks.setdefault(found.id, []).append(chain.run_id)
    tasks = sorted(speaks.items(), key=lambda each: fit.index(world.checkpoints[each[0]]))
    return tuple(
        _task(number, world, world.checkpoints[probed], tuple(dict.fromkeys(runs)), makers)
        for number, (probed, runs) in enumerate(tasks, 1)
    )


def _for(world: World, chain: Chain, fit: Collection[CheckpointFacts]) -> CheckpointFacts | None:
    """The segment that speaks for a chain, if there is any; ``fit`` are the cheapest first."""
    runs = set(_runs_of(world, chain))
    run = world.runs[chain.run_id]
    alike = (run.program_id, run.specification)
    others = (c for c in fit if _asked(world, c) == alike)
    return next((c for c in fit if c.run_id in runs), next(others, None))


def _runs_of(world: World, chain: Chain) -> Iterator[str]:
    """The run of a chain, and those of the same program and settings that it goes on from."""
    asked = _asked(world, chain.checkpoints[0])
    current: CheckpointFacts | None = chain.checkpoints[0]
    while current is not None and _asked(world, current) == asked:
        yield current.run_id
        current = None if current.previous is None else world.checkpoints[current.previous]


def _asked(world: World, checkpoint: CheckpointFacts) -> tuple[str, str]:
    run = world.runs[checkpoint.run_id]
    return run.program_id, run.specification


def _cheapest(segments: Iterable[CheckpointFacts]) -> list[CheckpointFacts]:
    return sorted(segments, key=lambda each: (each.visits, each.id))


def _fit(world: World, checkpoint: CheckpointFacts, makers: Mapping[str, tuple[str, ...]]) -> bool:
    run, before = world.runs[checkpoint.run_id], checkpoint.previous
    return (
        checkpoint.kept
        and checkpoint.segment_id not in world.fenced
        and checkpoint.visits > 0
        and before is not None
        and world.checkpoints[before].run_id == run.id
        and run.owner is None
        and len(makers.get(run.id, ())) == len(run.transforms)
        and all(world.checkpoints[each].kept for each in checkpoint.sources)
    )


def _task(
    number: int,
    world: World,
    checkpoint: CheckpointFacts,
    runs: tuple[str, ...],
    makers: Mapping[str, tuple[str, ...]],
) -> Task:
    program = world.runs[checkpoint.run_id].program_id
    return Task(
        id=f"probe-{number}",
        depends_on=makers.get(checkpoint.run_id, ()),
        work=Probe(program_id=program, segment_id=checkpoint.segment_id, runs=runs),
        visits=checkpoint.visits,
        seconds=round(checkpoint.seconds, 3),
        reason="a replay from a checkpoint continues bits of another execution: "
        "the cheapest clean segment that did so shows whether they come out the same here",
    )

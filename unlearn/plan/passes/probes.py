"""The probe: whether bits are reproducible here, needed where a replay starts from a checkpoint."""

from collections.abc import Callable, Mapping

from unlearn.plan.model import Probe, Task
from unlearn.plan.passes.restarts import Chain
from unlearn.plan.world import CheckpointFacts, World


def probes(
    world: World,
    chains: tuple[Chain, ...],
    makers: Mapping[str, tuple[str, ...]],
    usable: Callable[[str], bool],
) -> tuple[Task, ...]:
    """A probe for each program whose replay does not begin from scratch.

    The cheapest of its segments that no fenced record reached, and whose ends still exist, is
    executed again. A restart from scratch needs none: nothing of another execution enters it.
    ``makers`` gives, per run, the tasks that make its inputs anew; it opens all it was given, and
    what no other task needs is not made for it.
    """
    programs = dict.fromkeys(world.runs[c.run_id].program_id for c in chains if c.restart)
    tasks: list[Task] = []
    for program_id in programs:
        candidates = [c for c in world.checkpoints.values() if _fit(world, c, program_id, makers)]
        for each in sorted(candidates, key=lambda c: (c.visits, c.id)):
            if all(map(usable, each.sources)):
                waits = makers.get(each.run_id, ())
                tasks.append(_task(len(tasks) + 1, program_id, each, waits))
                break
    return tuple(tasks)


def _fit(
    world: World,
    checkpoint: CheckpointFacts,
    program_id: str,
    makers: Mapping[str, tuple[str, ...]],
) -> bool:
    run = world.runs[checkpoint.run_id]
    return (
        checkpoint.kept
        and checkpoint.segment_id not in world.fenced
        and checkpoint.visits > 0
        and run.program_id == program_id
        and run.owner is None
        and len(makers.get(run.id, ())) == len(run.transforms)
        and all(world.checkpoints[each].kept for each in checkpoint.sources)
    )


def _task(
    number: int, program_id: str, checkpoint: CheckpointFacts, waits: tuple[str, ...]
) -> Task:
    return Task(
        id=f"probe-{number}",
        depends_on=waits,
        work=Probe(program_id=program_id, segment_id=checkpoint.segment_id),
        visits=checkpoint.visits,
        seconds=round(checkpoint.seconds, 3),
        reason="a replay from a checkpoint continues bits of another execution: "
        "the cheapest clean segment shows whether they come out the same here",
    )

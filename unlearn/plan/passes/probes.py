"""The probe: whether bits are reproducible here, needed where a replay starts from a checkpoint."""

from sqlalchemy.orm import Session

from unlearn.plan.model import Probe, Task
from unlearn.plan.passes.restarts import Chain
from unlearn.plan.world import CheckpointFacts, World


def probes(session: Session, world: World, chains: tuple[Chain, ...]) -> tuple[Task, ...]:
    """A probe for each program whose replay does not begin from scratch.

    The cheapest clean segment of the program whose ends still exist is executed again. A restart
    from scratch needs no probe: nothing of another execution enters it.
    """
    programs = dict.fromkeys(world.runs[c.run_id].program_id for c in chains if c.restart)
    tasks: list[Task] = []
    for program_id in programs:
        candidates = [c for c in world.checkpoints.values() if _fit(world, c, program_id)]
        if candidates:
            cheapest = min(candidates, key=lambda c: (c.visits, c.id))
            tasks.append(_task(len(tasks) + 1, program_id, cheapest))
    return tuple(tasks)


def _fit(world: World, checkpoint: CheckpointFacts, program_id: str) -> bool:
    before = checkpoint.previous
    return (
        checkpoint.kept
        and not checkpoint.tainted
        and checkpoint.visits > 0
        and world.runs[checkpoint.run_id].program_id == program_id
        and (before is None or world.checkpoints[before].kept)
    )


def _task(number: int, program_id: str, checkpoint: CheckpointFacts) -> Task:
    return Task(
        id=f"probe-{number}",
        depends_on=(),
        work=Probe(program_id=program_id, segment_id=checkpoint.segment_id),
        visits=checkpoint.visits,
        seconds=round(checkpoint.seconds, 3),
        reason="a replay from a checkpoint continues bits of another execution: "
        "the cheapest clean segment shows whether they come out the same here",
    )

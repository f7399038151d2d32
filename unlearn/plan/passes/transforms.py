"""The tasks that execute transforms again: in order, each after what makes the models it needs."""

from collections.abc import Iterable, Iterator

from unlearn.plan.makers import TransformFacts
from unlearn.plan.model import Task, Transform
from unlearn.plan.passes.replays import made_by, names_of
from unlearn.plan.passes.restarts import Chain
from unlearn.plan.world import World


def transforms(world: World, chains: tuple[Chain, ...]) -> tuple[Task, ...]:
    """A task for each transform that the chains or new runs need; the others are left alone.

    They are executed one after the other: several may write into one dataset.
    """
    made = names_of(world, chains)
    tasks: list[Task] = []
    for each in _needed(world, chains):
        given = {
            old: made_by(made[old], world.checkpoints[old]) for old in each.given if old in made
        }
        waits = (*(task.id for task in tasks), *dict.fromkeys(new.task for new in given.values()))
        tasks.append(
            Task(
                id=f"transform-{len(tasks) + 1}",
                depends_on=waits,
                work=Transform(transform_id=each.id, given=given),
                visits=0,
                seconds=0.0,
                reason=_reason(each),
            )
        )
    return tuple(tasks)


def makers(world: World, tasks: Iterable[Task]) -> dict[str, tuple[str, ...]]:
    """The tasks among these that make what each run was given."""
    made = {task.work.transform_id: task.id for task in tasks if isinstance(task.work, Transform)}
    return {
        run.id: tuple(made[each] for each in run.transforms if each in made)
        for run in world.runs.values()
    }


def _needed(world: World, chains: tuple[Chain, ...]) -> Iterator[TransformFacts]:
    replayed = {each for chain in chains for each in world.runs[chain.run_id].transforms}
    return (each for each in world.transforms.values() if each.wanted or each.id in replayed)


def _reason(each: TransformFacts) -> str:
    if each.taught:
        return f"{each.ref} was given a model that learned from the forgotten records"
    return f"{each.ref} had forgotten rows in sight: what it made with them is made anew"

"""The tasks after the last replay: aggregate, check, publish, purge."""

from collections.abc import Iterator, Sequence

from unlearn.impact import Impact
from unlearn.plan.model import (
    Aggregate,
    Canary,
    Check,
    External,
    Kept,
    Made,
    Publish,
    Purge,
    Replay,
    Task,
)
from unlearn.plan.passes.replays import made_by
from unlearn.plan.world import CheckpointFacts, VersionFacts, World


def finish(
    world: World, impact: Impact, affected: Sequence[VersionFacts], tasks: Sequence[Task]
) -> tuple[Task, ...]:
    """The whole DAG in an order that respects it: ``tasks``, then what follows from them."""
    makers = _makers(world, tasks)
    going_on = [version for version in affected if version.members]
    aggregates = tuple(
        _aggregate(world, number, version, makers) for number, version in enumerate(going_on, 1)
    )
    so_far = (*tasks, *aggregates, *_canaries(world, going_on, aggregates))
    check = _task("check", so_far, Check(), "evidence is gathered while what it needs exists")
    work = Publish(ended=tuple(version.id for version in affected if not version.members))
    publish = _task("publish", (check,), work, "the replacements passed their check")
    purge = _task(
        "purge",
        (publish,),
        Purge(
            checkpoints=tuple(c for c in sorted(impact.checkpoints) if world.checkpoints[c].kept),
            fits=tuple(sorted(world.fits)),
            versions=tuple(version.id for version in world.versions if version.tainted),
        ),
        "what descends from the forgotten records, and their rows and salts, may not stay",
    )
    return (*so_far, check, publish, purge)


def _makers(world: World, tasks: Sequence[Task]) -> dict[str, str]:
    """The task that makes each checkpoint again, where one does."""
    by_run: dict[str, list[CheckpointFacts]] = {}
    for each in world.checkpoints.values():
        by_run.setdefault(each.run_id, []).append(each)
    return {
        each.id: task.id
        for task in tasks
        if isinstance(task.work, Replay | External)
        for each in by_run[task.work.run_id]
        if _makes(task.work, each)
    }


def _makes(work: Replay | External, checkpoint: CheckpointFacts) -> bool:
    """Whether a task makes this checkpoint of its run."""
    if isinstance(work, External):
        return True
    last = checkpoint.step == work.until  # the only one, where the run takes no step
    return last or work.first_step < checkpoint.step <= work.until


def _aggregate(world: World, number: int, version: VersionFacts, makers: dict[str, str]) -> Task:
    members: dict[int, Made | Kept] = {}
    for shard, member in version.members.items():
        if member in makers:
            members[shard] = made_by(makers[member], world.checkpoints[member])
        else:
            members[shard] = Kept(checkpoint_id=member)
    made = [member.task for member in members.values() if isinstance(member, Made)]
    return Task(
        id=f"aggregate-{number}",
        depends_on=tuple(dict.fromkeys(made)),
        work=Aggregate(version_id=version.id, members=members, left_out=dict(version.left_out)),
        visits=0,
        seconds=0.0,
        reason=f"{version.model} v{version.sequence} is in use and learned from the forgotten",
    )


def _canaries(
    world: World, versions: Sequence[VersionFacts], aggregates: Sequence[Task]
) -> Iterator[Task]:
    watched = (
        (version, made)
        for version, made in zip(versions, aggregates, strict=True)
        if version.model in world.canaries
    )
    for number, (version, made) in enumerate(watched, 1):
        yield Task(
            id=f"canary-{number}",
            depends_on=(made.id,),
            work=Canary(version_id=version.id, aggregate=made.id),
            visits=0,
            seconds=0.0,
            reason=f"{version.model} has a canary: aliases do not move to what is much worse",
        )


def _task(name: str, after: Sequence[Task], work: Check | Publish | Purge, reason: str) -> Task:
    ends = tuple(task.id for task in after)
    return Task(id=name, depends_on=ends, work=work, visits=0, seconds=0.0, reason=reason)

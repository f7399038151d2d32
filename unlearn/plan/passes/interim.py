"""Which models can be published at once without their affected shards.

An ensemble without them is unlearned exactly, as soon as nothing its other shards share descends
from the forgotten records; a shared start or artefact would have tainted those shards too.
"""

from collections.abc import Callable

from unlearn.plan.model import Interim, Task
from unlearn.plan.world import CheckpointFacts, VersionFacts, World


def interims(
    world: World, affected: tuple[VersionFacts, ...], usable: Callable[[str], bool]
) -> tuple[Task, ...]:
    """An interim version for each newest affected one that has clean members left."""
    tasks: list[Task] = []
    for version in affected:
        clean = {
            shard: member
            for shard, member in version.members.items()
            if _serves(world.checkpoints[member]) and usable(member)
        }
        if clean and clean != version.members and version.newest:
            tasks.append(
                Task(
                    id=f"interim-{len(tasks) + 1}",
                    depends_on=(),
                    work=Interim(version_id=version.id, members=clean),
                    visits=0,
                    seconds=0.0,
                    reason=f"{len(clean)} of {len(version.members)} shards of {version.model} "
                    "never saw the forgotten records: they can serve alone, now",
                )
            )
    return tuple(tasks)


def _serves(member: CheckpointFacts) -> bool:
    return member.kept and not member.tainted

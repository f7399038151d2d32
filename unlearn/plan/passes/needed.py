"""Which tainted checkpoints must be made again: those that live versions are made of."""

from unlearn.plan.world import VersionFacts, World


def needed(world: World) -> tuple[VersionFacts, ...]:
    """The live versions that descend from the forgotten records, oldest first.

    Everything else that is affected is only purged.
    """
    return tuple(version for version in world.versions if version.live and version.tainted)


def needed_checkpoints(world: World, versions: tuple[VersionFacts, ...]) -> tuple[str, ...]:
    """The tainted members of these versions, each once."""
    members = (member for version in versions for member in version.members.values())
    return tuple(dict.fromkeys(m for m in members if world.checkpoints[m].tainted))

"""Which versions must be replaced, and which checkpoints they and new rows are made of."""

from unlearn.plan.world import VersionFacts, World


def needed(world: World) -> tuple[VersionFacts, ...]:
    """The live versions that descend from the forgotten records, oldest first.

    Everything else that is affected is only purged.
    """
    return tuple(version for version in world.versions if version.live and version.tainted)


def needed_checkpoints(versions: tuple[VersionFacts, ...]) -> tuple[str, ...]:
    """The members of these versions, each once: the restarts pass sees which are there."""
    members = (member for version in versions for member in version.members.values())
    return tuple(dict.fromkeys(members))


def needed_models(world: World) -> tuple[str, ...]:
    """The models of the transforms that are executed again whatever is replayed, each once."""
    wanted = (each.id for each in world.transforms.values() if each.wanted)
    return tuple(dict.fromkeys(world.models(wanted)))

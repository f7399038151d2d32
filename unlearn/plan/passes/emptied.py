"""Which members would learn from no record any more: their ensemble goes on without them.

A shard whose records are all forgotten has nothing to retrain on, and what a replay would make of
it is as it was initialised. Nobody would have trained it, so it is left out; of a version that has
no other member, nothing is left. Nor is anything left of what was given a model that ends so:
without the forgotten it could not have been made.
"""

from dataclasses import replace

from unlearn.plan.world import CheckpointFacts, VersionFacts, World


def without_emptied(world: World, affected: tuple[VersionFacts, ...]) -> tuple[VersionFacts, ...]:
    """The versions with the members that still learn from somebody, and those that are left out."""
    return tuple(_split(world, version) for version in affected)


def _split(world: World, version: VersionFacts) -> VersionFacts:
    left_out = {shard: member for shard, member in version.members.items() if _ends(world, member)}
    members = {shard: each for shard, each in version.members.items() if shard not in left_out}
    orphaned = any(not _emptied(world, world.checkpoints[each]) for each in left_out.values())
    return replace(version, members=members, left_out=left_out, orphaned=orphaned)


def _ends(world: World, member: str) -> bool:
    """Return True if a checkpoint has no record left, or was given a model of which none has."""
    facts = world.checkpoints[member]
    models = world.runs[facts.run_id].models
    return _emptied(world, facts) or any(
        all(_ends(world, each) for each in members) for members in models
    )


def _emptied(world: World, member: CheckpointFacts) -> bool:
    """Whether forgotten records reached its run, and no record is left for any of its steps.

    What was only observed is its owner's to judge, a run without steps learns from models, and what
    rows a transform makes anew nobody knows yet, unless it is settled that it makes none.
    """
    laps = [member]
    while laps[-1].first_step and laps[-1].previous is not None:
        laps.append(world.checkpoints[laps[-1].previous])
    return (
        member.step > 0
        and not any(each.visits for each in laps)
        and any(each.segment_id in world.fenced for each in laps)
        and all(world.runs[each.run_id].owner is None for each in laps)
        and all(_is_known(world, each.run_id) for each in laps)
    )


def _is_known(world: World, run_id: str) -> bool:
    return not world.runs[run_id].transforms or run_id in world.settled

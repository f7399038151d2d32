"""Members that would learn from nobody, on small random worlds."""

from types import ModuleType
from typing import Any

from hypothesis import given, settings

from unlearn.plan.passes.emptied import without_emptied
from unlearn.plan.passes.needed import needed


def lineage(world: Any, member: Any) -> list[Any]:
    """The segments that led to a checkpoint from the beginning of its training, however replayed.

    A fine-tune begins at step 0, with what another training left.
    """
    laps = [member]
    while laps[0].first_step > 0:
        laps.insert(0, world.checkpoints[laps[0].previous])
    return laps


def ends_by_itself(world: Any, checkpoint: str) -> bool:
    """Records reached what led to it, none is left, and it is known that none comes anew."""
    laps = lineage(world, world.checkpoints[checkpoint])
    runs = {lap.run_id for lap in laps}
    unknown = {run for run in runs if world.runs[run].transforms and run not in world.settled}
    return (
        any(lap.segment_id in world.fenced for lap in laps)
        and laps[-1].step > 0
        and not unknown
        and not any(world.runs[run].owner for run in runs)
        and sum(lap.visits for lap in laps) == 0
    )


def ended(world: Any) -> set[str]:
    """The checkpoints that end: by themselves, or with a model that their run was given."""
    found = {each for each in world.checkpoints if ends_by_itself(world, each)}
    while True:
        runs = {
            run.id
            for run in world.runs.values()
            if any(found.issuperset(members) for members in run.models)
        }
        more = {each.id for each in world.checkpoints.values() if each.run_id in runs}
        if more <= found:
            return found
        found |= more


def test_a_member_is_left_out_where_records_were_and_none_is_left(worlds: ModuleType) -> None:
    @settings(max_examples=300)
    @given(worlds.cases())
    def holds(case: Any) -> None:
        world, affected = case.world, needed(case.world)
        gone = ended(world)
        for before, after in zip(affected, without_emptied(world, affected), strict=True):
            assert {**after.members, **after.left_out} == before.members
            assert {*after.left_out.values()} == gone.intersection(before.members.values())
            assert after.orphaned == any(
                not ends_by_itself(world, each) for each in after.left_out.values()
            )

    holds()

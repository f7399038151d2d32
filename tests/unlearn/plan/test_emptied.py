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


def test_a_member_is_left_out_where_records_were_and_none_is_left(worlds: ModuleType) -> None:
    @settings(max_examples=300)
    @given(worlds.cases())
    def holds(case: Any) -> None:
        world, affected = case.world, needed(case.world)
        remade = {run.id for run in world.runs.values() if run.transforms}
        for before, after in zip(affected, without_emptied(world, affected), strict=True):
            assert {**after.members, **after.left_out} == before.members
            for shard, checkpoint in before.members.items():
                laps = lineage(world, world.checkpoints[checkpoint])
                runs = {lap.run_id for lap in laps}
                reached = any(lap.segment_id in world.fenced for lap in laps)
                ours = reached and not runs & remade and laps[-1].step > 0
                ours = ours and not any(world.runs[run].owner for run in runs)
                visits = sum(lap.visits for lap in laps)
                assert (shard in after.left_out) == (ours and visits == 0)

    holds()

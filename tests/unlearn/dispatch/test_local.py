"""Workers that are processes: what they do is kept, and what kills one does not spoil a plan."""

from typing import Any

import pytest

from lineage.errors import ProgramError
from lineage.training.model import find_version
from storage.catalogue import tables
from unlearn.dispatch import journal
from unlearn.dispatch.drive import apply
from unlearn.dispatch.local import LocalWorkers
from unlearn.errors import TaskError
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept


@pytest.fixture
def plan(trained: Any, tally: Any) -> tuple[str, Any]:
    request = accept(trained, "subject", ["person-07"])
    return make_plan(trained, [request.id])


def states(store: Any, plan_id: str) -> dict[str, str]:
    with store.catalogue.read() as session:
        tasks = session.query(tables.Task).filter_by(plan_id=plan_id)
        return {task.id.rpartition("/")[2]: task.state for task in tasks}


def segment_of(store: Any, segment_id: str) -> range:
    with store.catalogue.read() as session:
        segment = session.get_one(tables.Segment, segment_id)
        last = session.get_one(tables.Checkpoint, segment.checkpoint_id).step
        return range(segment.first_step, last)


def test_a_worker_that_was_killed_in_a_replay_leaves_a_plan_that_can_be_applied(
    trained: Any, tally: Any, workshop: Any, plan: tuple[str, Any]
) -> None:
    plan_id, planned = plan
    replay = planned.task("replay-1").work
    tally.spring(replay.until - 1, "kill")
    with pytest.raises(TaskError, match=f"a worker of plan {plan_id} died") as died:
        apply(trained, plan_id, LocalWorkers(trained, 1))
    assert f"expunge apply {plan_id}" in died.value.hint
    assert states(trained, plan_id)["replay-1"] == "running"
    done = journal.results(trained, plan_id)
    tally.forget_the_log()
    results = apply(trained, plan_id, LocalWorkers(trained, 2))
    assert {task: results[task] for task in done} == done
    # Beside the replay, which goes on from its last checkpoint, another worker may probe.
    probed = segment_of(trained, planned.task("probe-1").work.segment_id)
    assert sorted(step for step, _ in tally.consumed()) == [*probed, *range(18, replay.until)]
    assert results["replay-1"]["visits"] == planned.visits
    assert (results["check"]["verdict"], states(trained, plan_id)["purge"]) == ("passed", "done")
    assert find_version(trained, "m").digest == results["aggregate-1"]["digest"]


def test_an_error_in_a_worker_comes_back_as_it_was_raised(
    trained: Any, tally: Any, plan: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with trained.catalogue.write() as session:
        for program in session.query(tables.Program):
            program.ref = "tally.py:nothing"
    with pytest.raises(ProgramError, match=r"tally\.py has no function 'nothing'"):
        apply(trained, plan[0], LocalWorkers(trained, 1))
    assert states(trained, plan[0])["publish"] == "pending"

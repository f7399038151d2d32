"""An owner of a plan that was taken for dead publishes, destroys and begins nothing."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from storage.catalogue import tables
from unlearn.dispatch import journal
from unlearn.dispatch.drive import apply
from unlearn.errors import StalePlanError
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

OTHER = "elsewhere.example:1:1.00000000"


@pytest.fixture
def plan_id(trained: Any, tally: Any) -> str:
    return make_plan(trained, [accept(trained, "subject", ["person-07"]).id])[0]


@pytest.fixture
def overtaken(trained: Any, plan_id: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let another process take the plan over right after a task was begun."""

    def at(kind: str) -> None:
        start = journal.start

        def then_lose(store: Any, ownership: Any, task_id: str) -> bool:
            begun = start(store, ownership, task_id)
            if task_id.startswith(kind):
                with trained.catalogue.write() as session:
                    fence = tables.Plan.fence + 1
                    session.execute(update(tables.Plan).values(owner=OTHER, fence=fence))
            return begun

        monkeypatch.setattr(journal, "start", then_lose)

    return at


def kept(workshop: Any, store: Any) -> dict[str, Any]:
    """What a plan may make and destroy."""
    return {
        table.__name__: sorted(
            (each.id, getattr(each, "purged_at", None), getattr(each, "state", None))
            for each in workshop.rows_of(store, table)
        )
        for table in (tables.ModelVersion, tables.Run, tables.Checkpoint, tables.Request)
    }


@pytest.mark.parametrize("kind", ["interim", "replay", "publish", "purge", "probe"])
def test_a_task_whose_plan_was_taken_over_writes_nothing(
    trained: Any, workshop: Any, plan_id: str, overtaken: Callable[[str], None], kind: str
) -> None:
    overtaken(kind)
    before: list[Any] = []

    def progress(task: Any, state: str) -> None:
        if task.work.kind == kind and state == "started":
            before.append(kept(workshop, trained))

    with pytest.raises(StalePlanError, match=f"plan {plan_id} was taken over by another process"):
        apply(trained, plan_id, progress=progress)
    assert kept(workshop, trained) == before[0]
    with trained.catalogue.read() as session:
        plan = session.get_one(tables.Plan, plan_id)
        assert (plan.owner, plan.state) == (OTHER, "applying")

"""Transform: execute a transform again on the retained rows."""

from typing import Any

from lineage.data.transform import rederive
from unlearn.dispatch.worker import Context
from unlearn.plan.model import Transform
from unlearn.plan.planner import decoded


def execute(context: Context) -> dict[str, Any]:
    """Make the output anew; its head moves to the new version."""
    work = context.task.work
    assert isinstance(work, Transform)
    version = rederive(context.store, work.transform_id, decoded(context.plan.forget))
    return {"version": version.id, "records": version.row.live}

"""Transform: execute a transform again on the retained rows."""

from typing import Any

from lineage.training.lesson import rederive
from unlearn.dispatch.worker import Context
from unlearn.plan.model import Transform
from unlearn.plan.stored import decoded


def execute(context: Context) -> dict[str, Any]:
    """Make the output anew, with the models that stand in by now; its head moves to it."""
    work = context.task.work
    assert isinstance(work, Transform)
    gone, taught = decoded(context.plan.forget), context.plan.taught(context.results)
    version = rederive(context.store, work.transform_id, gone, taught)
    return {"version": version.id, "records": version.row.live}

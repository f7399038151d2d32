"""Plans as they are recorded: what one says, the rows that it leaves out, what it needs."""

import base64
from collections.abc import Mapping

from sqlalchemy.orm import Session

from lineage.data.identity import Positions
from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.manifests import dump_bitmap, load_bitmap
from unlearn.plan.model import Plan


def load_plan(session: Session, plan_id: str) -> tuple[tables.Plan, Plan]:
    """A recorded plan: its row and what it says.

    Raises:
        NotFoundError: there is none.
    """
    row = session.get(tables.Plan, plan_id)
    if row is None:
        raise NotFoundError(f"there is no plan {plan_id}", hint="see `expunge status`")
    return row, Plan.model_validate(row.body)


def decoded(forget: Mapping[str, str]) -> Positions:
    """A plan's forgotten positions: dataset id → positions."""
    return {dataset: load_bitmap(base64.b64decode(data)) for dataset, data in forget.items()}


def encoded(positions: Positions) -> dict[str, str]:
    """Positions as a plan keeps them, in the order of datasets; see `decoded`."""
    return {
        dataset: base64.b64encode(dump_bitmap(positions[dataset])).decode()
        for dataset in sorted(positions)
    }


def leased(plan: Plan) -> tuple[str, ...]:
    """The checkpoints a plan needs until it is applied."""
    restarted = (
        task.work.restart
        for task in plan.tasks
        if task.work.kind == "replay" and (task.work.restart or "").startswith("ckpt-")
    )
    return tuple(dict.fromkeys(each for each in restarted if each is not None))


def plan_of(task_id: str | None) -> str | None:
    """The id of the plan that a run was executed for, by the id of its task; None: for none."""
    return None if task_id is None else task_id.partition("/")[0]

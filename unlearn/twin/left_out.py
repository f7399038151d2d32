"""The rows that the counterfactual of a run is trained without: a set a chain, frozen by its plan.

A replay left out what its plan says, whatever became of the requests since. What no plan made again
was trained before, on rows that are still there: of the forgotten it saw nobody whose request is
done, or it would be gone.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Positions, union
from storage.catalogue import tables
from unlearn.plan.model import Plan
from unlearn.plan.stored import decoded, load_plan, plan_of
from unlearn.request.reading import forget_sets


class LeftOut:
    """The rows left out of runs, as seen from a plan that is being verified."""

    def __init__(self, session: Session, plan: Plan) -> None:
        done = session.scalars(select(tables.Request.id).where(tables.Request.state == "done"))
        self._forgotten = forget_sets(session, [*plan.requests, *done])
        self._plans: dict[str | None, Positions] = {None: {}}

    def of(self, session: Session, run: tables.Run) -> Positions:
        """The rows that a run was executed without: dataset id → positions."""
        plan_id = plan_of(run.task_id)
        if plan_id is not None and plan_id not in self._plans:
            self._plans[plan_id] = decoded(load_plan(session, plan_id)[1].forget)
        return union(self._forgotten, self._plans[plan_id])

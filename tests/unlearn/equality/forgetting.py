"""Asking to forget and carrying it out, as the command does, in this process."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from lineage.store import Store
from storage.catalogue import tables
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.dispatch.worker import Options
from unlearn.plan.model import Plan
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

PLAINLY = Options()
TWIN = Options(twin=True)


@dataclass(frozen=True)
class Outcome:
    """A plan, and the results of its tasks."""

    plan_id: str
    plan: Plan
    results: Mapping[str, Mapping[str, Any]]

    @property
    def version(self) -> str:
        """The version that replaced the only one affected."""
        (version,) = self.results["publish"]["versions"].values()
        return str(version)


def ask(store: Store, kind: str, names: list[str]) -> str:
    """Accept a request; its id."""
    return accept(store, kind, names).request_id


def ask_all(store: Store, kind: str, names: list[str]) -> list[str]:
    """Accept a request for each subject, or one for all records; their ids."""
    return list(accept(store, kind, names).request_ids)


def forget(store: Store, kind: str, names: list[str], options: Options = PLAINLY) -> Outcome:
    """Accept requests, plan them together, and apply the plan."""
    return carry_out(store, ask_all(store, kind, names), options)


def carry_out(store: Store, requests: list[str], options: Options = PLAINLY) -> Outcome:
    """Plan some requests together, and apply the plan."""
    plan_id, plan = make_plan(store, requests)
    return Outcome(plan_id, plan, apply(store, plan_id, InProcess(store), options))


def newest(store: Store, model: str) -> str:
    """The newest version of a model that is not interim."""
    with store.catalogue.read() as session:
        return (
            session.scalars(
                select(tables.ModelVersion.id)
                .join(tables.Model, tables.Model.id == tables.ModelVersion.model_id)
                .where(tables.Model.name == model, tables.ModelVersion.interim.is_(False))
                .order_by(tables.ModelVersion.sequence.desc())
            ).first()
            or ""
        )

"""One task, in whatever process it is carried out: kinds are known by name only."""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from lineage.store import Store
from storage.catalogue import tables
from unlearn.dispatch import journal
from unlearn.dispatch.journal import Ownership
from unlearn.plan.model import Plan, Task


@dataclass(frozen=True, slots=True)
class Options:
    """How a plan is applied: ``twin`` adds a from-scratch twin to the check."""

    twin: bool = False
    allow_changed: bool = False


@dataclass(frozen=True)
class Context:
    """What a task may use: the store, its plan, the results before it, and how it is applied."""

    store: Store
    ownership: Ownership
    task: Task
    results: dict[str, dict[str, Any]]
    options: Options

    @property
    def plan_id(self) -> str:
        """The id of the plan."""
        return self.ownership.plan_id

    @property
    def plan(self) -> Plan:
        """The plan."""
        return self.ownership.plan

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """Write to the catalogue as the owner of the plan: what a task publishes or destroys.

        Raises:
            StalePlanError: another owner took the plan meanwhile; nothing is written.
        """
        with self.store.catalogue.write() as session:
            journal.require_owner(session, self.ownership)
            yield session

    def row(self, session: Session) -> tables.Task:
        """The row of the task: what it notes there is kept, or not, with all else it writes."""
        return session.get_one(tables.Task, f"{self.plan_id}/{self.task.id}")


def work(path: Path, ownership: Ownership, task_id: str, options: Options) -> None:
    """Carry out a task of the store at ``path``, unless it is already done, and keep its result."""
    with Store.open(path) as store:
        perform(store, ownership, task_id, options)


def perform(store: Store, ownership: Ownership, task_id: str, options: Options) -> None:
    """Carry out a task of an open store, unless it is already done, and keep its result."""
    if not journal.start(store, ownership, task_id):
        return
    task = ownership.plan.task(task_id)
    module = importlib.import_module(f"unlearn.tasks.{task.work.kind}")
    done = journal.results(store, ownership.plan_id)
    context = Context(store, ownership, task, done, options)
    journal.complete(store, ownership, task_id, module.execute(context))

"""The states of runs, trainings, requests, plans and tasks, held against each other."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from storage.catalogue import tables

STATES: dict[type[Any], frozenset[str]] = {
    tables.Run: frozenset({"pending", "running", "complete", "failed", "stopped"}),
    tables.Training: frozenset({"running", "complete"}),
    tables.Request: frozenset({"open", "done", "cancelled"}),
    tables.Plan: frozenset({"ready", "applying", "failed", "applied", "cancelled"}),
    tables.Task: frozenset({"pending", "running", "done"}),
}
"""What the states of rows may be."""


def faults_of_states(session: Session) -> Iterator[str]:
    """Yield a sentence for each state that does not fit what other rows say."""
    for table, states in STATES.items():
        for row_id, state in session.execute(select(table.id, table.state)):
            if state not in states:
                yield f"{row_id} has the unknown state {state!r}"
    yield from _runs(session)
    yield from _trainings(session)
    yield from _plans(session)
    yield from _requests(session)
    yield from _versions_of_plans(session)


def _runs(session: Session) -> Iterator[str]:
    """Complete runs have checkpoints, pending ones have none, and versions are of complete ones."""
    made, member = tables.Checkpoint, tables.ModelMember
    kept = set(session.scalars(select(made.run_id)))
    of = select(made.run_id).join(member, member.checkpoint_id == made.id)
    published = set(session.scalars(of))
    for run_id, state in session.execute(select(tables.Run.id, tables.Run.state)):
        if state == "complete" and run_id not in kept:
            yield f"{run_id} is complete, and has no checkpoint"
        if state == "pending" and run_id in kept:
            yield f"{run_id} is pending, and has checkpoints"
        if state != "complete" and run_id in published:
            yield f"{run_id} is {state}, and a version was made of it"


def _trainings(session: Session) -> Iterator[str]:
    """A training is complete where a version of its model was made of its runs."""
    version, member, made = tables.ModelVersion, tables.ModelMember, tables.Checkpoint
    rows = session.execute(
        select(tables.Run.training_id, version.model_id)
        .join(made, made.run_id == tables.Run.id)
        .join(member, member.checkpoint_id == made.id)
        .join(version, version.id == member.version_id)
        .where(tables.Run.training_id.is_not(None), version.plan_id.is_(None))
    )
    published = set(rows)
    for row in session.scalars(select(tables.Training)):
        if (row.state == "complete") != ((row.id, row.model_id) in published):
            yield f"{row.id} is {row.state}, and its versions say otherwise"


def _plans(session: Session) -> Iterator[str]:
    """Only an applied plan has an outcome in the ledger, and all its tasks are done.

    A plan that was cancelled has a second entry, unless it was cancelled with a request.
    """
    entry = tables.Commitment
    outcomes = set(session.scalars(select(entry.row_id).where(entry.kind == "outcome")))
    entries = Counter(session.scalars(select(entry.row_id).where(entry.kind == "plan")))
    tasks: dict[str, set[str]] = defaultdict(set)
    for plan_id, state in session.execute(select(tables.Task.plan_id, tables.Task.state)):
        tasks[plan_id].add(state)
    withdrawn = select(tables.Request.id).where(tables.Request.state == "cancelled")
    cancelled = set(session.scalars(withdrawn))
    for row in session.scalars(select(tables.Plan)):
        if row.state != "applied" and row.id in outcomes:
            yield f"{row.id} is {row.state}, and the ledger has its outcome"
        if row.state == "applied" and tasks[row.id] - {"done"}:
            yield f"{row.id} is applied, and has tasks that are not done"
        if row.state == "ready" and tasks[row.id]:
            yield f"{row.id} is ready, and has begun"
        withdrawn_with = cancelled & set(row.body["requests"])
        if row.state == "cancelled" and entries[row.id] < 2 and not withdrawn_with:
            yield f"{row.id} is cancelled, and nothing has cancelled it"
        if row.state in ("ready", "applying", "failed") and withdrawn_with:
            yield f"{row.id} is {row.state}, and a request of it is cancelled"


def _requests(session: Session) -> Iterator[str]:
    """A request is done where a plan for it has purged; it has a time of its end where it ended."""
    task, of = tables.Task, tables.PlanRequest
    purged = select(of.request_id).join(task, task.plan_id == of.plan_id)
    begun = set(
        session.scalars(purged.where(task.kind == "purge", task.state.in_(["running", "done"])))
    )
    ended = set(session.scalars(purged.where(task.kind == "purge", task.state == "done")))
    for row in session.scalars(select(tables.Request)):
        if row.state == "done" and row.id not in begun:
            yield f"{row.id} is done, and no plan for it has purged"
        if row.state == "open" and row.id in ended:
            yield f"{row.id} is open, and a plan for it has purged"
        if (row.closed_at is None) != (row.state == "open"):
            yield f"{row.id} is {row.state}, and its closing time says otherwise"


def _versions_of_plans(session: Session) -> Iterator[str]:
    """Versions that plans made are what the results of their tasks say of them."""
    stated: dict[str, tuple[str, bool]] = {}
    done = select(tables.Task).where(tables.Task.state == "done")
    for task in session.scalars(done.where(tables.Task.kind.in_(["interim", "publish"]))):
        if task.kind == "interim":
            stated[task.result["version"]] = (task.plan_id, True)
        else:
            made = task.result["versions"].values()
            stated |= dict.fromkeys(made, (task.plan_id, False))
    for row in session.scalars(select(tables.ModelVersion)):
        said = stated.get(row.id)
        if said is not None and said != (row.plan_id, row.interim):
            yield f"{row.id} is not what the tasks of {said[0]} say of it"
        if row.interim and row.plan_id is None:
            yield f"{row.id} is an interim version of no plan"

"""Driving a plan to its end: the most urgent task whose way is free, whenever a worker is."""

from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, wait
from typing import Any, Protocol

from lineage.errors import FencedError, RunStoppedError
from lineage.store import Store
from unlearn.approval import require_approval
from unlearn.dispatch import journal
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.journal import Ownership
from unlearn.dispatch.worker import Options
from unlearn.errors import StalePlanError, TaskError
from unlearn.failed_twins import checked_again
from unlearn.plan.freshness import check_fresh
from unlearn.plan.model import Task
from unlearn.plan.passes.timetable import by_urgency
from unlearn.plan.sources import source_faults
from unlearn.plan.stored import load_plan

REMINDER = 60.0
"""Seconds after which it is said again what is running."""


class Workers(Protocol):
    """Where tasks are carried out, ``size`` of them at once."""

    @property
    def size(self) -> int:
        """How many tasks can run at the same time."""
        ...

    def submit(self, ownership: Ownership, task_id: str, options: Options) -> "Future[None]":
        """Start a task."""
        ...

    def close(self) -> None:
        """Let go of every worker."""
        ...


def apply(
    store: Store,
    plan_id: str,
    workers: Workers | None = None,
    options: Options = Options(),  # noqa: B008
    progress: Callable[[Task, str], None] = lambda task, state: None,
    approval: str | None = None,
) -> dict[str, dict[str, Any]]:
    """Carry out a plan, or what is left of it; returns the tasks' results by id.

    Without ``workers`` the tasks run here, one after the other. Idempotent: what is done is not
    done again, and a plan that is applied is only told of, with what twins have shown since. A
    failed or interrupted plan keeps what was done, for the next call to take up. ``progress`` is
    told of each task that is ``started`` or ``done``, and of those ``running`` for a while.
    ``approval`` is the reason to apply the plan in spite of what the store's policy holds against
    it.

    Raises:
        ApprovalError: the policy asks for such a reason.
        ProgramError: a program was moved, or has changed and that is not allowed. What is seen of
            it before the first task leaves the plan as it is.
        StalePlanError: the graph changed in a way that touches the plan, before or meanwhile.
        PlanError: it is cancelled or overtaken, or being applied elsewhere.
        TaskError: a worker died; the plan can be applied again.
    """
    workers = workers or InProcess(store)
    if journal.is_applied(store, plan_id):
        workers.close()
        results = journal.results(store, plan_id)
        return {**results, "check": checked_again(store, plan_id, results["check"])}
    plan = check_fresh(store, plan_id)
    if plan is not None:
        require_approval(store, plan_id, plan, approval)
    _require_sources(store, plan_id, options)
    ownership = journal.own(store, plan_id)
    state = "failed"
    try:
        _drive(store, ownership, workers, options, progress)
        state = "applied"
    except (RunStoppedError, FencedError) as error:
        raise StalePlanError(
            f"plan {plan_id} cannot go on: {error.message}",
            hint="a request came meanwhile; plan again, and what is clean is kept: "
            f"expunge plan {' '.join(ownership.plan.requests)}",
        ) from error
    except BrokenExecutor as error:
        raise TaskError(
            f"a worker of plan {plan_id} died: {error}",
            hint=f"what is done is kept; go on with: expunge apply {plan_id}",
        ) from error
    finally:
        workers.close()
        journal.release(store, ownership, state)
    return journal.results(store, plan_id)


def _require_sources(store: Store, plan_id: str, options: Options) -> None:
    """Refuse to begin where a program that is left to be executed was moved or has changed."""
    with store.catalogue.read() as session:
        _, plan = load_plan(session, plan_id)
        done = journal.results_of(session, plan_id)
        left = [task for task in plan.tasks if task.id not in done]
        for fault in source_faults(session, left, allow_changed=options.allow_changed):
            raise fault


def _drive(
    store: Store,
    ownership: Ownership,
    workers: Workers,
    options: Options,
    progress: Callable[[Task, str], None],
) -> None:
    done = set(journal.results(store, ownership.plan_id))
    waiting = [task for task in by_urgency(ownership.plan.tasks) if task.id not in done]
    running: dict[Future[None], Task] = {}
    while waiting or running:
        ready = [task for task in waiting if done.issuperset(task.depends_on)]
        for task in ready[: workers.size - len(running)]:
            waiting.remove(task)
            progress(task, "started")
            running[workers.submit(ownership, task.id, options)] = task
        finished, _ = wait(running, timeout=REMINDER, return_when=FIRST_COMPLETED)
        if not finished:
            for task in running.values():
                progress(task, "running")
        for future in finished:
            task = running.pop(future)
            future.result()
            done.add(task.id)
            progress(task, "done")

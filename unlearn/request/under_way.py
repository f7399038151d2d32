"""What a plan that is being applied does right now, and who waits for what."""

import shlex
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from storage.catalogue import tables
from storage.processes import is_alive


def state_of(plan: tables.Plan, task: tables.Task) -> str:
    """Return the state of a task; one whose process ended or gave the plan up is interrupted."""
    if task.state == "running" and not _is_held(plan, task):
        return "interrupted"
    return task.state


def doing(plan: tables.Plan, task: tables.Task, work: Mapping[str, Any]) -> str | None:
    """Return what a running task does, since when and for which process; None if it does not run.

    What an owner's command is, and in which folder it was started, is said of an external task.
    """
    if task.state != "running" or not _is_held(plan, task):
        return None
    assert plan.owner is not None
    assert task.started_at is not None
    host, pid, _ = plan.owner.rsplit(":", 2)
    since = f"since {_moment(task.started_at)}, for process {pid} on {host}"
    name = task.id.rpartition("/")[2]
    if work["kind"] != "external":
        return f"{name} runs {since}"
    return f"{name} waits for the owner's command {since}: {owners_command(work)}"


def owners_command(work: Mapping[str, Any]) -> str:
    """Return the command of an external task, and the folder that it is started in.

    >>> owners_command({"command": ["make", "the model"], "folder": "/srv"})
    "make 'the model', in /srv"
    """
    return f"{shlex.join(work['command'])}, in {work['folder']}"


def _is_held(plan: tables.Plan, task: tables.Task) -> bool:
    return plan.owner is not None and task.fence == plan.fence and is_alive(plan.owner)


def _moment(when: datetime) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S} UTC"

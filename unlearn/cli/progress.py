"""How far a plan is while it is applied, on standard error."""

import time
from datetime import UTC, datetime, timedelta

from unlearn.cli.call import Call
from unlearn.cli.visible import say
from unlearn.plan.model import External, Task
from unlearn.request.under_way import owners_command


class Progress:
    """Tells whoever watches of each task; of an owner's command it tells a log file too.

    Such a command may take days, or wait for somebody: nothing else would say what is awaited.
    """

    def __init__(self, call: Call) -> None:
        self._call = call
        self._began: dict[str, float] = {}

    def tell(self, task: Task, state: str) -> None:
        """Tell that a task is ``started``, ``running`` still, or ``done``."""
        self._began.setdefault(task.id, time.monotonic())
        passed = timedelta(seconds=round(time.monotonic() - self._began[task.id]))
        if isinstance(task.work, External):
            say(_of_owner(task.id, task.work, state, passed))
        elif state == "started":
            self._call.progress(f"{task.id} started: {task.reason}")
        else:
            self._call.progress(f"{task.id} {state}, after {passed}")


def _of_owner(name: str, work: External, state: str, passed: timedelta) -> str:
    if state == "done":
        return f"{name} done, after {passed}"
    command = owners_command(work.model_dump())
    if state == "started":
        now = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        return f"{name} waits for the owner of {work.run_id} since {now}: {command}"
    return f"{name} has waited for the owner of {work.run_id} for {passed}: {command}"

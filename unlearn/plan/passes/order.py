"""The order in which tasks are told: each after those that it depends on."""

from collections.abc import Sequence

from unlearn.plan.model import Task


def in_order(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks as they are, but for those that come before something they depend on."""
    ordered: dict[str, Task] = {}
    while len(ordered) < len(tasks):
        waiting = (task for task in tasks if task.id not in ordered)
        ready = next(task for task in waiting if ordered.keys() >= {*task.depends_on})
        ordered[ready.id] = ready
    return tuple(ordered.values())

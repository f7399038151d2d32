"""The order in which tasks are told: each after those that it depends on."""

import heapq
from collections.abc import Sequence

from unlearn.plan.model import Task


def in_order(tasks: Sequence[Task]) -> tuple[Task, ...]:
    """The tasks as they are, but for those that come before something they depend on."""
    places = {task.id: place for place, task in enumerate(tasks)}
    waiting = followers(tasks)
    left = {task.id: len(set(task.depends_on)) for task in tasks}
    ready = [places[task] for task, count in left.items() if not count]
    heapq.heapify(ready)
    ordered: list[Task] = []
    while ready:
        ordered.append(tasks[heapq.heappop(ready)])
        for task in waiting[ordered[-1].id]:
            left[task] -= 1
            if not left[task]:
                heapq.heappush(ready, places[task])
    return tuple(ordered)


def followers(tasks: Sequence[Task]) -> dict[str, list[str]]:
    """The tasks that wait for each task."""
    waiting: dict[str, list[str]] = {task.id: [] for task in tasks}
    for task in tasks:
        for each in dict.fromkeys(task.depends_on):
            waiting[each].append(task.id)
    return waiting

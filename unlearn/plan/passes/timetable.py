"""When each task of a plan would run on W workers: longest chain of work first.

List scheduling (Graham 1969, "Bounds on multiprocessing timing anomalies"): whenever a worker is
free, it takes the ready task with the longest way to the end of the plan. The result is never more
than 2 − 1/W times as long as the shortest timetable, and never shorter than the critical path.
"""

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from unlearn.plan.model import Task
from unlearn.plan.passes.order import followers


@dataclass(frozen=True, slots=True)
class Timetable:
    """When tasks begin and end, in seconds from the start of the plan, by their ids."""

    begins: Mapping[str, float]
    ends: Mapping[str, float]

    @property
    def duration(self) -> float:
        """The seconds that the whole plan takes."""
        return max(self.ends.values(), default=0.0)


def timetable(tasks: Sequence[Task], workers: int) -> Timetable:
    """Give each task to a worker; ``tasks`` are in an order that respects what they wait for."""
    order = {task.id: place for place, task in enumerate(by_urgency(tasks))}
    left = {task.id: len(set(task.depends_on)) for task in tasks}
    waiting = followers(tasks)
    seconds = {task.id: task.seconds for task in tasks}
    ready = [(order[task], task) for task, count in left.items() if not count]
    heapq.heapify(ready)
    running: list[tuple[float, int, str]] = []
    begins: dict[str, float] = {}
    ends: dict[str, float] = {}
    now = 0.0
    while ready or running:
        while ready and len(running) < workers:
            place, task = heapq.heappop(ready)
            begins[task], ends[task] = now, now + seconds[task]
            heapq.heappush(running, (ends[task], place, task))
        now = running[0][0]
        while running and running[0][0] == now:
            _, _, done = heapq.heappop(running)
            for task in waiting[done]:
                left[task] -= 1
                if not left[task]:
                    heapq.heappush(ready, (order[task], task))
    return Timetable(begins, ends)


def by_urgency(tasks: Sequence[Task]) -> list[Task]:
    """The tasks with the longest way to the end first, which respects what they wait for.

    Before them come interim versions, which wait for nothing: they serve while others work.
    """
    ways = _ways(tasks)
    places = {task.id: place for place, task in enumerate(tasks)}
    return sorted(
        tasks, key=lambda task: (task.work.kind != "interim", -ways[task.id], places[task.id])
    )


def critical_path(tasks: Sequence[Task]) -> tuple[str, ...]:
    """The chain of tasks that no number of workers makes shorter, from first to last."""
    ways, waiting = _ways(tasks), followers(tasks)
    path: list[str] = []
    among = [task.id for task in tasks if not task.depends_on]
    while among:
        path.append(max(among, key=ways.__getitem__))
        among = waiting[path[-1]]
    return tuple(path)


def _ways(tasks: Sequence[Task]) -> dict[str, float]:
    """Seconds from the beginning of each task to the end of the longest chain that it begins."""
    waiting = followers(tasks)
    ways: dict[str, float] = {}
    for task in reversed(tasks):
        ways[task.id] = task.seconds + max((ways[each] for each in waiting[task.id]), default=0.0)
    return ways

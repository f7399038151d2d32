"""Timetables of tasks on workers, against every order in which they could be taken."""

from itertools import pairwise, permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn.plan.model import Check, Interim, Task
from unlearn.plan.passes.timetable import by_urgency, critical_path, timetable


@st.composite
def plans(draw: st.DrawFn) -> list[Task]:
    """A few tasks, each after some of those before it; whole seconds, so that sums are exact."""
    tasks: list[Task] = []
    for number in range(draw(st.integers(1, 6))):
        names = [task.id for task in tasks]
        before = draw(st.sets(st.sampled_from(names), max_size=3)) if names else set()
        seconds = float(draw(st.integers(0, 5)))
        tasks.append(
            Task(
                id=f"t{number}",
                depends_on=tuple(sorted(before)),
                work=Check(),
                visits=0,
                seconds=seconds,
                reason="",
            )
        )
    return tasks


def shortest(tasks: list[Task], workers: int) -> float:
    """The least time, over all orders: each task on the worker that is free first."""
    best = sum(task.seconds for task in tasks)
    for order in permutations(tasks):
        ends: dict[str, float] = {}
        free = [0.0] * workers
        for task in order:
            if not ends.keys() >= set(task.depends_on):
                break
            free.sort()
            begin = max([free[0], *(ends[each] for each in task.depends_on)])
            free[0] = ends[task.id] = begin + task.seconds
        else:
            best = min(best, max(ends.values()))
    return best


@settings(max_examples=150)
@given(plans(), st.integers(1, 3))
def test_a_timetable_keeps_the_order_and_the_workers_and_is_nearly_the_shortest(
    tasks: list[Task], workers: int
) -> None:
    found = timetable(tasks, workers)
    for task in tasks:
        assert found.ends[task.id] == found.begins[task.id] + task.seconds
        assert all(found.ends[each] <= found.begins[task.id] for each in task.depends_on)
    for moment in found.begins.values():
        busy = sum(found.begins[t.id] <= moment < found.ends[t.id] for t in tasks)
        assert busy <= workers
    best = shortest(tasks, workers)
    assert best <= found.duration <= (2 - 1 / workers) * best


@settings(max_examples=100)
@given(plans())
def test_the_critical_path_is_a_chain_that_no_number_of_workers_makes_shorter(
    tasks: list[Task],
) -> None:
    path = critical_path(tasks)
    known = {task.id: task for task in tasks}
    assert all(before in known[after].depends_on for before, after in pairwise(path))
    assert timetable(tasks, len(tasks)).duration == sum(known[each].seconds for each in path)


@settings(max_examples=100)
@given(plans())
def test_the_most_urgent_order_respects_what_tasks_wait_for(tasks: list[Task]) -> None:
    order = [task.id for task in by_urgency(tasks)]
    assert sorted(order) == sorted(task.id for task in tasks)
    for task in tasks:
        assert all(order.index(each) < order.index(task.id) for each in task.depends_on)


def test_the_longest_chain_goes_first() -> None:
    def task(name: str, seconds: float, *after: str) -> Task:
        work, reason = Check(), ""
        return Task(id=name, depends_on=after, work=work, visits=0, seconds=seconds, reason=reason)

    tasks = [task("short", 1), task("base", 2), task("tuned", 5, "base"), task("end", 0, "tuned")]
    assert [each.id for each in by_urgency(tasks)] == ["base", "tuned", "short", "end"]
    assert critical_path(tasks) == ("base", "tuned", "end")
    assert timetable(tasks, 1).duration == 8
    assert timetable(tasks, 2).begins == {"short": 0, "base": 0, "tuned": 2, "end": 7}


def test_an_interim_version_comes_before_all_work() -> None:
    work = Interim(version_id="mv-1", members={0: "ckpt-1"})
    serving = Task(id="interim-1", depends_on=(), work=work, visits=0, seconds=0.0, reason="")
    check = Task(id="check", depends_on=(), work=Check(), visits=0, seconds=9.0, reason="")
    assert by_urgency([check, serving]) == [serving, check]


def test_a_plan_without_tasks_takes_no_time() -> None:
    assert timetable([], 2).duration == 0
    assert critical_path([]) == ()

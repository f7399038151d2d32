"""A plan that explains itself: why a task is there, and the whole as a picture."""

from collections.abc import Iterator

import networkx as nx
from pydantic import BaseModel, ConfigDict

from lineage.provenance.render import mermaid_text
from storage.errors import NotFoundError
from unlearn.plan.model import Aggregate, External, Made, Plan, Rejected, Replay, Task
from unlearn.plan.passes.timetable import Timetable, timetable


class Explanation(BaseModel):
    """Why a task of a plan is there, what it costs, what hangs on it, and what lost to it.

    It ``begins`` and ``ends`` so many seconds after the plan; if ``critical``, the plan cannot end
    sooner unless it does.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    kind: str
    reason: str
    work: str
    visits: int
    seconds: float
    begins: float
    ends: float
    critical: bool
    waits_for: tuple[str, ...]
    needed_by: tuple[str, ...]
    instead_of: tuple[Rejected, ...]


def why(plan: Plan, task_id: str) -> Explanation:
    """Explain a task.

    Raises:
        NotFoundError: the plan has no such task.
    """
    task = next((task for task in plan.tasks if task.id == task_id), None)
    if task is None:
        known = ", ".join(task.id for task in plan.tasks)
        raise NotFoundError(f"the plan has no task {task_id}", hint=f"its tasks are {known}")
    times = timetable(plan.tasks, plan.workers)
    return Explanation(
        id=task.id,
        kind=task.work.kind,
        reason=task.reason,
        work=described(task),
        visits=task.visits,
        seconds=task.seconds,
        begins=times.begins[task_id],
        ends=times.ends[task_id],
        critical=task_id in plan.critical,
        waits_for=task.depends_on,
        needed_by=tuple(each.id for each in plan.tasks if task_id in each.depends_on),
        instead_of=tuple(each for each in plan.rejected if each.task in (task_id, None)),
    )


def mermaid(plan: Plan) -> str:
    """The plan as a Mermaid flowchart: tasks and what they wait for, and below it what lost.

    Tasks of the critical path have a thick border. An arrow that follows from others is left out.
    """
    times = timetable(plan.tasks, plan.workers)
    waits = nx.DiGraph((before, task.id) for task in plan.tasks for before in task.depends_on)
    names = {task.id: f"t{number}" for number, task in enumerate(plan.tasks)}
    lines = ["flowchart LR"]
    for task in plan.tasks:
        lines.append(f'  {names[task.id]}["{_label(task, times)}"]')
    arrows = nx.transitive_reduction(waits).edges
    lines += sorted(f"  {names[before]} --> {names[after]}" for before, after in arrows)
    for number, start in enumerate(dict.fromkeys(_starts(plan))):
        lines.append(f'  s{number}[("{mermaid_text(start)}")]')
        lines += [
            f"  s{number} -.-> {names[task.id]}"
            for task in plan.tasks
            if isinstance(task.work, Replay) and task.work.restart == start
        ]
    if plan.rejected:
        lines.append('  subgraph rejected["rejected"]')
        for number, lost in enumerate(plan.rejected):
            text = f"{mermaid_text(lost.name)}: {lost.visits:,} visits<br/>{mermaid_text(lost.why)}"
            lines.append(f'    r{number}["{text}"]')
        lines.append("  end")
    lines += [f"  style {names[task]} stroke-width:3px" for task in plan.critical]
    return "\n".join(lines)


def described(task: Task) -> str:
    """What a task does, in a few words.

    >>> from unlearn.plan.model import Publish
    >>> task = Task(
    ...     id="publish", depends_on=(), work=Publish(), visits=0, seconds=0.0, reason="it passed"
    ... )
    >>> described(task)
    'publish'
    """
    match task.work:
        case Replay(run_id=run, first_step=first, until=until, restart=restart):
            return f"{run}, steps {first} to {until}, from {restart or 'scratch'}"
        case External(run_id=run):
            return f"{run}, by its owner"
        case Aggregate(version_id=version, members=members):
            anew = sum(isinstance(member, Made) for member in members.values())
            return f"{version}, {anew} of {len(members)} members made anew"
    return task.work.kind


def _label(task: Task, times: Timetable) -> str:
    lines = list(dict.fromkeys((task.id, described(task))))
    if task.seconds or task.visits:
        begins = f"from {times.begins[task.id]:,.4g} s on"
        lines.append(f"{task.visits:,} visits, {task.seconds:,.4g} s, {begins}")
    return "<br/>".join(map(mermaid_text, lines))


def _starts(plan: Plan) -> Iterator[str]:
    """The checkpoints that replays begin with."""
    for task in plan.tasks:
        if isinstance(task.work, Replay) and (task.work.restart or "").startswith("ckpt-"):
            yield str(task.work.restart)

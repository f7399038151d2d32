"""The verbs ``plan``, ``apply`` and ``verify``: what was reviewed is what runs."""

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import click

from unlearn.cli.call import Call, Verb, pass_call
from unlearn.cli.exits import BY_VERDICT
from unlearn.cli.options import carried_out

if TYPE_CHECKING:
    from lineage.store import Store
    from unlearn.plan.model import Task


@click.command(cls=Verb, example="expunge plan req-0123456789")
@click.argument("requests", metavar="REQUEST…", nargs=-1, required=True)
@pass_call
def plan(call: Call, requests: tuple[str, ...]) -> None:
    """Plan the least work that forgets, with its cost and what was rejected; change nothing."""
    with call.open() as store:
        answer_plan(call, store, requests)


@click.command(cls=Verb, example="expunge apply plan-0123456789 --workers 2 --twin")
@click.argument("plan_id", metavar="PLAN")
@carried_out
@pass_call
def apply(call: Call, /, plan_id: str, **how: Any) -> None:
    """Carry out a plan, or what is left of it."""
    with call.open() as store:
        carry_out(call, store, plan_id, **how)


@click.command(cls=Verb, example="expunge verify plan-0123456789 --twin")
@click.argument("plan_id", metavar="PLAN")
@click.option("--twin", is_flag=True, help="Train a from-scratch twin and compare bytes.")
@pass_call
def verify(call: Call, plan_id: str, twin: bool) -> None:
    """Check the outcome of an applied plan again, with nothing that was purged."""
    from unlearn.audit import verify_plan
    from unlearn.cli.outcomes import Checked

    with call.open() as store:
        found = verify_plan(store, plan_id, twin=twin)
    call.out.one(Checked.of(found))
    call.then(f"show {found.id}")
    click.get_current_context().exit(BY_VERDICT[found.verdict])


def answer_plan(call: Call, store: "Store", requests: tuple[str, ...]) -> None:
    """Plan some requests together, and answer with the plan."""
    from unlearn.cli.outcomes import PlanAnswer
    from unlearn.plan.planner import make_plan

    plan_id, made = make_plan(store, requests)
    call.out.one(PlanAnswer.of(plan_id, made))
    call.then(f"apply {plan_id}")


def carry_out(
    call: Call,
    store: "Store",
    plan_id: str,
    *,
    place: str,
    workers: int,
    twin: bool,
    allow_changed: bool,
) -> None:
    """Apply a plan, and answer with what came of it; the exit status is that of its verdict."""
    from unlearn.cli.outcomes import Applied
    from unlearn.dispatch.debug import InProcess
    from unlearn.dispatch.drive import apply as drive
    from unlearn.dispatch.local import LocalWorkers
    from unlearn.dispatch.worker import Options

    def progress(task: "Task", state: str) -> None:
        call.progress(f"{task.id} {state}" + (f": {task.reason}" if state == "started" else ""))

    call.resumption = f"apply {plan_id}"
    pool = InProcess(store) if place == "debug" else LocalWorkers(store, workers)
    options = Options(twin=twin, allow_changed=allow_changed)
    with redirect_stdout(sys.stderr):  # what programs print is no answer
        results = drive(store, plan_id, pool, options, progress)
    answer = Applied.of(plan_id, results)
    call.out.one(answer)
    call.then(f"verify {plan_id} --twin")
    click.get_current_context().exit(BY_VERDICT[answer.verdict])

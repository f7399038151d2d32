"""The verbs ``plan``, ``apply`` and ``verify``: what was reviewed is what runs."""

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from unlearn.cli.call import Call, Verb, pass_call
from unlearn.cli.exits import BY_VERDICT, after_plan
from unlearn.cli.options import carried_out
from unlearn.cli.visible import say

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lineage.store import Store
    from storage.catalogue.tables import Plan as Recorded
    from unlearn.cli.outcomes import Applied
    from unlearn.plan.model import Plan
    from unlearn.withheld import WithheldAlias


@click.command(cls=Verb, example="expunge plan req-0123456789 --workers 4")
@click.argument("names", metavar="REQUEST…|PLAN", nargs=-1, required=True)
@click.option("--workers", type=click.IntRange(min=1), help="Default: as the policy says.")
@click.option("--measure", is_flag=True, help="Measure accuracies on the models' canaries.")
@click.option(
    "--exact-selection",
    is_flag=True,
    help="Replay from the first measure on the forgotten that may have steered a training.",
)
@click.option("--why", metavar="TASK", help="Explain one task.")
@click.option("--mermaid", is_flag=True, help="Draw the plan as a Mermaid flowchart.")
@pass_call
def plan(
    call: Call,
    names: tuple[str, ...],
    workers: int | None,
    measure: bool,
    exact_selection: bool,
    why: str | None,
    mermaid: bool,
) -> None:
    """Plan the least work that forgets, with its cost and what was rejected; change nothing.

    Or look again at a PLAN that was made.
    """
    if why and mermaid:
        raise click.UsageError("give one of --why and --mermaid")
    again = names[0].startswith("plan-")
    if again and (len(names) > 1 or workers or measure or exact_selection):
        raise click.UsageError("a plan that was made is shown as it is: give its id alone")
    with call.open() as store:
        if again:
            (plan_id,) = names
        else:
            plan_id = _made(store, names, workers, measure, exact_selection)
        row, made = _found(store, plan_id)
        _show(call, row, made, why, mermaid)
    call.then(_way_on(row, made))


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
    plan_id = _made(store, requests)
    row, made = _found(store, plan_id)
    _show(call, row, made)
    call.then(_way_on(row, made))


def _made(
    store: "Store",
    requests: tuple[str, ...],
    workers: int | None = None,
    measure: bool = False,
    exact_selection: bool = False,
) -> str:
    """Plan some requests together; return the id of the plan."""
    from unlearn.plan.planner import make_plan

    how = None
    if measure:
        from unlearn.plan.accuracy import measured

        how = partial(measured, store)
    return make_plan(store, requests, workers, how, exact_selection=exact_selection)[0]


def _found(store: "Store", plan_id: str) -> tuple["Recorded", "Plan"]:
    from unlearn.plan.stored import load_plan

    with store.catalogue.read() as session:
        return load_plan(session, plan_id)


def _way_on(row: "Recorded", made: "Plan") -> str:
    """Return the command that goes on from the state of a plan."""
    if row.state == "applied":
        return verification(row.id, made)
    return f"show {row.id}" if row.state == "cancelled" else f"apply {row.id}"


def verification(plan_id: str, made: "Plan") -> str:
    """Return the command that verifies a plan; a loop that was only watched has no twin."""
    return f"verify {plan_id}" if _is_watched(made) else f"verify {plan_id} --twin"


def _is_watched(made: "Plan") -> bool:
    """Return True if a plan has the owner of a watched loop train it again."""
    return any(task.work.kind == "external" for task in made.tasks)


def _show(
    call: Call, row: "Recorded", made: "Plan", why: str | None = None, mermaid: bool = False
) -> None:
    from unlearn.cli.outcomes import PlanAnswer
    from unlearn.plan import explain

    if mermaid:
        call.out.drawing("mermaid", explain.mermaid(made))
    elif why is not None:
        call.out.one(explain.why(made, why))
    else:
        call.out.one(PlanAnswer.of(row, made))


def carry_out(call: Call, store: "Store", plan_id: str, **how: Any) -> None:
    """Apply a plan, answer with what came of it, and exit by its verdict and its aliases."""
    answer = carried_out_plan(call, store, plan_id, **how)
    call.out.one(answer)
    tell_withheld(call, answer.withheld)
    call.then(verification(plan_id, _found(store, plan_id)[1]))
    click.get_current_context().exit(after_plan(answer.verdict, withheld=bool(answer.withheld)))


def tell_withheld(call: Call, aliases: "Iterable[WithheldAlias]") -> None:
    """Say which aliases name nothing, why, and how to let them name the replacement."""
    for each in aliases:
        of = "" if each.measured is None else f" (measured on {each.measured})"
        name = f"alias {each.alias!r} of model {each.model!r}"
        say(f"withheld: {name} names nothing: {each.why}{of}")
        if each.version is not None:
            promote = f"model promote {each.version} {shlex.quote(each.alias)}"
            say(f"if it is good enough: {call.spelled(promote)}")


def carried_out_plan(
    call: Call,
    store: "Store",
    plan_id: str,
    *,
    place: str,
    workers: int | None,
    twin: bool,
    allow_changed: bool,
    approval: str | None,
) -> "Applied":
    """Apply a plan, and tell what came of it."""
    from unlearn.cli.outcomes import Applied
    from unlearn.cli.progress import Progress
    from unlearn.dispatch.debug import InProcess
    from unlearn.dispatch.drive import apply as drive
    from unlearn.dispatch.local import LocalWorkers
    from unlearn.dispatch.worker import Options

    call.resumption = f"apply {plan_id}"
    row, made = _found(store, plan_id)
    if row.applied_at is not None:
        say(f"plan {plan_id} was applied on {row.applied_at:%Y-%m-%d}: nothing was done again")
    elif twin and _is_watched(made):
        say("a loop that was only watched has no twin: the verdict will be inconclusive")
    workers = workers or made.workers
    pool = InProcess(store) if place == "debug" else LocalWorkers(store, workers)
    options = Options(twin=twin, allow_changed=allow_changed)
    results = drive(store, plan_id, pool, options, Progress(call).tell, approval)
    if twin and results["publish"]["versions"] and not results["check"]["twins"]:
        say("no twin was trained: this plan was checked before, without one")
    return Applied.of(plan_id, results)

"""The verbs that start what is due: ``tick`` once, for cron; ``watch`` as long as it runs."""

import time
from itertools import count, islice
from typing import TYPE_CHECKING, Any

import click

from unlearn.cli.call import Call, Verb, pass_call
from unlearn.cli.exits import after_plan
from unlearn.cli.options import carried_out
from unlearn.cli.plan import carried_out_plan, tell_withheld
from unlearn.cli.visible import say

if TYPE_CHECKING:
    from lineage.store import Store
    from unlearn.cli.outcomes import Ticked


@click.command(cls=Verb, example="expunge tick --twin")
@carried_out
@pass_call
def tick(call: Call, /, **how: Any) -> None:
    """Start the pending requests that are due by the policy, if any is; for cron."""
    with call.open() as store:
        answer = _tick(call, store, how)
    call.out.one(answer)
    if answer.applied is not None:
        withheld = bool(answer.applied.withheld)
        click.get_current_context().exit(after_plan(answer.applied.verdict, withheld=withheld))


@click.command(cls=Verb, example="expunge watch --every 600")
@click.option(
    "--every",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    default=3600.0,
    show_default=True,
    help="How often to look for what is due.",
)
@click.option("--times", metavar="N", type=click.IntRange(min=1), help="Look so often, then end.")
@carried_out
@pass_call
def watch(call: Call, /, every: float, times: int | None, **how: Any) -> None:
    """Start pending requests whenever they are due, until it is interrupted."""
    from unlearn.errors import PlanError

    answers = []
    for number in islice(count(), times):
        if number:
            time.sleep(every)
        try:
            with call.open() as store:
                answers.append(_tick(call, store, how))
        except PlanError as error:  # it needs approval, or another process carries it out
            say(f"waiting: {error.message}; {error.hint}")
            continue
        say(answers[-1].why)
    call.out.many(answers)


def _tick(call: Call, store: "Store", how: dict[str, Any]) -> "Ticked":
    from unlearn.cli.outcomes import Ticked
    from unlearn.pending import decide, plan_for

    found = decide(store)
    plan_id = found.unfinished
    if found.start:
        plan_id = plan_for(store, found.start)
    applied = None if plan_id is None else carried_out_plan(call, store, plan_id, **how)
    if applied is not None:
        tell_withheld(call, applied.withheld)
    return Ticked(
        pending=found.pending,
        started=found.start,
        plan=plan_id,
        again_at=found.at,
        why=found.why,
        applied=applied,
    )

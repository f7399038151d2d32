"""The verbs about a store as a whole: ``init``, ``status``, ``doctor``."""

import shlex
from collections import Counter
from typing import TYPE_CHECKING

import click

from unlearn.cli.call import Call, Verb, pass_call
from unlearn.cli.exits import Exit
from unlearn.cli.plan import tell_withheld
from unlearn.cli.visible import say

if TYPE_CHECKING:
    from lineage.store import Store
    from unlearn.cli.answers import Status


@click.command(cls=Verb, example="expunge init --store /srv/expunge")
@pass_call
def init(call: Call) -> None:
    """Make a store, or bring the one that is there up to date."""
    from unlearn.cli.answers import Made

    with call.open_or_create() as store:
        call.out.one(Made(store=str(store.path)))
    call.then("dataset add NAME FILE --subject COLUMN")


@click.command(cls=Verb, example="expunge status")
@pass_call
def status(call: Call) -> None:
    """Say what is in the store and what waits to be done."""
    with call.open() as store:
        found = _status(store)
    call.out.one(found)
    for each in found.failed:
        say(f"{each.version} of {each.model} differs from its twin: {each.plan} claims nothing")
    if found.plans:
        call.then(f"apply {found.plans[0].id}")
    elif found.withheld:
        tell_withheld(call, found.withheld)
    elif found.reshard:
        call.then(f"reshard {shlex.quote(found.reshard[0].model)}")


@click.command(cls=Verb, example="expunge doctor")
@click.option(
    "--sweep", is_flag=True, help="Destroy what crashed writers left, if the store is sound."
)
@pass_call
def doctor(call: Call, sweep: bool) -> None:
    """Check that everything the store refers to is there and sound, and that keys are secret."""
    from unlearn.cli.examination import examine

    with call.open() as store:
        found = examine(store, sweep=sweep)
    call.out.one(found)
    if not found.healthy:
        click.get_current_context().exit(Exit.FAILED)


def _status(store: "Store") -> "Status":
    from lineage.provenance.listing import datasets, holds, models, runs, worn_placements
    from unlearn.cli.answers import Status
    from unlearn.failed_twins import failed_in_use
    from unlearn.request.listing import plans, requests
    from unlearn.withheld import withheld_aliases

    known = datasets(store)
    with store.catalogue.read() as session:
        failed = failed_in_use(session)
    return Status(
        store=str(store.path),
        datasets=len(known),
        records=sum(each.records for each in known),
        models=len(models(store)),
        runs=Counter(run.state for run in runs(store)),
        requests=Counter(request.state for request in requests(store)),
        plans=tuple(plan for plan in plans(store) if plan.state not in ("applied", "cancelled")),
        holds=holds(store),
        withheld=withheld_aliases(store),
        failed=failed,
        reshard=worn_placements(store),
    )

"""The verbs about runs."""

import click

from unlearn.cli.call import Call, Noun, pass_call
from unlearn.cli.train import finish_training


@click.group(cls=Noun, example="expunge run list")
def run() -> None:
    """Look at runs, go on with those that were interrupted, and thin out their checkpoints."""


@run.command("list", example="expunge run list")
@pass_call
def list_(call: Call) -> None:
    """List every run, replays too, with how far it came."""
    from lineage.provenance.listing import runs

    with call.open() as store:
        call.out.many(runs(store))


@run.command(example="expunge run show run-0123456789")
@click.argument("run_id", metavar="ID")
@pass_call
def show(call: Call, run_id: str) -> None:
    """Show a run: its specification, inputs and checkpoints."""
    from lineage.provenance.listing import run as find

    with call.open() as store:
        call.out.one(find(store, run_id))


@run.command(example="expunge run resume train-0123456789")
@click.argument("identifier", metavar="ID")
@pass_call
def resume(call: Call, identifier: str) -> None:
    """Go on with an interrupted training, given by its id or by that of one of its runs."""
    from lineage.provenance.listing import run as find

    with call.open() as store:
        training: str | None = identifier
        if not identifier.startswith("train-"):
            training = find(store, identifier).training
        if training is None:
            raise click.UsageError(f"{identifier} belongs to a plan: go on with expunge apply PLAN")
        finish_training(call, store, training)


@run.command(example="expunge run thin run-0123456789 --keep 4 --dry-run")
@click.argument("run_id", metavar="RUN")
@click.option("--keep", metavar="N", type=click.IntRange(min=1), help="How many may stay.")
@click.option(
    "--budget", metavar="BYTES", type=click.IntRange(min=1), help="How large they may be."
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and change nothing.")
@pass_call
def thin(call: Call, run_id: str, keep: int | None, budget: int | None, dry_run: bool) -> None:
    """Evict the checkpoints of a run that make forgetting cheaper the least."""
    from unlearn.thinning import thin as evict

    if (keep is None) == (budget is None):
        raise click.UsageError("give either --keep N, or --budget BYTES")
    with call.open() as store:
        call.out.one(evict(store, run_id, keep=keep, budget=budget, dry_run=dry_run))
    call.then(f"forecast --run {run_id}")

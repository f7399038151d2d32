"""The verb that asks what something was made of, and what was made of it."""

import click

from unlearn.cli.call import Call, Noun, pass_call
from unlearn.cli.options import STEP, drawn
from unlearn.cli.show import draw, require_run


@click.group("lineage", cls=Noun, example="expunge lineage of mv-0123456789")
def lineage() -> None:
    """Ask what something was made of, and what was made of it."""


@lineage.command("of", example="expunge lineage of mv-0123456789 --up")
@click.argument("identifier", metavar="ID")
@click.option("--at", metavar="STEP", type=STEP, help="Of a run, the batch of this step.")
@click.option("--up", is_flag=True, help="Only what it was made of.")
@click.option("--down", is_flag=True, help="Only what was made of it.")
@drawn
@pass_call
def of(call: Call, identifier: str, at: int | None, up: bool, down: bool, form: str | None) -> None:
    """Show the lineage of a dataset version, transform, fit, run, segment, checkpoint or model."""
    from lineage.provenance.graph import graph
    from lineage.provenance.render import selection
    from lineage.provenance.trace import trace

    require_run(identifier, at)
    both = up == down
    with call.open() as store:
        found = trace(store, identifier, at, up=up or both, down=down or both)
        if form is None:
            call.out.one(found)
            return
        with store.catalogue.read() as session:
            view = graph(session)
    draw(call, form, selection(view, found.nodes))

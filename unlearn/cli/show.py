"""The verbs that ask: ``show``, ``who-saw``, ``impact``."""

from typing import TYPE_CHECKING

import click

from unlearn.cli.call import Call, Verb, pass_call
from unlearn.cli.options import STEP, Whom, drawn, moment, whom

if TYPE_CHECKING:
    import networkx as nx

    from lineage.provenance.reach import Moment


@click.command(cls=Verb, example="expunge show ckpt-0123456789")
@click.argument("identifier", metavar="ID")
@click.option("--at", metavar="STEP", type=STEP, help="Of a run, the batch of this step.")
@pass_call
def show(call: Call, identifier: str, at: int | None) -> None:
    """Show the one thing that has this id, of whatever kind; or a run's batch, with --at."""
    from lineage.provenance import listing as known
    from lineage.provenance.batch import batch_at
    from storage.errors import NotFoundError
    from unlearn.request import listing as asked

    kind = identifier.partition("-")[0]
    require_run(identifier, at)
    with call.open() as store:
        if at is not None:
            call.out.one(batch_at(store, identifier, at))
        elif kind in known.KINDS:
            call.out.one(known.thing(store, identifier))
        elif kind in asked.KINDS:
            call.out.one(asked.thing(store, identifier))
        else:
            # What was typed may be the id of a person: it is not repeated.
            raise NotFoundError(
                "this is not an id that expunge gave to anything",
                hint="names are shown by their noun, such as `expunge dataset show NAME`",
            )


@click.command("who-saw", cls=Verb, example="expunge who-saw --subject 7")
@whom
@moment
@drawn
@pass_call
def who_saw(call: Call, whom: Whom, moment: "Moment", form: str | None) -> None:
    """Say which steps, checkpoints and models saw subjects or records, and by what path."""
    from lineage.provenance.query import ErasedAnswer
    from lineage.provenance.query import who_saw as ask
    from lineage.provenance.render import path_view

    with call.open() as store, whom.identified():
        answer = ask(store, whom.kind, whom.ids, whom.within, moment)
    if isinstance(answer, ErasedAnswer):
        call.out.one(answer)
        return
    if form is None:
        call.out.one(answer)
    else:
        draw(call, form, path_view(answer.path))
    call.then(whom.request)


@click.command(cls=Verb, example="expunge impact --subject 7 --mermaid")
@whom
@moment
@drawn
@pass_call
def impact(call: Call, whom: Whom, moment: "Moment", form: str | None) -> None:
    """Show everything that descends from subjects or records: the affected subgraph."""
    from lineage.data.identity import identify
    from lineage.provenance.exposure import incomplete_runs
    from lineage.provenance.gone import gone_runs
    from lineage.provenance.graph import graph
    from lineage.provenance.query import ErasedAnswer
    from lineage.provenance.render import selection
    from lineage.provenance.selection import Selection, chosen, measured
    from unlearn.cli.outcomes import ImpactAnswer
    from unlearn.impact import impact as walk

    with call.open() as store:
        with whom.identified():
            whose = identify(store, whom.kind, whom.ids, whom.within)
        if not whose.positions:
            call.out.one(ErasedAnswer.of(whom.kind, whose.erasures))
            return
        found = walk(store, whose.positions, moment)
        with store.catalogue.read() as session:
            everything = found.closure.everything
            incomplete = incomplete_runs(session, everything, moment.run)
            gone = gone_runs(store, session, everything, moment)
            steered = Selection(
                measured=measured(session, everything, moment),
                chosen=chosen(session, everything, found.versions),
            )
            view = None if form is None else graph(session)
    asked = len(set(whom.ids))
    answer = ImpactAnswer.of(whom.kind, asked, whose, found, steered, incomplete, gone)
    if view is None or form is None:
        call.out.one(answer)
    else:
        sources = (each.version_id for each in found.exposures)
        draw(call, form, selection(view, [*sources, *answer.nodes]))
    call.then(whom.request)


def require_run(identifier: str, at: int | None) -> None:
    """Refuse a step of what has no steps."""
    if at is not None and identifier.partition("-")[0] != "run":
        raise click.UsageError("--at names a batch of a run: give the id of one (run-…)")


def draw(call: Call, form: str, view: "nx.DiGraph[str]") -> None:
    """Print a picture in one of the forms of ``drawn``."""
    from lineage.provenance.render import dot, mermaid, tree

    call.out.drawing(form, {"tree": tree, "dot": dot, "mermaid": mermaid}[form](view))

"""The verbs that ask: ``show``, ``who-saw``, ``impact``."""

from typing import TYPE_CHECKING

import click

from unlearn.cli.call import Call, Verb, pass_call
from unlearn.cli.options import drawn, one_of, scope, whom

if TYPE_CHECKING:
    import networkx as nx


@click.command(cls=Verb, example="expunge show ckpt-0123456789")
@click.argument("identifier", metavar="ID")
@pass_call
def show(call: Call, identifier: str) -> None:
    """Show the one thing that has this id, of whatever kind."""
    from lineage.provenance import listing as known
    from storage.errors import NotFoundError
    from unlearn.request import listing as asked

    kind = identifier.partition("-")[0]
    with call.open() as store:
        if kind in known.KINDS:
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
@drawn
@pass_call
def who_saw(
    call: Call,
    subject: str | None,
    record: str | None,
    namespace: str | None,
    dataset: str | None,
    form: str | None,
) -> None:
    """Say which steps, checkpoints and models saw a subject or record, and by what path."""
    from lineage.provenance.query import ErasedAnswer
    from lineage.provenance.query import who_saw as ask
    from lineage.provenance.render import path_view

    kind, name = one_of(subject, record)
    within = scope(kind, namespace, dataset)
    with call.open() as store:
        answer = ask(store, kind, name, within)
    if form is not None and not isinstance(answer, ErasedAnswer):
        _draw(call, form, path_view(answer.path))
    else:
        call.out.one(answer)
    if not isinstance(answer, ErasedAnswer):
        call.then(f"request add --{kind} ID")


@click.command(cls=Verb, example="expunge impact --subject 7 --mermaid")
@whom
@drawn
@pass_call
def impact(
    call: Call,
    subject: str | None,
    record: str | None,
    namespace: str | None,
    dataset: str | None,
    form: str | None,
) -> None:
    """Show everything that descends from a subject or record: the affected subgraph."""
    from lineage.data.identity import resolve
    from lineage.provenance.graph import graph
    from lineage.provenance.query import who_saw as ask
    from lineage.provenance.render import selection
    from unlearn.cli.outcomes import ImpactAnswer
    from unlearn.impact import impact as walk

    kind, name = one_of(subject, record)
    within = scope(kind, namespace, dataset)
    with call.open() as store:
        positions = resolve(store, kind, [name], within)[name]
        if not positions:
            call.out.one(ask(store, kind, name, within))
            return
        found = walk(store, positions)
        answer = ImpactAnswer.of(kind, sum(map(len, positions.values())), found)
        if form is None:
            call.out.one(answer)
        else:
            with store.catalogue.read() as session:
                view = graph(session)
            sources = (each.version_id for each in found.exposures)
            _draw(call, form, selection(view, [*sources, *answer.nodes]))
    call.then(f"request add --{kind} ID")


def _draw(call: Call, form: str, view: "nx.DiGraph[str]") -> None:
    from lineage.provenance.render import dot, mermaid, tree

    call.out.drawing(form, {"tree": tree, "dot": dot, "mermaid": mermaid}[form](view))

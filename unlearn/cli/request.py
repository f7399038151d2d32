"""The verbs about requests to forget, and ``cancel`` and ``retry``, which also take a plan."""

from typing import Any, BinaryIO

import click

from unlearn.cli.call import Call, Noun, Verb, pass_call
from unlearn.cli.options import carried_out, ids_in, scope
from unlearn.cli.plan import answer_plan, carry_out


@click.group(cls=Noun, example="expunge request add --subject 7")
def request() -> None:
    """Accept requests to forget, and look at them."""


@request.command(example="expunge request add --subject 7 --subject 12")
@click.option("--subject", "subjects", metavar="ID", multiple=True, help="A person or source.")
@click.option("--record", "records", metavar="ID", multiple=True, help="One record.")
@click.option("--file", metavar="FILE", type=click.File("rb"), help="Ids, one a line; - is stdin.")
@click.option(
    "--kind",
    type=click.Choice(["subject", "record"]),
    help="What the ids of --file are (subject).",
)
@click.option("--namespace", metavar="NS", help="The namespace of the subjects.")
@click.option("--dataset", metavar="NAME", help="The dataset of the records.")
@pass_call
def add(
    call: Call,
    subjects: tuple[str, ...],
    records: tuple[str, ...],
    file: BinaryIO | None,
    kind: str | None,
    namespace: str | None,
    dataset: str | None,
) -> None:
    """Accept a request to forget: from now on no new run sees these subjects or records."""
    from lineage.data.identity import Erased
    from unlearn.cli.outcomes import erased
    from unlearn.request.lifecycle import accept
    from unlearn.request.listing import request as find

    kind, ids = _asked(subjects, records, file, kind)
    within = scope(kind, namespace, dataset)
    with call.open() as store:
        accepted = accept(store, kind, ids, within)
        if isinstance(accepted, Erased):
            call.out.one(erased(kind, accepted.request_id, accepted.state, accepted.date))
            return
        call.out.one(find(store, accepted.id))
    call.then(f"plan {accepted.id}")


@request.command("list", example="expunge request list")
@pass_call
def list_(call: Call) -> None:
    """List the requests and their states."""
    from unlearn.request.listing import requests

    with call.open() as store:
        call.out.many(requests(store))


@request.command(example="expunge request show req-0123456789")
@click.argument("request_id", metavar="ID")
@pass_call
def show(call: Call, request_id: str) -> None:
    """Show a request, where its records are, and the plans that serve it."""
    from unlearn.request.listing import request as find

    with call.open() as store:
        call.out.one(find(store, request_id))


@click.command(cls=Verb, example="expunge cancel req-0123456789")
@click.argument("identifier", metavar="ID")
@pass_call
def cancel(call: Call, identifier: str) -> None:
    """Cancel a request that no plan has carried out, or a plan that was not begun."""
    from unlearn.cli.outcomes import Cancelled
    from unlearn.dispatch.cancel import cancel_plan
    from unlearn.request.lifecycle import cancel as cancel_request

    with call.open() as store:
        if _is_plan(identifier):
            cancel_plan(store, identifier)
        else:
            cancel_request(store, identifier)
        call.out.one(Cancelled(id=identifier))
    call.then("status")


@click.command(cls=Verb, example="expunge retry plan-0123456789")
@click.argument("identifier", metavar="ID")
@carried_out
@pass_call
def retry(call: Call, /, identifier: str, **how: Any) -> None:
    """Go on with a plan that failed, or plan a request again."""
    with call.open() as store:
        if _is_plan(identifier):
            carry_out(call, store, identifier, **how)
        else:
            answer_plan(call, store, (identifier,))


def _asked(
    subjects: tuple[str, ...],
    records: tuple[str, ...],
    file: BinaryIO | None,
    kind: str | None,
) -> tuple[str, list[str]]:
    """What the ids are, and the ids, from the one place where they were given."""
    if sum(map(bool, (subjects, records, file))) != 1:
        raise click.UsageError("give one of --subject, --record and --file")
    if file is not None:
        return kind or "subject", ids_in(file)
    if kind is not None:
        raise click.UsageError("--kind says what the ids of --file are; leave it out here")
    return ("subject", list(subjects)) if subjects else ("record", list(records))


def _is_plan(identifier: str) -> bool:
    """Whether an id is a plan's; anything but a plan's or a request's is a mistake."""
    kind = identifier.partition("-")[0]
    if kind not in ("plan", "req"):
        raise click.UsageError("give the id of a plan (plan-…) or of a request (req-…)")
    return kind == "plan"

"""The verbs about requests to forget, and ``cancel`` and ``retry``, which also take a plan."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from unlearn.cli.call import Call, Noun, Verb, pass_call
from unlearn.cli.options import Whom, carried_out, whom
from unlearn.cli.plan import answer_plan, carry_out
from unlearn.cli.visible import say

if TYPE_CHECKING:
    from lineage.store import Store
    from unlearn.request.accepted import Accepted, Receipt

MOST_NAMED = 12
"""Of so many requests the ids are in the command to go on with."""


@click.group(cls=Noun, example="expunge request add --subject 7")
def request() -> None:
    """Accept requests to forget, and look at them."""


@request.command(example="expunge request add --subject 7 --subject 12")
@whom
@click.option(
    "--due",
    metavar="YYYY-MM-DD",
    type=click.DateTime(["%Y-%m-%d"]),
    help="The last day to do it, in UTC. Default: a month from now.",
)
@pass_call
def add(call: Call, whom: Whom, due: datetime | None) -> None:
    """Accept a request for each person or set of records: from now on no new run sees them.

    All requests are accepted, or none.
    """
    from unlearn.request.deadline import end_of
    from unlearn.request.lifecycle import accept

    with call.open() as store:
        with whom.identified():
            by = None if due is None else end_of(due.date())
            receipt = accept(store, whom.kind, whom.ids, whom.within, by)
            if by is not None and by < store.clock():
                say(f"--due {by:%Y-%m-%d} is past: what is due by then is overdue already")
        if whom.alone:
            _answer_request(call, store, whom.kind, receipt.only)
        else:
            _answer_receipt(call, store, len(set(whom.ids)), receipt)
    if receipt.open_ids:
        call.then(f"plan {_named(receipt.open_ids)}")


def _answer_request(call: Call, store: "Store", kind: str, accepted: "Accepted") -> None:
    """Answer with the request, or with the erasure that it came to."""
    from lineage.data.identity import Erased
    from lineage.provenance.query import ErasedAnswer
    from unlearn.request.listing import request as find

    if accepted.state == "done":
        done = Erased(accepted.request_id, accepted.state, accepted.date)
        call.out.one(ErasedAnswer.of(kind, [done]))
    else:
        call.out.one(find(store, accepted.request_id))


def _answer_receipt(call: Call, store: "Store", asked: int, receipt: "Receipt") -> None:
    from unlearn.cli.outcomes import ReceiptAnswer
    from unlearn.request.listing import summaries

    call.out.one(ReceiptAnswer(asked=asked, requests=summaries(store, receipt.request_ids)))


def _named(requests: Sequence[str]) -> str:
    """Return the ids of requests as they are typed; of many, what stands for them."""
    return " ".join(requests) if len(requests) <= MOST_NAMED else "REQUEST…"


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
    """Cancel a request that no plan has carried out, or a plan that has purged nothing yet."""
    from unlearn.cli.outcomes import Cancelled
    from unlearn.dispatch.cancel import cancel_plan
    from unlearn.request.lifecycle import cancel as cancel_request
    from unlearn.request.restoring import commands

    with call.open() as store:
        if _is_plan(identifier):
            settled = cancel_plan(store, identifier)
            answer = Cancelled(id=identifier, restored=settled.restored, interim=settled.interim)
        else:
            left = cancel_request(store, identifier)
            answer = Cancelled(
                id=identifier, derive=left.derive, restored=left.restored, interim=left.interim
            )
        call.out.one(answer)
        again = commands(store, answer.derive)
    for version in answer.interim:
        say(
            f"interim version {version} stays in use while requests are open: plan them again, or "
            "cancel them too"
        )
    for command in again or ("status",):
        call.then(command)


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


def _is_plan(identifier: str) -> bool:
    """Whether an id is a plan's; anything but a plan's or a request's is a mistake."""
    kind = identifier.partition("-")[0]
    if kind not in ("plan", "req"):
        raise click.UsageError("give the id of a plan (plan-…) or of a request (req-…)")
    return kind == "plan"

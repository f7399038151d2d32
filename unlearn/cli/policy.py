"""The verbs about how a store forgets."""

import json
from typing import Any

import click

from unlearn.cli.call import Call, Noun, pass_call


@click.group(cls=Noun, example="expunge policy show")
def policy() -> None:
    """Say when pending requests start, and which plans need approval."""


@policy.command(example="expunge policy show")
@pass_call
def show(call: Call) -> None:
    """Show every setting."""
    from unlearn.policy import policy_of

    with call.open() as store, store.catalogue.read() as session:
        call.out.one(policy_of(session), whole=True)


@policy.command("set", example="expunge policy set workers=4 max_batch=100")
@click.argument("pairs", metavar="SETTING=VALUE…", nargs=-1, required=True)
@pass_call
def set_(call: Call, pairs: tuple[str, ...]) -> None:
    """Change settings; SETTING= goes back to the default."""
    from unlearn.policy import change_policy

    with call.open() as store:
        call.out.one(change_policy(store, dict(map(_setting, pairs))), whole=True)


def _setting(pair: str) -> tuple[str, Any]:
    name, equals, text = pair.partition("=")
    if not equals:
        raise click.UsageError(f"{pair!r} is no SETTING=VALUE")
    try:
        return name, json.loads(text) if text else None
    except ValueError:
        return name, text

"""The verb ``sql``: one SELECT over views of what the store knows."""

import sys

import click

from unlearn.cli.call import Call, Verb, pass_call

SHOWN = 100
"""Rows of a table, where nobody asks for more or fewer."""


@click.command(cls=Verb, example="expunge sql 'SELECT model, version FROM models WHERE live'")
@click.argument("statement", required=False)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    help=f"Rows of the table that are shown ({SHOWN}); JSON has them all.",
)
@click.option(
    "--memory",
    metavar="MIB",
    type=click.IntRange(min=64),
    default=1024,
    help="Mebibytes of memory that the statement may take (1024).",
)
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True, max=86_400),
    default=60.0,
    help="Seconds that the statement may take (60).",
)
@pass_call
def sql(call: Call, statement: str | None, limit: int | None, memory: int, timeout: float) -> None:
    """Ask one read-only SELECT (or `-`, standard input); without any, list the views."""
    from lineage.provenance.sql import VIEWS, query
    from unlearn.cli.answers import ColumnOfView

    if call.as_json and limit is not None:
        raise click.UsageError(
            "--limit is for tables: JSON is complete; write LIMIT into the SELECT"
        )
    if statement is None:
        call.out.many([ColumnOfView.of(view, each) for view in VIEWS for each in view.columns])
        return
    text = sys.stdin.read() if statement == "-" else statement
    with call.open() as store, query(store, text, memory=memory, timeout=timeout) as answer:
        call.out.matrix(answer, limit or SHOWN)

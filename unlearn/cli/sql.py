"""The verb ``sql``: one SELECT over views of what the store knows."""

import contextlib
import json
import subprocess
import sys
from select import select
from subprocess import PIPE
from typing import TYPE_CHECKING

import click

from unlearn.cli.answer_stream import write_answer
from unlearn.cli.call import Call, Verb, pass_call
from unlearn.cli.exits import BY_CODE, Exit

if TYPE_CHECKING:
    from lineage.errors import LimitError
    from unlearn.cli.answers import ColumnOfView
    from unlearn.cli.statement import Question

SHOWN = 100
"""Rows of a table, where nobody asks for more or fewer."""

GRACE = 2.0
"""Seconds that the engine has to end a statement by itself, before its process is ended."""


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
    from unlearn.cli.statement import Question

    if call.as_json and limit is not None:
        raise click.UsageError(
            "--limit is for tables: JSON is complete; write LIMIT into the SELECT"
        )
    if statement is None:
        call.out.many(_columns())
        return
    text = sys.stdin.read() if statement == "-" else statement
    _answer(
        call,
        Question(
            store=call.path,
            text=text,
            memory=memory,
            timeout=timeout,
            shown=limit or SHOWN,
            as_json=call.as_json,
        ),
    )


def _columns() -> "list[ColumnOfView]":
    from lineage.provenance.sql import VIEWS
    from unlearn.cli.answers import ColumnOfView

    return [ColumnOfView.of(view, each) for view in VIEWS for each in view.columns]


def _answer(call: Call, question: "Question") -> None:
    """Print what another process answers; it is ended where it takes more than it may."""
    from unlearn.cli.statement import ANSWERED, BEGUN, FAILED

    command = [sys.executable, "-P", "-m", "unlearn.cli.statement"]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, bufsize=0) as asked:
        assert asked.stdin is not None
        assert asked.stdout is not None
        assert asked.stderr is not None
        try:
            with contextlib.suppress(BrokenPipeError):  # then its status says why
                asked.stdin.write(question.model_dump_json().encode())
                asked.stdin.close()
            line = asked.stdout.readline()
            if begun := line == BEGUN:
                if not select([asked.stdout], [], [], question.timeout + GRACE)[0]:
                    raise _too_long(question.timeout)
                line = asked.stdout.readline()
            while line == ANSWERED and (some := asked.stdout.read(65_536)):
                write_answer(some, newline=False)
            failure = json.loads(asked.stdout.read() or b"{}") if line == FAILED else None
            said = asked.stderr.read()
            status = asked.wait()
        finally:
            asked.kill()
    if failure is not None:
        call.out.error(**failure)
        click.get_current_context().exit(BY_CODE[failure["code"]])
    if status and begun:
        raise _too_large(question.memory)
    click.echo(said, nl=False, err=True)
    if status:
        click.get_current_context().exit(Exit.FAILED)


def _too_long(seconds: float) -> "LimitError":
    from lineage.errors import LimitError

    return LimitError(
        f"the statement took longer than {seconds:g} s",
        hint="allow more with --timeout SECONDS",
    )


def _too_large(memory: int) -> "LimitError":
    from lineage.errors import LimitError

    return LimitError(
        f"the statement needs more than {memory:,} MiB of memory",
        hint="ask for less, or allow more with --memory MIB",
    )

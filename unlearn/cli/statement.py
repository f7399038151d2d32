"""The process that carries one SELECT out, so that its limits hold whatever the engine does.

DuckDB neither counts nor interrupts a function that makes one large value. Run as ``python -m
unlearn.cli.statement``, with a `Question` on standard input. On standard output come lines: `BEGUN`
when the statement begins, then `ANSWERED` and the printed answer, or `FAILED` and an error in JSON.
"""

import json
import resource
import sys
from pathlib import Path

import click
from pydantic import BaseModel

from storage.errors import ExpungeError
from unlearn.cli.failures import sentence_of
from unlearn.cli.output import JsonOutput, TableOutput

BEGUN, ANSWERED, FAILED = b"begun\n", b"answered\n", b"failed\n"

ROOM = 256
"""Mebibytes for the process itself, beside what the statement may take."""


class Question(BaseModel):
    """A statement, the store it is about, its limits, and how its answer is printed."""

    store: Path
    text: str
    memory: int
    timeout: float
    shown: int
    as_json: bool


def main() -> None:
    """Answer the question on standard input."""
    from lineage.provenance.sql import query
    from lineage.store import Store

    question = Question.model_validate_json(sys.stdin.buffer.read())
    try:
        with Store.open(question.store) as store:
            _limit(question.memory)
            _tell(BEGUN)
            limits = {"memory": question.memory, "timeout": question.timeout}
            with query(store, question.text, **limits) as answer:  # type: ignore[arg-type]
                _tell(ANSWERED)
                out = JsonOutput() if question.as_json else TableOutput()
                out.matrix(answer, question.shown)
    except ExpungeError as error:
        _fail(error.code, error.message, error.hint)
    except OSError as error:
        _fail("unavailable", *sentence_of(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _limit(memory: int) -> None:
    """Let this process take so many mebibytes more than it has now."""
    taken = [
        int(line.split()[1]) * 1024
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("VmData:")
    ]
    most = sum(taken) + (memory + ROOM) * 2**20
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _tell(line: bytes) -> None:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


def _fail(code: str, message: str, hint: str) -> None:
    _tell(FAILED)
    click.echo(json.dumps({"code": code, "message": message, "hint": hint}))


if __name__ == "__main__":
    main()

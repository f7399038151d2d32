"""The verbs that tell other tools: ``export prov``, ``export openlineage``."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click

from unlearn.cli.answer_stream import write_answer
from unlearn.cli.call import Call, Noun, pass_call

F = TypeVar("F", bound=Callable[..., Any])


@click.group(cls=Noun, example="expunge export prov --run run-0123456789")
def export() -> None:
    """Write the lineage of a run for other tools, without the id of anybody."""


def _told(verb: F) -> F:
    """``--run ID``, ``--steps`` and ``--output FILE``."""
    for option in (
        click.option(
            "--output",
            metavar="FILE",
            type=click.Path(path_type=Path),
            help="A new file, instead of standard output.",
        ),
        click.option("--steps", is_flag=True, help="Also every executed optimizer step."),
        click.option("--run", "identifier", metavar="ID", required=True, help="run-… or train-…"),
    ):
        verb = option(verb)
    return verb


@export.command(example="expunge export prov --run run-0123456789 --output lineage.json")
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "provn"]),
    default="json",
    show_default=True,
    help="PROV-JSON or PROV-N.",
)
@_told
@pass_call
def prov(call: Call, form: str, identifier: str, steps: bool, output: Path | None) -> None:
    """Write a W3C PROV document of a run, or of all runs of a training."""
    from lineage.export.prov import document

    with call.open() as store:
        made = document(store, identifier, with_steps=steps)
    _answer(call, identifier, form, output, [str(made.serialize(format=form)), "\n"])


@export.command(example="expunge export openlineage --run run-0123456789 --output events.jsonl")
@click.option(
    "--namespace",
    default="expunge",
    show_default=True,
    help="Where the catalogue that reads them keeps this store's jobs and datasets.",
)
@_told
@pass_call
def openlineage(
    call: Call, namespace: str, identifier: str, steps: bool, output: Path | None
) -> None:
    """Write OpenLineage events of a run, or of all runs of a training, one a line."""
    from json import dumps

    from lineage.export.openlineage import events

    with call.open() as store:
        found = events(store, identifier, namespace=namespace, with_steps=steps)
        lines = (dumps(event, separators=(",", ":")) + "\n" for event in found)
        _answer(call, identifier, "openlineage", output, lines)


def _answer(
    call: Call, identifier: str, form: str, output: Path | None, text: Iterable[str]
) -> None:
    """Write an export to its file, or as the answer."""
    if output is not None:
        from unlearn.cli.answers import Exported

        with _new(output) as file:
            file.writelines(text)
        call.out.one(
            Exported(id=identifier, format=form, output=str(output), size=output.stat().st_size)
        )
    elif call.as_json:
        call.out.drawing(form, "".join(text))
    else:
        for piece in text:
            write_answer(piece, newline=False)


@contextmanager
def _new(path: Path) -> Iterator[TextIO]:
    """A file that was not there, and is not where the export fails."""
    try:
        file = path.open("x", encoding="utf-8", newline="\n")
    except FileExistsError:
        raise click.UsageError(f"{path} exists: remove it, or name another file") from None
    except OSError as error:
        raise click.UsageError(f"{path} cannot be written: {error.strerror}") from None
    try:
        with file:
            yield file
    except BaseException:
        path.unlink()
        raise

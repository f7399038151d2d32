"""What several verbs take: whom a question is about, settings, how a plan is carried out."""

import json
import tomllib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

MOST_EXACT = 2**53 - 1
"""Beyond this, readers of JSON disagree about a whole number."""


def columns(_context: object, _option: object, text: str | None) -> tuple[str, ...]:
    """The columns of ``COL[,COL…]``."""
    return tuple(name for name in (text or "").split(",") if name)


def whom(verb: F) -> F:
    """``--subject X | --record X`` with ``--namespace NS`` or ``--dataset NAME``."""
    for option in (
        click.option("--dataset", metavar="NAME", help="The dataset to look for records in."),
        click.option("--namespace", metavar="NS", help="The namespace to look for subjects in."),
        click.option("--record", metavar="ID", help="The id of one record."),
        click.option("--subject", metavar="ID", help="The id of a person or source."),
    ):
        verb = option(verb)
    return verb


def one_of(subject: str | None, record: str | None) -> tuple[str, str]:
    """Kind and id of the one that was given."""
    if (subject is None) == (record is None):
        raise click.UsageError("give one of --subject and --record")
    return ("record", record) if record is not None else ("subject", str(subject))


def scope(kind: str, namespace: str | None, dataset: str | None) -> str | None:
    """Where ids of a kind are looked for: subjects in a namespace, records in a dataset."""
    given, other, wrong = (
        (namespace, dataset, "--dataset is for records; use --namespace with subjects")
        if kind == "subject"
        else (dataset, namespace, "--namespace is for subjects; use --dataset with records")
    )
    if other is not None:
        raise click.UsageError(wrong)
    return given


def ids_in(file: BinaryIO) -> list[str]:
    """The ids of a file, one a line, as they are; errors name lines, never ids."""
    lines = file.read().removeprefix(b"\xef\xbb\xbf").splitlines()
    ids = []
    for number, line in enumerate(lines, 1):
        try:
            ids.append(line.decode())
        except UnicodeDecodeError:
            raise click.UsageError(f"line {number} of the file of ids is not UTF-8") from None
        if not ids[-1].strip():
            raise click.UsageError(f"line {number} of the file of ids is blank: one id a line")
    if not ids:
        raise click.UsageError("the file of ids is empty")
    return ids


def settings(file: Path | None, pairs: Iterable[str]) -> dict[str, Any]:
    """A program's settings: those of a file, then ``KEY=VALUE`` pairs; values are JSON or text."""
    chosen = {} if file is None else _settings_in(file)
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise click.UsageError(f"--set takes KEY=VALUE, not {pair!r}")
        chosen[key] = _value(text)
    for key, value in chosen.items():
        _require_json(key, value)
    return chosen


def _settings_in(file: Path) -> dict[str, Any]:
    text = file.read_bytes()
    try:
        content = tomllib.loads(text.decode()) if file.suffix == ".toml" else json.loads(text)
    except ValueError as error:
        raise click.UsageError(f"{file} cannot be read as settings: {error}") from None
    if not isinstance(content, dict):
        raise click.UsageError(f"{file} holds no table of settings: one JSON object is needed")
    return content


def _value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_no_constant)
    except ValueError:
        return text


def _no_constant(word: str) -> object:
    raise ValueError(word)


def _require_json(key: str, value: object) -> None:
    """Refuse what could not be written down and read again exactly."""
    match value:
        case None | bool() | str():
            return
        case int() if abs(value) <= MOST_EXACT:
            return
        case float() if value - value == 0:
            return
        case list():
            for item in value:
                _require_json(key, item)
        case dict():
            for item in value.values():
                _require_json(key, item)
        case _:
            raise click.UsageError(f"setting {key!r} is no exact JSON value; give it as text")


def aliases(option: str, pairs: Iterable[str]) -> dict[str, str]:
    """Alias → name, from ``[ALIAS=]NAME``; the alias of a bare name is the name."""
    found: dict[str, str] = {}
    for pair in pairs:
        alias, equals, name = pair.partition("=")
        if not alias or (equals and not name):
            raise click.UsageError(f"{option} takes [ALIAS=]NAME, not {pair!r}")
        if alias in found:
            raise click.UsageError(f"{option} gives alias {alias!r} twice")
        found[alias] = name or alias
    return found


def drawn(verb: F) -> F:
    """``--tree | --dot | --mermaid``: a picture instead of a table."""
    for form, what in (
        ("mermaid", "a Mermaid flowchart"),
        ("dot", "a graph in the DOT language"),
        ("tree", "a tree"),
    ):
        verb = click.option(f"--{form}", "form", flag_value=form, help=f"Draw {what}.")(verb)
    return verb


def carried_out(verb: F) -> F:
    """How a plan is applied: ``--workers``, ``--on``, ``--twin``, ``--allow-changed``."""
    for option in (
        click.option(
            "--allow-changed", is_flag=True, help="Accept changed programs; the claim says so."
        ),
        click.option("--twin", is_flag=True, help="Train a from-scratch twin and compare bytes."),
        click.option(
            "--on",
            "place",
            type=click.Choice(["local", "debug"]),
            default="local",
            show_default=True,
            help="In processes of this machine, or in this process.",
        ),
        click.option(
            "--workers",
            metavar="N",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            help="How many processes.",
        ),
    ):
        verb = option(verb)
    return verb

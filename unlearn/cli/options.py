"""What several verbs take: whom a question is about, settings, how a plan is carried out."""

import json
import shlex
import tomllib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, cast

import click

F = TypeVar("F", bound=Callable[..., Any])

STEP = click.IntRange(min=0)
"""How many steps were done; also the number of the step that comes then."""

MOST_EXACT = 2**53 - 1
"""Beyond this, readers of JSON disagree about a whole number."""


class Several(click.ParamType[Any]):
    """Numbers of one kind, with commas between them; where one may be ``alone``, it is no tuple."""

    name = "numbers"

    def __init__(self, kind: click.ParamType[Any], *, alone: bool = False) -> None:
        self.kind = kind
        self.alone = alone

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...] | Any:
        """The numbers of a text."""
        numbers = tuple(self.kind.convert(word, param, ctx) for word in str(value).split(","))
        return numbers[0] if self.alone and len(numbers) == 1 else numbers


def columns(_context: object, _option: object, text: str | None) -> tuple[str, ...]:
    """The columns of ``COL[,COL…]``."""
    return tuple(name for name in (text or "").split(",") if name)


@dataclass(frozen=True)
class Whom:
    """Whom a question or request is about: ids of a kind, looked for ``within`` a scope.

    ``lines`` are those of the file they were read from, if they were.
    """

    kind: str
    ids: tuple[str, ...]
    within: str | None
    lines: tuple[int, ...] = ()

    @property
    def request(self) -> str:
        """The command that asks to forget them, without their ids."""
        scope = "namespace" if self.kind == "subject" else "dataset"
        within = "" if self.within is None else f" --{scope} {shlex.quote(self.within)}"
        return f"request add --{self.kind}{'s FILE' if self.lines else ' ID'}{within}"

    @property
    def alone(self) -> bool:
        """Return True if one id was given, and no file."""
        return len(self.ids) == 1 and not self.lines

    @contextmanager
    def identified(self) -> Iterator[None]:
        """Let errors about ids of a file name its lines.

        Raises:
            UnknownIdError, AmbiguousIdError: as raised, if the ids came from no file.
        """
        from lineage.errors import AmbiguousIdError, UnknownIdError

        try:
            yield
        except (UnknownIdError, AmbiguousIdError) as error:
            if not self.lines:
                raise
            lines = [self.lines[number - 1] for number in error.numbers]
            if isinstance(error, UnknownIdError):
                raise UnknownIdError(self.kind, lines, len(self.ids), "line") from None
            scopes = error.scopes
            raise AmbiguousIdError(self.kind, lines, len(self.ids), scopes, "line") from None


def whom(verb: F) -> F:
    """Ids of subjects or of records, on the command line or in a file, as one ``Whom``."""

    @wraps(verb)
    def about(*arguments: Any, **options: Any) -> Any:
        names = ("subject", "record", "subjects", "records", "namespace", "dataset")
        given = {name: options.pop(name) for name in names}
        return verb(*arguments, whom=_asked(**given), **options)

    file = click.File("rb")
    for option in (
        click.option("--dataset", metavar="NAME", help="The dataset to look for records in."),
        click.option("--namespace", metavar="NS", help="The namespace to look for subjects in."),
        click.option("--records", metavar="FILE", type=file, help="Ids of records, one a line."),
        click.option("--subjects", metavar="FILE", type=file, help="Ids, one a line; - is stdin."),
        click.option("--record", metavar="ID", multiple=True, help="The id of a record."),
        click.option(
            "--subject", metavar="ID", multiple=True, help="The id of a person or source."
        ),
    ):
        about = option(about)
    return cast(F, about)


def _asked(
    subject: tuple[str, ...],
    record: tuple[str, ...],
    subjects: BinaryIO | None,
    records: BinaryIO | None,
    namespace: str | None,
    dataset: str | None,
) -> Whom:
    """The ids, from the one place where they were given."""
    if sum(map(bool, (subject, record, subjects, records))) != 1:
        raise click.UsageError("give one of --subject, --record, --subjects and --records")
    kind = "subject" if subject or subjects else "record"
    within = _scope(kind, namespace, dataset)
    file = subjects or records
    if file is None:
        return Whom(kind, subject or record, within)
    lines, ids = zip(*ids_in(file), strict=True)
    return Whom(kind, ids, within, lines)


def moment(verb: F) -> F:
    """``--at STEP`` and ``--run ID``, as one ``Moment``."""

    @wraps(verb)
    def then(*arguments: Any, at: int | None, run: str | None, **rest: Any) -> Any:
        from lineage.provenance.reach import Moment

        return verb(*arguments, moment=Moment(at, run), **rest)

    for option in (
        click.option("--run", metavar="ID", help="Of this run alone."),
        click.option("--at", metavar="STEP", type=STEP, help="As of when STEP steps were done."),
    ):
        then = option(then)
    return cast(F, then)


def _scope(kind: str, namespace: str | None, dataset: str | None) -> str | None:
    """Where ids of a kind are looked for: subjects in a namespace, records in a dataset."""
    given, other, wrong = (
        (namespace, dataset, "--dataset is for records; use --namespace with subjects")
        if kind == "subject"
        else (dataset, namespace, "--namespace is for subjects; use --dataset with records")
    )
    if other is not None:
        raise click.UsageError(wrong)
    return given


def ids_in(file: BinaryIO) -> list[tuple[int, str]]:
    """Line number and id of each line of a file that is not blank; errors never name ids."""
    found = []
    for number, line in enumerate(file.read().removeprefix(b"\xef\xbb\xbf").splitlines(), 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise click.UsageError(f"line {number} of the file of ids is not UTF-8") from None
        if text.strip():
            found.append((number, text))
    if not found:
        raise click.UsageError("the file of ids is empty")
    return found


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
    """How a plan is applied: ``--workers``, ``--on``, ``--twin``, and what is accepted."""
    for option in (
        click.option(
            "--approve",
            "approval",
            metavar="REASON",
            help="Apply it in spite of what the policy holds against it.",
        ),
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
            help="How many processes. Default: as planned.",
        ),
    ):
        verb = option(verb)
    return verb

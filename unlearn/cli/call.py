"""One call of the command: which store it is about, and how it answers.

``--store`` and ``--json`` are accepted before and after every verb.
"""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from unlearn.cli.answer_stream import answers_alone
from unlearn.cli.output import JsonOutput, Output, TableOutput
from unlearn.cli.visible import say

if TYPE_CHECKING:
    from lineage.store import Store


@dataclass
class Call:
    """What the options that every verb has were set to; ``place`` is None without ``--store``.

    ``resumption`` is the command that goes on with what is being done, if it is interrupted.
    """

    place: Path | None = None
    as_json: bool = False
    resumption: str = ""

    @property
    def path(self) -> Path:
        """The folder of the store."""
        from lineage.store import default_path

        return self.place or default_path()

    @property
    def out(self) -> Output:
        """Where the answer goes."""
        return JsonOutput() if self.as_json else TableOutput()

    @property
    def has_store(self) -> bool:
        """Return True if there is a store, whatever state it is in."""
        return (self.path / "catalogue.db").exists()

    def open(self) -> "Store":
        """The store that must be there.

        Raises:
            NotFoundError: there is none.
            DamagedStoreError: its catalogue is empty, damaged or missing.
        """
        from lineage.store import Store

        return Store.open(self.path)

    def open_or_create(self) -> "Store":
        """The store, made now if there is none, which is said on standard error.

        Raises:
            DamagedStoreError: its catalogue is empty, damaged or missing.
        """
        from lineage.store import Store

        if self.path.exists() and not self.path.is_dir():
            raise click.UsageError(f"{self.path} is not a folder: it cannot hold a store")
        made = not self.has_store
        store = Store.create(self.path)
        if made:
            say(f"made a store at {self.path}")
        return store

    def then(self, command: str) -> None:
        """Name the command to go on with, on standard error."""
        say(f"next: {self.spelled(command)}")

    def spelled(self, command: str) -> str:
        """A command as it must be typed to reach the same store."""
        store = "" if self.place is None else f" --store {shlex.quote(str(self.place))}"
        return f"expunge {command}{store}"

    def progress(self, text: str) -> None:
        """Say how far the work is, to whoever watches."""
        if sys.stderr.isatty():
            say(text)


pass_call = click.make_pass_decorator(Call, ensure=True)


def _use_store(context: click.Context, _option: click.Parameter, place: Path | None) -> None:
    if place is not None:
        context.ensure_object(Call).place = place


def _use_json(context: click.Context, _option: click.Parameter, as_json: bool) -> None:
    if as_json:
        context.ensure_object(Call).as_json = True


def _common_options() -> list[click.Option]:
    return [
        click.Option(
            ["--store"],
            type=click.Path(file_okay=False, path_type=Path),
            expose_value=False,
            callback=_use_store,
            help="Folder of the store (EXPUNGE_STORE, else .expunge).",
        ),
        click.Option(
            ["--json"],
            is_flag=True,
            expose_value=False,
            callback=_use_json,
            help="Print one JSON document.",
        ),
    ]


class _Strict(click.Command):
    """A command that loses no value: what is taken once may not be given twice."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse the words of the command.

        Raises:
            UsageError: an option that has one value is given several times.
        """
        if args:
            _, _, given = self.make_parser(ctx).parse_args(args=[*args])
            for option in given:
                if _has_one_value(option) and given.count(option) > 1:
                    raise click.UsageError(f"{option.opts[0]} is given more than once", ctx)
        return super().parse_args(ctx, args)


def _has_one_value(option: click.Parameter) -> bool:
    return isinstance(option, click.Option) and not (option.multiple or option.is_flag)


class Verb(_Strict):
    """A command with one example, which its help shows."""

    def __init__(self, *arguments: Any, example: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.example = example
        self.params += _common_options()

    def invoke(self, context: click.Context) -> Any:
        """Execute the verb; what programs print meanwhile is no answer."""
        with answers_alone():
            return super().invoke(context)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the example below the options."""
        _write_example(formatter, self.example)


class Noun(_Strict, click.Group):
    """A group of verbs about one kind of thing, in the order in which they were declared."""

    command_class = Verb

    def __init__(self, *arguments: Any, example: str, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.example = example
        self.params += _common_options()

    def list_commands(self, context: click.Context) -> list[str]:
        """The verbs as declared."""
        return list(self.commands)

    def format_epilog(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Show the example below the verbs."""
        _write_example(formatter, self.example)


def _write_example(formatter: click.HelpFormatter, example: str) -> None:
    with formatter.section("Example"):
        formatter.write(f"  {example}\n")

"""The command ``expunge``: its verbs, and what becomes of errors and interruptions."""

import sys
import traceback
from collections.abc import Sequence
from io import StringIO
from types import TracebackType
from typing import Any, NoReturn

import click

from storage.errors import ExpungeError
from unlearn.cli.call import Call, Noun
from unlearn.cli.dataset import dataset
from unlearn.cli.demo import demo
from unlearn.cli.exits import BY_CODE, Exit
from unlearn.cli.export import export
from unlearn.cli.failures import sentence_of
from unlearn.cli.forecast import forecast
from unlearn.cli.lineage import lineage
from unlearn.cli.model import model
from unlearn.cli.output import JsonOutput, Output, TableOutput
from unlearn.cli.plan import apply, plan, verify
from unlearn.cli.policy import policy
from unlearn.cli.request import cancel, request, retry
from unlearn.cli.run import run
from unlearn.cli.show import impact, show, who_saw
from unlearn.cli.sql import sql
from unlearn.cli.store import doctor, init, status
from unlearn.cli.tick import tick, watch
from unlearn.cli.train import reshard, train
from unlearn.cli.visible import visible


class Command(Noun):
    """The root: whatever happens below it ends in an exit status and a sentence."""

    def main(  # type: ignore[override]
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        **settings: Any,
    ) -> NoReturn:
        """Run the command line and leave the process."""
        given = list(sys.argv[1:] if args is None else args)
        out: Output = JsonOutput() if "--json" in given else TableOutput()
        call = Call()
        settings |= {"standalone_mode": False, "obj": call}
        try:
            with _Unforeseen(out):
                status = super().main(given, prog_name or "expunge", **settings)
        except click.Abort:
            hint = f"go on with: {call.spelled(call.resumption)}" if call.resumption else ""
            sys.exit(_report(out, "interrupted", "interrupted: what was finished is kept", hint))
        except click.UsageError as error:
            sys.exit(_report_usage(out, error))
        except ExpungeError as error:
            _show_cause(error)
            sys.exit(_report(out, error.code, error.message, error.hint))
        except OSError as error:
            sys.exit(_report(out, "unavailable", *sentence_of(error)))
        sys.exit(status or Exit.DONE)


class _Unforeseen:
    """An error nobody foresaw ends the process with its traceback, and in JSON mode is said too."""

    def __init__(self, out: Output) -> None:
        self._out = out

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        foreseen = (ExpungeError, OSError, click.ClickException, click.Abort)
        if isinstance(error, Exception) and not isinstance(error, foreseen):
            # The text of a foreign error may hold ids or cell values; where it arose does not.
            place = traceback.extract_tb(trace)[-1]
            message = f"{type(error).__name__} in {place.filename}, line {place.lineno}"
            self._out.error("failed", message, "the traceback is on standard error")


def _show_cause(error: ExpungeError) -> None:
    """Print the traceback of what a program raised: only its author can understand it."""
    from lineage.errors import ProgramFailedError

    if isinstance(error, ProgramFailedError):
        traceback.print_exception(error)


def _report(out: Output, code: str, message: str, hint: str) -> Exit:
    out.error(code, message, hint)
    return BY_CODE[code]


def _report_usage(out: Output, error: click.UsageError) -> Exit:
    """A mistake on the command line; a bare noun is answered with its help."""
    if isinstance(out, TableOutput):
        shown = StringIO()
        error.show(shown)
        click.echo(visible(shown.getvalue(), lines=True), err=True, nl=False)
        return Exit.USAGE
    where = "expunge" if error.ctx is None else error.ctx.command_path
    bare = isinstance(error, click.exceptions.NoArgsIsHelpError)
    message = "Missing command." if bare else error.format_message()
    return _report(out, "usage", message, f"see {where} --help")


@click.group(cls=Command, example="expunge demo")
@click.version_option(package_name="expunge", prog_name="expunge")
def main() -> None:
    """Trace what models learned from records, forget them with the least work, and prove it."""


for _each in (
    demo,
    init,
    doctor,
    status,
    dataset,
    train,
    reshard,
    run,
    model,
    show,
    who_saw,
    impact,
    export,
    lineage,
    sql,
    forecast,
    request,
    cancel,
    retry,
    policy,
    plan,
    apply,
    verify,
    tick,
    watch,
):
    main.add_command(_each)

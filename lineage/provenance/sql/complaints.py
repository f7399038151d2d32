"""What DuckDB complains of, said in our words."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb

from lineage.errors import LimitError, StatementError

_QUOTED = re.compile(r'"[^"]*"')


@contextmanager
def explained(memory: int, timeout: float, begun: int) -> Iterator[None]:
    """Say what DuckDB complains of in the block; a statement begins so many characters late.

    No text and no value is repeated, neither of the statement nor of a row: it may be an id.

    Raises:
        StatementError: a statement is not as it must be, or not for these rows.
        LimitError: it took more than these mebibytes or seconds.
    """
    try:
        yield
    except TimeoutError:
        raise LimitError(
            f"the statement took longer than {timeout:g} s",
            hint="allow more with --timeout SECONDS",
        ) from None
    except duckdb.OutOfMemoryException:
        raise LimitError(
            f"the statement needs more than {memory:,} MiB of memory",
            hint="ask for less, or allow more with --memory MIB",
        ) from None
    except duckdb.Error as error:
        raise _complaint(error, begun) from None
    except RecursionError:
        raise StatementError(
            "the statement is nested too deeply", hint="name parts of it by WITH"
        ) from None
    except RuntimeError as error:
        if str(error) == "Query interrupted":  # how DuckDB passes on an interrupt from the keyboard
            raise KeyboardInterrupt from None
        raise


def _complaint(error: duckdb.Error, begun: int) -> StatementError:
    said = _said(error)
    sentence, hint = _QUOTED.sub("…", said["exception_message"].partition("\n")[0]), ""
    match error:
        case duckdb.ParserException():
            sentence = sentence.partition(" at or near")[0]
            hint = "text stands in 'single quotes'"
        case duckdb.BinderException() if said.get("error_subtype") == "COLUMN_NOT_FOUND":
            sentence = "there is no such column"
            hint = "text stands in 'single quotes'"
            if said.get("candidates"):
                hint = f"did you mean {said['candidates']}? {hint}"
        case duckdb.BinderException() | duckdb.CatalogException():
            pass
        case duckdb.ConversionException():
            sentence = "a value cannot be converted to the type that is asked for"
            hint = "TRY_CAST gives NULL where it cannot"
        case _:
            sentence = f"it cannot be carried out ({said['exception_type'].lower()})"
    if isinstance(error, duckdb.ParserException):
        begun = 0  # it was parsed by itself
    place = f" at character {int(said['position']) - begun + 1}" if "position" in said else ""
    return StatementError(f"the statement fails{place}: {sentence}", hint=hint)


def _said(error: duckdb.Error) -> dict[str, str]:
    """The parts of what the engine complains of; its bindings complain in plain text."""
    kind, _, text = str(error).partition(": ")
    try:
        said: dict[str, str] = json.loads(text)
    except ValueError:
        return {"exception_type": kind.removesuffix(" Error"), "exception_message": text}
    return said

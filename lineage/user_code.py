"""Calling a user's code: whatever it raises becomes an error that names it.

A `SystemExit` or `os._exit` would end the process, or a worker, without a word and with status 0.
Only an interrupt passes: it comes from a person at the keyboard.
"""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lineage.errors import ProgramFailedError
from lineage.os_exit import OsExit, exits_raised
from storage.errors import ExpungeError

_OURS = frozenset({"lineage", "storage", "unlearn"})
_INSTALLED = frozenset({"dist-packages", "site-packages"})
_CALLERS = frozenset({"lineage.data.frames", "lineage.data.function", "lineage.training.program"})
"""Modules that do nothing but call the function: an error raised by the call itself is its own."""


@contextmanager
def user_code(ref: str, root: Path) -> Iterator[None]:
    """Call code of the function ``ref`` under an import root in this block.

    An error that arises in what the function calls of this package, such as a full disk at a
    checkpoint, is no error of the function: it passes as it is.

    Raises:
        ProgramFailedError: the code raised anything but an interrupt or an error of this package.
    """
    try:
        with exits_raised():
            yield
    except (ExpungeError, KeyboardInterrupt):
        raise
    except BaseException as error:
        if not isinstance(error, SystemExit) and _is_ours(error, root):
            raise
        raise failure(ref, root, error) from error


def failure(ref: str, root: Path, error: BaseException) -> ProgramFailedError:
    """Return the error that says what code raised, and where.

    The text of the user's error may hold ids or cell values, so it is left to the traceback.
    """
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if _within(frame.filename, root)]
    where = ""
    if frames:
        frame = (own or frames)[-1]
        where = f" in {_within(frame.filename, root) or frame.filename}, line {frame.lineno}"
    what = "os._exit" if isinstance(error, OsExit) else type(error).__name__
    return ProgramFailedError(
        f"{ref} ended with {what}{where}",
        hint="mend it and start again; the traceback is on standard error",
    )


def _is_ours(error: BaseException, root: Path) -> bool:
    """Return True if the innermost frame that is this package's or the user's is this package's.

    The outermost frame is the one that entered the block. Frames of libraries decide nothing.
    """
    for frame, _ in reversed([*traceback.walk_tb(error.__traceback__)][2:]):
        module = str(frame.f_globals.get("__name__", ""))
        if module in _CALLERS:
            continue
        if module.partition(".")[0] in _OURS:
            return True
        if _within(frame.f_code.co_filename, root):
            return False
    return False


def _within(file: str, root: Path) -> str:
    """Return a file's path below the import root; empty where it lies elsewhere, or in a library.

    An environment of installed packages often lies in the folder of the program.
    """
    path = Path(file).resolve()
    if not path.is_relative_to(root.resolve()) or _INSTALLED & {*path.parts}:
        return ""
    return path.relative_to(root.resolve()).as_posix()

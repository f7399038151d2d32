"""Standard output is for the answer alone: whatever a program prints goes to standard error."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

import click

_kept: TextIO | None = None
"""Where answers go while a verb is executed; None means to ``sys.stdout``."""


def write_answer(text: str | bytes, *, newline: bool = True) -> None:
    """Print a part of the answer."""
    click.echo(text, file=_kept, nl=newline)


@contextmanager
def answers_alone() -> Iterator[None]:
    """Keep standard output for `write_answer` in this block; other output goes to standard error.

    The descriptor is moved too: libraries in C, ``os.write`` and child processes write to it. In a
    process of the command's own it stays so to the end, for threads and exit handlers of programs.
    """
    global _kept
    _occupy()
    before, stdout = _kept, sys.stdout
    if stdout is None or stdout is sys.stderr:  # closed, or a verb inside another one
        yield
        return
    moved = _is_descriptor_1(stdout)
    _kept = _moved(stdout) if moved else stdout
    sys.stdout = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    try:
        yield
    finally:
        if not moved:
            _kept, sys.stdout = before, stdout


def _occupy() -> None:
    """Open the standard streams that are closed: a file of the store could get their descriptors.

    Whatever a program or a library prints would then be written into it.
    """
    while (opened := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(opened, True)
    os.close(opened)


def _is_descriptor_1(stream: TextIO) -> bool:
    """Return True for the standard output that a process began with; tests have others."""
    with suppress(OSError, ValueError):
        return stream.fileno() == 1
    return False


def _moved(stdout: TextIO) -> TextIO:
    """Return standard output under another descriptor; number 1 is that of standard error now."""
    stdout.flush()
    kept = os.dup(1)  # no child inherits it
    os.dup2(2, 1)
    return open(kept, "w", encoding=stdout.encoding, errors=stdout.errors)

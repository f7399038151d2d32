"""Text that a terminal shows as it is, and obeys in nothing.

Names, ids and cells come from files of others: an escape sequence among them could clear the screen
or forge a line, and a bidi mark turn a sentence round (Unicode Technical Report 36, section 2.10).
"""

import re

import click

_OBEYED = re.compile(
    "[\\x00-\\x1f\\x7f-\\x9f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ud800-\\udfff]"
)
"""Control characters, bidi marks, separators of lines, and halves of characters."""


def visible(text: str, *, lines: bool = False) -> str:
    r"""Return a text with an escape for what a terminal would obey; ``lines`` may stay apart.

    >>> print(visible("a\x1b[2Jb\u202ec\nd"))
    a\x1b[2Jb\u202ec\nd
    """
    return _OBEYED.sub(lambda found: _escaped(found[0], lines), text)


def say(text: str) -> None:
    """Print a message on standard error."""
    click.echo(visible(text), err=True)


def _escaped(character: str, lines: bool) -> str:
    if lines and character == "\n":
        return character
    return character.encode("unicode_escape").decode()

"""Names of datasets, models and aliases; never of people or their records."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

from storage.errors import InvalidInputError

_ID = re.compile(r"[a-z]+-[0-9a-f]{10}")


def check_new(name: str, what: str) -> None:
    """Make sure that something new can be asked for by its name.

    >>> check_new("speech", "model")

    Raises:
        InvalidInputError: the name is blank, or looks like an id.
    """
    check_said(name, f"the name of the {what}")
    if _ID.fullmatch(name):
        raise InvalidInputError(
            f"the name {name!r} of the {what} looks like an id", hint="choose another name"
        )


def check_said(text: str, what: str) -> None:
    """Make sure that something is not blank.

    Raises:
        InvalidInputError: it is.
    """
    if not text.strip():
        raise InvalidInputError(f"{what} is blank", hint="say it in a word or more")


def near(name: str, known: Iterable[str], listing: str) -> str:
    """A hint for a name that was not found.

    >>> near("voice", ["voices", "faces"], "dataset list")
    "did you mean 'voices'?"
    >>> near("x", [], "dataset list")
    'see `expunge dataset list`'
    """
    matches = get_close_matches(name, list(known), n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"see `expunge {listing}`"

"""Near matches for names of datasets, models and runs; never for people or their records."""

from collections.abc import Iterable
from difflib import get_close_matches


def near(name: str, known: Iterable[str], listing: str) -> str:
    """A hint for a name that was not found.

    >>> near("voice", ["voices", "faces"], "dataset list")
    "did you mean 'voices'?"
    >>> near("x", [], "dataset list")
    'see `expunge dataset list`'
    """
    matches = get_close_matches(name, list(known), n=1)
    return f"did you mean {matches[0]!r}?" if matches else f"see `expunge {listing}`"

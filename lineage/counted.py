"""Numbers of things in sentences, with the right form of the noun."""


def counted(number: int, one: str, several: str | None = None) -> str:
    """Return a number and its noun; ``several`` is the form for others than one.

    >>> counted(1, "row"), counted(0, "row"), counted(1200, "row")
    ('1 row', '0 rows', '1,200 rows')
    >>> counted(2, "request waits", "requests wait")
    '2 requests wait'
    """
    return f"{number:,} {one if number == 1 else several or one + 's'}"

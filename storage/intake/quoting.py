"""Whether the quotes of a CSV file leave one reading of it; Arrow's reader takes what is broken.

Arrow ends a cell at a quote in its middle, and the file inside a quote that was never closed: such
a file may swallow rows. So quotes are checked before it reads: a quoted cell begins after a
delimiter, and after its last quote comes a delimiter or the end of a line (RFC 4180, section 2). A
quote inside a cell that is not quoted is a character like others, for Arrow and for Python's
``csv``.
"""

from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from storage.errors import InvalidInputError

_BLOCK = 16 << 20
_MARK = b"\xef\xbb\xbf"
_QUOTE = ord('"')
_AROUND = np.zeros(256, np.bool_)
_AROUND[[*b'",\r\n']] = True


def check_quotes(path: Path) -> None:
    """Read a CSV file's quotes, and refuse it where rows could be read otherwise than meant.

    Raises:
        InvalidInputError: a quoted cell does not end, or text follows its end; or there is a NUL.
    """
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as data:
        if data.find(b"\0") >= 0:
            raise InvalidInputError(
                f"{path} holds a NUL character, as no text does", hint="save the file as UTF-8"
            )
        if data.find(b'"') >= 0 and not _is_plain(data):
            _check_one_by_one(path, data)


def _is_plain(data: mmap) -> bool:
    """Return True if quotes open and close in turn, each at a border of cells, or as a double."""
    start = len(_MARK) if data[: len(_MARK)] == _MARK else 0
    opens = True
    for first in range(start, len(data), _BLOCK):
        last = min(first + _BLOCK, len(data))
        before = data[first - 1 : first] if first > start else b"\n"
        after = data[last : last + 1] or b"\n"
        block = np.frombuffer(before + data[first:last] + after, np.uint8)
        quotes = np.flatnonzero(block[1:-1] == _QUOTE) + 1
        opening, closing = quotes[0 if opens else 1 :: 2], quotes[1 if opens else 0 :: 2]
        if not (_borders(block, opening - 1) and _borders(block, closing + 1)):
            return False
        opens ^= len(quotes) % 2 == 1
    return opens


def _borders(block: NDArray[np.uint8], places: NDArray[np.int64]) -> bool:
    return bool(_AROUND[block[places]].all())


def _check_one_by_one(path: Path, data: mmap) -> None:
    at = first = len(_MARK) if data[: len(_MARK)] == _MARK else 0
    spans: list[tuple[int, int]] = []
    while (opening := data.find(b'"', at)) >= 0:
        if opening > first and data[opening - 1] not in b",\r\n":
            at = opening + 1  # inside a cell that is not quoted
            continue
        closing = _end_of_cell(data, opening)
        if closing < 0:
            raise _refused(
                path,
                _outside(data[:opening], spans),
                "has a quoted cell that does not end",
                "close the quote, or double a quote that belongs to the text",
            )
        if data[closing + 1 : closing + 2] not in (b"", b",", b"\r", b"\n"):
            raise _refused(
                path,
                _outside(data[:opening], spans),
                "has text after the end of a quoted cell",
                "double a quote that belongs to the text",
            )
        spans.append((opening, closing))
        at = closing + 1


def _end_of_cell(data: mmap, opening: int) -> int:
    """Where the quote is that ends a quoted cell; -1 where there is none."""
    at = data.find(b'"', opening + 1)
    while at >= 0 and data[at + 1 : at + 2] == b'"':
        at = data.find(b'"', at + 2)
    return at


def _outside(text: bytes, spans: list[tuple[int, int]]) -> bytes:
    """The text with quoted cells made short, so that its line breaks are those between rows."""
    starts = [0, *(closing + 1 for _, closing in spans)]
    ends = [*(opening for opening, _ in spans), len(text)]
    return b"x".join(text[start:end] for start, end in zip(starts, ends, strict=True))


def _refused(path: Path, before: bytes, what: str, remedy: str) -> InvalidInputError:
    """The refusal of the row that begins after ``before``; the header is row 0, as elsewhere."""
    *whole, _ = before.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
    row = sum(map(bool, whole))
    place = f"row {row}" if row else "the header"
    return InvalidInputError(f"{place} of {path} {what}", hint=remedy, row=row)

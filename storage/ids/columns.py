"""The text of an id that a column holds: in a file from outside, and as it is declared."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from storage.rows import Array, cell_text

EXACT_BELOW = {
    "bfloat16": 2**8,
    "float16": 2**11,
    "halffloat": 2**11,
    "float32": 2**24,
    "float": 2**24,
    "float64": 2**53,
    "double": 2**53,
}
"""Below this, a real of a type is the whole number that it was made from, and no other."""

_SPELLINGS: dict[type, tuple[str, str]] = {
    int: (r'"(?:0|-?[1-9][0-9]*)"', r'"\s*[-+]?[\p{Nd}_]+(?:\.0*)?\s*"'),
    Decimal: (
        r'"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?"',
        r'"\s*[-+]?(?:[\p{Nd}_]+\.?[\p{Nd}_]*|\.[\p{Nd}_]+)\s*"',
    ),
}
"""How Python writes a number of a type, and what else it would read as one."""

_NUMERIC = r'(?:^|")\s*[-+]?\.?[\p{Nd}_]'
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


@dataclass(frozen=True, slots=True)
class IdColumn:
    """A column whose cells name records, alone or with others, and its declared Arrow type.

    ``ambiguous`` are types of numbers that do not say which text is meant: some of the texts are
    such numbers written otherwise, as ``007`` is.
    """

    name: str
    declared: pa.DataType
    ambiguous: frozenset[type] = frozenset()


def record_ids(batch: pa.RecordBatch, columns: Sequence[str]) -> Array:
    """Return the ids of rows: the texts of one column, or of several as a JSON array.

    >>> batch = pa.record_batch({"clinic": ["a", "a,b"], "patient": [7, 8]})
    >>> record_ids(batch, ["patient"]).to_pylist()
    ['7', '8']
    >>> record_ids(batch, ["clinic", "patient"]).to_pylist()
    ['["a","7"]', '["a,b","8"]']
    """
    texts = [id_texts(batch.column(name)) for name in columns]
    if len(texts) == 1:
        return texts[0]
    rows = zip(*(text.to_pylist() for text in texts), strict=True)
    return pa.array([joined_id(row) for row in rows], pa.string())


def joined_id(texts: Iterable[str | None]) -> str:
    """Return the id that several texts make together; no two lists of texts make the same one."""
    return _encode([*texts])


def id_texts(cells: Array) -> Array:
    """Return the texts of a column of ids, of a file or as it is declared; null stays null.

    >>> id_texts(pa.array([0, None], pa.timestamp("us"))).to_pylist()
    ['1970-01-01 00:00:00', None]
    """
    if pt.is_decimal(cells.type):
        return _decimal_texts(cells)
    if pt.is_timestamp(cells.type) or pt.is_time(cells.type):
        return _time_texts(cells)
    return cell_text(cells)


def ambiguous_types(ids: Array) -> frozenset[type]:
    """Return the types of numbers as which an id, or a part of one, reads that is none's text.

    >>> [kind.__name__ for kind in ambiguous_types(pa.array(["7", "7.00"]))]
    ['int']
    >>> ambiguous_types(pa.array(['["a","7"]', "x07"]))
    frozenset()
    """
    ids = ids.filter(pc.match_substring_regex(ids, _NUMERIC))  # most texts are not looked at twice
    quoted = pc.binary_join_element_wise(pa.scalar('"'), ids, pa.scalar('"'), "")
    found = set()
    for kind, (plain, any_spelling) in _SPELLINGS.items():
        others = pc.replace_substring_regex(quoted, plain, "")
        if pc.any(pc.match_substring_regex(others, any_spelling)).as_py():
            found.add(kind)
    return frozenset(found)


def _decimal_texts(cells: Array) -> Array:
    texts = cells.cast(pa.string())
    if not pc.any(pc.match_substring(texts, "E")).as_py():
        return texts
    written = (None if x is None else format(x, "f") for x in cells.to_pylist())
    return pa.array(written, pa.string())


def _time_texts(cells: Array) -> Array:
    """As Python's ``str`` writes them, so that the unit of the column does not show."""
    zone = ""
    if pt.is_timestamp(cells.type) and cells.type.tz is not None:
        cells, zone = cells.cast(pa.timestamp(cells.type.unit)), "+00:00"
    texts = cells.cast(pa.string())
    for fraction, kept in ((r"\.0+$", ""), (r"\.(\d{3})$", r".\1000"), (r"\.(\d{6})000$", r".\1")):
        texts = pc.replace_substring_regex(texts, fraction, kept)
    return pc.binary_join_element_wise(texts, pa.scalar(zone), "") if zone else texts

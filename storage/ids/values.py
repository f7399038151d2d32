"""The text of an id that a program holds, whatever type carries it without losing digits."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.types as pt

from storage.errors import InvalidInputError
from storage.ids.columns import EXACT_BELOW, IdColumn, id_texts, joined_id
from storage.rows import cell_text

_WIDE = EXACT_BELOW["double"]
_TIMES = ("datetime64", "timestamp", "time32", "time64", "date32", "date64")
"""How types of times begin that may hold nanoseconds, or years after 9999; Python's cannot."""


def texts_of(values: Any, columns: Sequence[IdColumn]) -> list[str | None]:
    """Return the texts of ids that a program holds: a list, an array, a tensor or a column.

    None stands for an id that is missing.

    Raises:
        InvalidInputError: a value may have lost digits, or names nothing; its number is given.
    """
    if hasattr(values, "iloc") and hasattr(values, "columns"):
        raise InvalidInputError(
            "a table is given where ids are wanted",
            hint="give its column of ids, or a tuple a row where several columns name a record",
        )
    texts = []
    for number, value in enumerate(plain_values(values), 1):
        try:
            texts.append(value if type(value) is str else _id_text(value, columns))
        except _UnfitError as unfit:
            raise InvalidInputError(
                f"id {number} is {unfit.what}", hint=unfit.remedy, number=number
            ) from None
    return texts


def plain_values(values: Any) -> Any:
    """Return the Python values of an array or tensor, or its own scalars where they say more.

    A narrow real as a Python float would hide how few digits it has, and a time its unit.
    """
    if not hasattr(values, "tolist"):
        return values
    name = _type_name(values)
    if name.startswith(_TIMES) or EXACT_BELOW.get(name, _WIDE) < _WIDE:
        if not getattr(values, "ndim", 1):
            return values
        return list(pa.array(values)) if _is_arrow_in_pandas(values) else list(values)
    return values.tolist()


def _is_arrow_in_pandas(values: Any) -> bool:
    """Return True if a column of pandas holds Arrow's times: its own scalars cut them."""
    return hasattr(getattr(values, "dtype", None), "pyarrow_dtype")


class _UnfitError(Exception):
    def __init__(self, what: str, remedy: str) -> None:
        self.what, self.remedy = what, remedy


def _id_text(value: Any, columns: Sequence[IdColumn]) -> str | None:
    """The text of one id; of several columns it is a tuple, or already the text."""
    if len(columns) == 1:
        return _text(value, columns[0])
    if isinstance(value, str) or value is None:
        return value
    parts = plain_values(value)
    if not isinstance(parts, tuple | list) or len(parts) != len(columns):
        raise _UnfitError(
            f"no tuple of the {len(columns)} columns of ids",
            f"give the values of {', '.join(column.name for column in columns)}, in this order",
        )
    texts = [_text(part, column) for part, column in zip(parts, columns, strict=True)]
    return None if None in texts else joined_id(texts)


def _text(value: Any, column: IdColumn) -> str | None:
    carrier = "double"
    if hasattr(value, "dtype") or isinstance(value, pa.Scalar):
        carrier = _type_name(value)
        if carrier.startswith(_TIMES):
            return _time_text(value)
        if carrier.startswith("timedelta64"):
            raise _no_name(carrier)
        value = value.as_py() if isinstance(value, pa.Scalar) else value.tolist()
    match value:
        case None:
            return None
        case str():
            return str(value)
        case bool():
            return _boolean_text(value, column)
        case int():
            return _whole_text(value, column)
        case float():
            return None if value != value else _real_text(value, carrier, column)
        case Decimal():
            return _decimal_text(value, column)
        case datetime():
            return None if value != value else _moment_text(value)
        case date() | time() | UUID():
            return str(value)
    raise _no_name(type(value).__name__)


def _no_name(type_name: str) -> _UnfitError:
    return _UnfitError(
        f"of type {type_name}, which names no record",
        "give text, whole numbers, or the values that the file has",
    )


def _time_text(value: Any) -> str | None:
    """The text of a time of Arrow or NumPy, as a column of it has that."""
    try:
        cells = pa.array([value] if isinstance(value, pa.Scalar) else np.array([value]))
    except pa.ArrowNotImplementedError:
        raise _no_name(_type_name(value)) from None
    texts: list[str | None] = id_texts(cells).to_pylist()
    return texts[0]


def _boolean_text(value: bool, column: IdColumn) -> str:
    if not pt.is_boolean(column.declared):
        raise _lost("a boolean", column)
    return "true" if value else "false"


def _whole_text(value: int, column: IdColumn) -> str:
    if int in column.ambiguous:
        raise _lost("a number", column)
    if not pt.is_floating(column.declared) or abs(value) > _WIDE:
        return str(value)
    texts: list[str] = cell_text(pa.array([float(value)])).to_pylist()
    return texts[0]


def _real_text(value: float, carrier: str, column: IdColumn) -> str:
    exact = EXACT_BELOW.get(carrier, 0)
    if pt.is_integer(column.declared):
        if abs(value) >= exact:
            raise _lost("a real too large for its type", column)
        return str(int(value)) if value.is_integer() else repr(value)
    if not pt.is_floating(column.declared) or exact < EXACT_BELOW[str(column.declared)]:
        raise _lost("a real", column)
    cells = pa.array([value])
    if pt.is_float32(column.declared):
        narrow = cells.cast(pa.float32())
        cells = narrow if narrow[0].as_py() == value else cells
    texts: list[str] = cell_text(cells).to_pylist()
    return texts[0]


def _decimal_text(value: Decimal, column: IdColumn) -> str:
    if not pt.is_string(column.declared):
        return format(value.normalize() + 0, "f") if value == int(value) else str(value)
    if Decimal in column.ambiguous or "E" in str(value):
        raise _lost("a decimal", column)
    return str(value)


def _moment_text(value: datetime) -> str:
    if value.tzinfo is None:
        return str(value)
    try:
        return str(value.astimezone(UTC))
    except OverflowError:
        raise _UnfitError(
            "a time that Python cannot write in UTC", "give ids as text, as the file has them"
        ) from None


def _lost(what: str, column: IdColumn) -> _UnfitError:
    return _UnfitError(
        f"{what}, which may not say what the file says in column {column.name!r} "
        f"({column.declared})",
        "give ids as text, as the file has them",
    )


def _type_name(value: Any) -> str:
    """``float32`` of a NumPy, torch or pandas type, ``float`` of an Arrow one."""
    found = getattr(value, "dtype", None)
    text = str(getattr(value, "type", "") if found is None else found)
    return text.rsplit(".", 1)[-1].removesuffix("[pyarrow]").lower()

"""What a column of a dataset is: declared once, when the dataset is made, and kept."""

from collections.abc import Container
from enum import StrEnum
from typing import Self

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, PositiveInt, model_validator

ELEMENTS: dict[str, pa.DataType] = {
    name: getattr(pa, name)()
    for name in (
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "float32",
        "float64",
    )
}


class ColumnKind(StrEnum):
    """The kinds of column a dataset can hold."""

    BOOL = "bool"
    INTEGER = "integer"
    REAL = "real"
    REAL32 = "real32"
    TEXT = "text"
    CATEGORY = "category"
    VECTOR = "vector"


_SCALARS: dict[ColumnKind, pa.DataType] = {
    ColumnKind.BOOL: pa.bool_(),
    ColumnKind.INTEGER: pa.int64(),
    ColumnKind.REAL: pa.float64(),
    ColumnKind.REAL32: pa.float32(),
    ColumnKind.TEXT: pa.string(),
    ColumnKind.CATEGORY: pa.string(),
}


class Column(BaseModel):
    """A declared column. What a program sees of it follows from this, never from present rows.

    ``nullable``: null cells were seen when it was declared; a later file may hold some only then.
    ``element`` and ``length`` belong to a vector: a NumPy dtype name and how many of them.
    ``categories`` belong to a category: position = code, None = an erased label whose code is kept.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: ColumnKind
    nullable: bool = False
    element: str | None = None
    length: PositiveInt | None = None
    categories: tuple[str | None, ...] = ()

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        vector = self.kind is ColumnKind.VECTOR
        if vector != (self.element in ELEMENTS) or vector != (self.length is not None):
            raise ValueError("a vector, and nothing else, has an element type and a length")
        if vector and self.nullable:
            raise ValueError("a vector has no nulls")
        if self.categories and self.kind is not ColumnKind.CATEGORY:
            raise ValueError("only a category has categories")
        return self

    def keeping(self, codes: Container[int]) -> Self:
        """The category with only the labels of these codes; the codes of all stay what they are."""
        kept = (label if code in codes else None for code, label in enumerate(self.categories))
        return self.model_copy(update={"categories": tuple(kept)})

    @property
    def arrow_type(self) -> pa.DataType:
        """The Arrow type its cells are kept in: text for a category, a list for a vector."""
        if self.element is None or self.length is None:
            return _SCALARS[self.kind]
        return pa.list_(ELEMENTS[self.element], self.length)


def arrow_schema(columns: tuple[Column, ...]) -> pa.Schema:
    """The Arrow schema of batches and chunks of these columns."""
    return pa.schema([(column.name, column.arrow_type) for column in columns])

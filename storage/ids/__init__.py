"""The text of an id: the one place where a cell or a Python value becomes the name of a record.

Ids are compared as text. The Arrow type that a column is declared with decides the text, so a value
finds its record whatever carries it, as long as no digit was lost on the way:

==============  ====================================================================================
declared        text of an id
==============  ====================================================================================
string          the cell of a CSV file as it is written; of typed files the text, the digits of a
                decimal with its scale, a UUID in lower case, a date or time as Python's ``str``
                writes it (with a time zone: in UTC)
int64           its digits; a whole real is the same id where its type holds all whole numbers
double, float   the shortest text that reads back, without a fraction where it is whole
bool            ``true`` or ``false``
several         a JSON array of their texts
==============  ====================================================================================
"""

from storage.ids.columns import (
    EXACT_BELOW,
    IdColumn,
    ambiguous_types,
    id_texts,
    joined_id,
    record_ids,
)
from storage.ids.values import plain_values, texts_of

__all__ = [
    "EXACT_BELOW",
    "IdColumn",
    "ambiguous_types",
    "id_texts",
    "joined_id",
    "plain_values",
    "record_ids",
    "texts_of",
]

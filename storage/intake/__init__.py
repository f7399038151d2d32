"""Files from outside: what columns they have, whether they can be taken in, and their rows."""

from storage.intake.columns import Column, ColumnKind, arrow_schema
from storage.intake.scan import MOST_CATEGORIES, Intake, conform, inspect

__all__ = [
    "MOST_CATEGORIES",
    "Column",
    "ColumnKind",
    "Intake",
    "arrow_schema",
    "conform",
    "inspect",
]

"""The root of every error Expunge raises, and those of the storage layer.

    ExpungeError
    ├── StorageError
    │   ├── NotFoundError        (also a LookupError)
    │   ├── InvalidInputError    (also a ValueError)
    │   ├── CorruptObjectError
    │   ├── DamagedStoreError
    │   ├── UnavailableError
    │   ├── SweptObjectError
    │   ├── RecordingError
    │   ├── SchemaVersionError
    │   └── RefusedError
    ├── LineageError             (lineage.errors)
    └── UnlearnError             (unlearn.errors)

A message says what happened and to which id; ``hint`` says what to do next; ``fields`` carry the
same facts as data. ``code`` is the stable word that a program can test.
"""

from typing import ClassVar


class ExpungeError(Exception):
    """Anything Expunge refuses or fails to do."""

    code: ClassVar[str] = "failed"

    def __init__(self, message: str, *, hint: str = "", **fields: object) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.fields = fields


class StorageError(ExpungeError):
    """The base of this package's errors."""


class NotFoundError(StorageError, LookupError):
    """A named thing is not in the store."""

    code = "not_found"


class InvalidInputError(StorageError, ValueError):
    """Data from outside cannot be taken as it is; nothing was written."""

    code = "invalid_input"


class CorruptObjectError(StorageError):
    """A stored object is missing or its bytes do not hash to its digest."""

    code = "corrupt"


class DamagedStoreError(StorageError):
    """The catalogue or a key is damaged, empty or missing."""

    code = "corrupt"


class UnavailableError(StorageError):
    """The store is sound, and cannot be used now: it is locked or read-only, or the disk fails."""

    code = "unavailable"


class SweptObjectError(StorageError):
    """An object was destroyed as unused before the row that would use it was written."""


class RecordingError(StorageError):
    """What a run was given cannot be written down, or was not kept as it is asked for."""


class SchemaVersionError(StorageError):
    """The store was written by a newer version."""

    code = "newer_schema"


class RefusedError(StorageError):
    """The operation is understood and possible, and a rule forbids it."""

    code = "refused"

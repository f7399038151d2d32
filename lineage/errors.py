"""Every error of the lineage layer.

ExpungeError (storage.errors)
└── LineageError
    ├── ScheduleError
    ├── PlacementError
    ├── StateError
    ├── DatasetError
    ├── FencedError
    ├── ProgramError
    │   └── MissingSettingError  (also an AttributeError)
    ├── CheckpointError
    ├── RunError
    │   ├── RunStoppedError
    │   └── UnknownRecordError
    ├── TransformError
    ├── MissingPackageError
    └── AmbiguousIdError
"""

from storage.errors import ExpungeError


class LineageError(ExpungeError):
    """The base of this package's errors."""


class ScheduleError(LineageError):
    """A schedule cannot be built as specified, or was asked about a step it does not have."""

    code = "invalid_schedule"


class PlacementError(LineageError):
    """The records spread too unevenly over the shards and slices that were asked for."""

    code = "placement"


class StateError(LineageError):
    """Training state cannot be stored exactly, or stored state cannot be read."""

    code = "invalid_state"

    @classmethod
    def at(cls, path: str, what: str, hint: str) -> "StateError":
        """The error of one value, named by its path: ``optimizer.state[0].exp_avg``."""
        return cls(f"{path or 'state'}: {what}", hint=hint, path=path)


class DatasetError(LineageError):
    """Rows cannot become part of a dataset."""

    code = "invalid_dataset"


class FencedError(LineageError):
    """Rows of somebody who was or is being forgotten may not go where they were sent."""

    code = "refused"


class ProgramError(LineageError):
    """A program cannot be imported, has changed, or breaks the rules it must keep."""

    code = "invalid_program"


class MissingSettingError(ProgramError, AttributeError):
    """A program asks for a setting that it was not given."""


class CheckpointError(LineageError):
    """A checkpoint cannot be used."""

    code = "refused"


class RunError(LineageError):
    """A run cannot go on."""


class RunStoppedError(RunError):
    """A run was stopped at a checkpoint, because a request to forget concerns its data."""

    code = "refused"


class UnknownRecordError(RunError):
    """A loop was given a record that its dataset does not hold, or one that does not say its id."""

    code = "unknown_record"


class TransformError(LineageError):
    """A transform breaks its declared scope."""

    code = "invalid_transform"


class MissingPackageError(LineageError):
    """Something needs a package of an extra that is not installed."""


class AmbiguousIdError(LineageError):
    """An id names several things."""

    code = "usage"

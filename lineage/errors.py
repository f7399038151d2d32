"""Every error of the lineage layer.

ExpungeError (storage.errors)
└── LineageError
    ├── ScheduleError
    ├── PlacementError
    ├── StateError
    ├── DatasetError
    ├── VocabularyError          (also an InvalidInputError)
    ├── StatisticError           (also a ValueError)
    ├── FencedError
    ├── ProgramError
    │   ├── ProgramFailedError
    │   ├── UnattributedReadError
    │   └── MissingSettingError  (also an AttributeError)
    ├── CheckpointError
    ├── RunError
    │   ├── RunStoppedError
    │   └── UnknownRecordError
    ├── TransformError
    ├── StatementError
    ├── LimitError
    ├── MissingPackageError
    ├── AmbiguousIdError
    └── UnknownIdError           (also a NotFoundError)
"""

from collections.abc import Sequence

from storage.errors import ExpungeError, InvalidInputError, NotFoundError


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


class VocabularyError(LineageError, InvalidInputError):
    """A column has labels, or a kind, that what reads it does not know."""

    code = "invalid_input"


class StatisticError(LineageError, ValueError):
    """A statistic cannot be taken of a column, or two do not go together."""

    code = "invalid_statistic"


class FencedError(LineageError):
    """Rows of somebody who was or is being forgotten may not go where they were sent."""

    code = "refused"


class ProgramError(LineageError):
    """A program cannot be imported, has changed, or breaks the rules it must keep."""

    code = "invalid_program"


class ProgramFailedError(ProgramError):
    """A user's function raised an error of its own, or asked the process to end."""

    code = "failed"


class UnattributedReadError(ProgramError):
    """A program reads a row where nothing says what it is read for."""


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


class StatementError(LineageError):
    """A statement is not one SELECT over the views, or asks for what is not there."""

    code = "invalid_statement"


class LimitError(LineageError):
    """A question would take more time or memory than it may."""


class MissingPackageError(LineageError):
    """Something needs a package of an extra that is not installed."""


class AmbiguousIdError(LineageError):
    """Ids are in several namespaces or datasets, ``scopes``, and may be of different people.

    They are named by where they stand among those that were given, or in a file: ``numbers``.
    """

    code = "usage"

    def __init__(
        self,
        kind: str,
        numbers: Sequence[int],
        asked: int,
        scopes: Sequence[str],
        place: str = "number",
    ) -> None:
        self.numbers, self.scopes = list(numbers), list(scopes)
        what, option = (
            ("namespaces", "--namespace") if kind == "subject" else ("datasets", "--dataset")
        )
        are = "is" if len(numbers) == 1 else "are"
        super().__init__(
            f"{_these(kind, numbers, asked, place)} {are} in several {what}: {', '.join(scopes)}",
            hint=f"choose one with {option}",
            numbers=self.numbers,
        )


class UnknownIdError(LineageError, NotFoundError):
    """No dataset has some ids, and none ever had.

    They are named by where they stand among those that were given, or in a file: ``numbers``.
    """

    code = "not_found"

    def __init__(
        self, kind: str, numbers: Sequence[int], asked: int, place: str = "number"
    ) -> None:
        self.numbers = list(numbers)
        super().__init__(
            f"no dataset has {_these(kind, numbers, asked, place)}",
            hint=f"ids are compared as text{'; take these out' if asked > 1 else ''}",
            numbers=self.numbers,
        )


def _these(kind: str, numbers: Sequence[int], asked: int, place: str) -> str:
    """Name some of the ids that were asked for by their places.

    >>> _these("subject", [2, 3], 9, "line")
    '2 of these 9 subjects (line 2–3)'
    """
    if asked == 1:
        return f"this {kind}"
    return f"{len(numbers)} of these {asked} {kind}s ({place} {_spans(numbers)})"


def _spans(numbers: Sequence[int]) -> str:
    """Ascending numbers, complete and short.

    >>> _spans([2, 4, 5, 6, 9])
    '2, 4–6, 9'
    """
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(low) if low == high else f"{low}–{high}" for low, high in spans)

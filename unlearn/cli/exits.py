"""The exit status of the command: what a script may rely on."""

from enum import IntEnum


class Exit(IntEnum):
    """How a call ended."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    VERIFICATION_FAILED = 4
    REFUSED = 5
    INCONCLUSIVE = 6
    WITHHELD = 7
    INTERRUPTED = 130


BY_CODE = {
    "failed": Exit.FAILED,
    "corrupt": Exit.FAILED,
    "invalid_state": Exit.FAILED,
    "unavailable": Exit.FAILED,
    "usage": Exit.USAGE,
    "invalid_input": Exit.USAGE,
    "invalid_dataset": Exit.USAGE,
    "invalid_program": Exit.USAGE,
    "invalid_schedule": Exit.USAGE,
    "invalid_statement": Exit.USAGE,
    "invalid_statistic": Exit.USAGE,
    "invalid_transform": Exit.USAGE,
    "unknown_record": Exit.USAGE,
    "not_found": Exit.NOT_FOUND,
    "verification_failed": Exit.VERIFICATION_FAILED,
    "refused": Exit.REFUSED,
    "placement": Exit.REFUSED,
    "newer_schema": Exit.REFUSED,
    "inconclusive": Exit.INCONCLUSIVE,
    "interrupted": Exit.INTERRUPTED,
}
"""From the ``code`` of an error; ``USAGE`` where what was given (a file, a program) is wrong."""

BY_VERDICT = {
    "passed": Exit.DONE,
    "failed": Exit.VERIFICATION_FAILED,
    "inconclusive": Exit.INCONCLUSIVE,
}
"""From the verdict of a check that was carried out."""


def after_plan(verdict: str, *, withheld: bool) -> Exit:
    """How a plan that was carried out ends: by its verdict, then by whether its aliases moved."""
    status = BY_VERDICT[verdict]
    return Exit.WITHHELD if withheld and status is Exit.DONE else status

"""By when a request must be done.

The GDPR gives one month from receipt (art. 12(3)); months are counted by Regulation (EEC, Euratom)
1182/71, art. 3: the day of receipt does not count, and a month ends with the day of the same number
or, where there is none, with the month's last.
"""

from calendar import monthrange
from datetime import UTC, date, datetime, time

from storage.errors import InvalidInputError

FIRST_YEAR, LAST_YEAR = 1970, 9000


def month_after(received: datetime) -> datetime:
    """The last second of the month that begins with the receipt of a request.

    A month that ends on a weekend or holiday would end later by the Regulation; holidays differ
    from place to place, so this never waits for one.

    >>> month_after(datetime(2026, 1, 31, 9, tzinfo=UTC)).isoformat()
    '2026-02-28T23:59:59+00:00'
    """
    year, month = received.year + received.month // 12, received.month % 12 + 1
    return end_of(date(year, month, min(received.day, monthrange(year, month)[1])))


def require_sensible(due: datetime) -> None:
    """Refuse a deadline of another age, which was mistyped.

    Raises:
        InvalidInputError: it is before 1970 or after 9000.
    """
    if not FIRST_YEAR <= due.year <= LAST_YEAR:
        raise InvalidInputError(
            f"{due.date()} is no deadline: its year must be between {FIRST_YEAR} and {LAST_YEAR}",
            hint="give the last day to do it: YYYY-MM-DD",
        )


def end_of(day: date) -> datetime:
    """The last second of a day, in UTC."""
    return datetime.combine(day, time(23, 59, 59), UTC)

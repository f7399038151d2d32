"""By when a request must be done.

The GDPR gives one month from receipt (art. 12(3)); months are counted by Regulation (EEC, Euratom)
1182/71, art. 3: the day of receipt does not count, and a month ends with the day of the same number
or, where there is none, with the month's last.
"""

from calendar import monthrange
from datetime import UTC, date, datetime, time


def month_after(received: datetime) -> datetime:
    """The last second of the month that begins with the receipt of a request.

    A month that ends on a weekend or holiday would end later by the Regulation; holidays differ
    from place to place, so this never waits for one.

    >>> month_after(datetime(2026, 1, 31, 9, tzinfo=UTC)).isoformat()
    '2026-02-28T23:59:59+00:00'
    """
    year, month = received.year + received.month // 12, received.month % 12 + 1
    return end_of(date(year, month, min(received.day, monthrange(year, month)[1])))


def end_of(day: date) -> datetime:
    """The last second of a day, in UTC."""
    return datetime.combine(day, time(23, 59, 59), UTC)

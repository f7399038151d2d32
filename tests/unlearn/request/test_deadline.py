"""Months are counted by Regulation 1182/71, and end with their last second."""

from calendar import monthrange
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unlearn.request.deadline import end_of, month_after

MOMENTS = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@pytest.mark.parametrize(
    ("received", "due"),
    [
        ("2026-01-31", "2026-02-28"),
        ("2028-01-31", "2028-02-29"),
        ("2026-11-26", "2026-12-26"),
        ("2026-12-31", "2027-01-31"),
        ("2026-02-28", "2026-03-28"),
    ],
)
def test_a_month_ends_with_the_same_day_or_the_last(received: str, due: str) -> None:
    moment = datetime.fromisoformat(received).replace(hour=13, tzinfo=UTC)
    assert month_after(moment) == end_of(datetime.fromisoformat(due).date())


@given(MOMENTS)
def test_a_month_ends_in_the_next_month_on_no_later_day(received: datetime) -> None:
    due = month_after(received)
    assert (due.year * 12 + due.month) - (received.year * 12 + received.month) == 1
    last = monthrange(due.year, due.month)[1]
    assert due.day == received.day or (due.day == last < received.day)
    assert (due + timedelta(seconds=1)).day != due.day

"""Times that a program holds name the records that the same times in a file name, to the digit."""

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidInputError
from storage.ids import IdColumn, id_texts, texts_of

DAY = 86_400
TYPES = [
    (pa.time32("s"), DAY - 1),
    (pa.time32("ms"), DAY * 10**3 - 1),
    (pa.time64("us"), DAY * 10**6 - 1),
    (pa.time64("ns"), DAY * 10**9 - 1),
    (pa.date32(), 10**7),
    (pa.timestamp("s"), 10**12),
    (pa.timestamp("us"), 2**62),
    (pa.timestamp("ns"), 2**62),
    (pa.timestamp("s", "Mars/Olympus"), 10**12),
    (pa.timestamp("ns", "Europe/Berlin"), 2**62),
]
FORMS: list[Callable[[pa.Array], Any]] = [
    lambda cells: cells,
    lambda cells: pa.chunked_array([cells]),
    list,
    lambda cells: pd.Series(cells, dtype=pd.ArrowDtype(cells.type)),
]


def named(values: Any, kind: pa.DataType) -> list[str | None]:
    return texts_of(values, [IdColumn("k", kind)])


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("kind", "most"), TYPES, ids=str)
@given(data=st.data())
def test_times_of_arrow_are_those_of_the_file(
    data: st.DataObject, kind: pa.DataType, most: int, form: Callable[[pa.Array], Any]
) -> None:
    numbers = data.draw(st.lists(st.none() | st.integers(0, most), max_size=5))
    cells = pa.array(numbers, kind)
    assert named(form(cells), kind) == id_texts(cells).to_pylist()


@given(st.lists(st.integers(0, 2**60)), st.sampled_from(["D", "s", "ms", "us", "ns"]))
def test_times_of_numpy_are_those_of_the_file(numbers: list[int], unit: str) -> None:
    values = np.array([n % 10**6 if unit == "D" else n for n in numbers], f"datetime64[{unit}]")
    cells = pa.array(values)
    assert named(values, cells.type) == named([*values], cells.type) == id_texts(cells).to_pylist()


@pytest.mark.parametrize(
    "value",
    [
        np.datetime64("2020", "Y"),
        np.datetime64(5, "h"),
        np.timedelta64(1, "ns"),
        timedelta(seconds=1),
        datetime(9999, 12, 31, 23, tzinfo=timezone(timedelta(hours=-5))),
    ],
    ids=repr,
)
def test_what_is_no_time_of_a_file_is_refused_without_its_value(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"^id 2 is (of type|a time)") as refused:
        named([None, value], pa.timestamp("us"))
    assert refused.value.hint
    assert "2020" not in refused.value.message
    assert "9999" not in refused.value.message

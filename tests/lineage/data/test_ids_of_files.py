"""Whatever a column of ids holds, two texts are two people, and each is found by its text.

The oracle is Python's own: ``csv``, ``str``, ``format``; it knows nothing of the code under test.
"""

import csv
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from lineage.data.dataset import add, head
from lineage.data.identity import resolve
from lineage.training.locate import Locator
from storage.errors import InvalidInputError

WRITTEN = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.integers(0, 20).map(str),
    st.from_regex(r"[-+]?0{0,2}[0-9]{1,3}(\.[0-9]{1,3})?(e[0-9]{1,2})?", fullmatch=True),
    st.sampled_from(["7", " 7", "7 ", "+7", "07", "-0", "0", "7.0", "1_000", "\uff17", "1e999999"]),
    st.sampled_from(["250.1", "250.10", "True", "true", "é", "e\u0301", "NaN", "NA", "inf", "a,b"]),
    st.sampled_from(["123e4567-e89b-12d3-a456-426614174000", "two\nlines", 'say "hi"', "#"]),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
)
"""Cells of a CSV file."""


class Typed(NamedTuple):
    """An Arrow type, values of it, and the text that each must have."""

    type: pa.DataType
    values: st.SearchStrategy[Any]
    text: Callable[[Any], str] = str


def of_real(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1))
TYPED = [
    *(
        Typed(getattr(pa, f"{sign}int{bits}")(), st.integers(low * 2 ** (bits - 1), high - 1))
        for bits in (8, 16, 32, 64)
        for sign, low, high in (("", -1, 2 ** (bits - 1)), ("u", 0, 2**bits))
    ),
    Typed(pa.float64(), st.floats(-(2.0**53) + 1, 2.0**53 - 1).map(lambda x: x + 0.0), of_real),
    Typed(
        pa.float32(),
        st.floats(-(2.0**24) + 1, 2.0**24 - 1, width=32).map(lambda x: x + 0.0),
        lambda x: of_real(float(str(np.float32(x)))),
    ),
    Typed(pa.decimal128(38, 0), st.integers(-(10**38) + 1, 10**38 - 1).map(Decimal)),
    Typed(
        pa.decimal128(38, 2), st.integers(-(10**27), 10**27).map(lambda n: Decimal(n).scaleb(-2))
    ),
    Typed(pa.decimal256(76, 0), st.integers(-(10**75), 10**75).map(Decimal)),
    Typed(pa.date32(), st.dates(date(1900, 1, 1), date(2200, 1, 1))),
    Typed(pa.timestamp("us"), MOMENTS),
    Typed(pa.timestamp("ns"), MOMENTS),
    Typed(pa.timestamp("s"), MOMENTS.map(lambda t: t.replace(microsecond=0))),
    Typed(pa.time64("us"), st.times()),
    Typed(pa.string(), WRITTEN),
    Typed(pa.large_string(), WRITTEN),
    Typed(pa.dictionary(pa.int8(), pa.string()), WRITTEN),
    Typed(pa.bool_(), st.booleans(), lambda flag: str(flag).lower()),
    Typed(pa.uuid(), st.uuids()),
]


class File(NamedTuple):
    """What a file holds in its column of ids: values as Python has them, and the text of each."""

    type: pa.DataType | None
    values: list[Any]
    texts: list[str]


@st.composite
def files(draw: st.DrawFn) -> File:
    """CSV files of any cells, and Parquet files of any type that ids may have."""
    if draw(st.booleans()):
        cells = draw(st.lists(WRITTEN, min_size=1, max_size=8))
        return File(None, cells, cells)
    typed = draw(st.sampled_from(TYPED))
    values = draw(st.lists(typed.values, min_size=1, max_size=8))
    return File(typed.type, values, [typed.text(value) for value in values])


def written(file: File, path: Path) -> Path:
    numbers = range(len(file.values))
    if file.type is None:
        with path.with_suffix(".csv").open("w", encoding="utf-8", newline="") as out:
            csv.writer(out).writerows([("k", "v"), *zip(file.values, numbers, strict=True)])
        return path.with_suffix(".csv")
    cells = pa.array([getattr(each, "bytes", each) for each in file.values], file.type)
    pq.write_table(pa.table({"k": cells, "v": [*numbers]}), path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def agree(store: Any, folder: Path, name: str, file: File) -> bool:
    """Whether the file was taken in; if it was, every id is found by its text and its value."""
    places = defaultdict(list)
    for row, text in enumerate(file.texts):
        places[text].append(row)
    unique = all(len(rows) == 1 for rows in places.values())
    roles = {"subject_columns": ("k",)} | ({"id_columns": ("k",)} if unique else {})
    path = written(file, folder / name)
    try:
        version = add(store, name, path, **roles)
    except InvalidInputError as error:
        refused = error
    else:
        refused = None
    if refused is not None:
        assert refused.fields["row"]
        assert any(not text.strip() or text in MISSING for text in file.texts), refused
        return False
    for kind in ("subject", "record") if unique else ("subject",):
        found = resolve(store, kind, list(places), name)
        assert {text: list(at[version.dataset.id]) for text, at in found.items()} == places
    if unique:
        locator = Locator(head(store, name))
        assert locator.ids(file.texts).tolist() == [*range(len(file.texts))]
        assert by_value(locator, file) == [*range(len(file.values))]
    return True


MISSING = {"NA", "NaN"}


def by_value(locator: Locator, file: File) -> list[int]:
    """The positions of the values of the file; a value that says too little may be refused."""
    try:
        return locator.ids(file.values).tolist()
    except InvalidInputError:
        assert any("E" in str(value) for value in file.values)
        return [*range(len(file.values))]


def search(store: Any, folder: Path, examples: int, number: int = 0) -> list[bool]:
    """Check many files, each a dataset of its own in a store; return which were taken in."""
    names = (f"d{number}" for number in count())
    taken: list[bool] = []

    @seed(number)
    @settings(max_examples=examples)
    @given(files())
    def holds(file: File) -> None:
        taken.append(agree(store, folder, next(names), file))

    holds()
    return taken


@pytest.mark.no_cover
def test_two_texts_are_two_people_and_each_is_found(store: Any, tmp_path: Path) -> None:
    taken = search(store, tmp_path, 60)
    assert sum(taken) > len(taken) / 2


@pytest.mark.soak
def test_two_texts_are_two_people_in_many_files(
    workshop: Any, empty_once: Path, tmp_path: Path
) -> None:
    until = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0")) / 12
    for number in count(int(os.environ.get("SEED", "0"))):
        shutil.copytree(empty_once, tmp_path / "store")
        with workshop.Store.open(tmp_path / "store", workshop.Clock()) as store:
            search(store, tmp_path, 50, number)
        shutil.rmtree(tmp_path / "store")
        if time.monotonic() > until:
            return

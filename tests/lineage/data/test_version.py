"""An opened version: its rows, keys and columns, whatever happened to the dataset after it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyroaring import BitMap

from lineage.data.dataset import add, find_dataset, without
from lineage.data.version import Excerpt, contains, open_version
from storage.errors import CorruptObjectError, NotFoundError
from unlearn.erase import erase_rows


@pytest.fixture
def version(workshop: Any, store: Any, tally: Any) -> Any:
    return tally.register(store, rows=workshop.people(4, 2))


def test_a_column_has_an_entry_for_every_position(version: Any, store: Any) -> None:
    with store.catalogue.write() as session:
        made = without(session, store, version.row, BitMap([0, 5]), "a test")
    less = open_version(store, made.id)
    assert less.column("x").tolist() == version.column("x").tolist()
    assert less.present.positions.tolist() == [1, 2, 3, 4, 6, 7]
    assert (
        less.present.records.keys.tolist()
        == version.present.records.keys[less.present.positions].tolist()
    )


def test_records_of_a_subject_share_their_placement_and_no_two_share_a_key(version: Any) -> None:
    records = version.present.records
    assert len(set(records.keys.tolist())) == 8
    assert records.placement[:4].tolist() == records.placement[4:].tolist()
    assert len(set(records.placement.tolist())) == 4


def test_keys_depend_on_the_salt_and_not_on_order_or_other_rows(
    workshop: Any, store: Any, tally: Any
) -> None:
    rows = workshop.people(4, 2)
    whole = tally.register(store, "whole", rows)
    part = tally.register(store, "part", rows[::-2])
    keys = dict(zip(whole.column("id"), whole.present.records.keys, strict=True))
    for record, key in zip(part.column("id"), part.present.records.keys, strict=True):
        assert keys[record] == key


def test_the_rows_of_some_positions_are_indexes_into_those_present(version: Any) -> None:
    assert version.present.rows_of(BitMap([2, 7, 99])).tolist() == [2, 7]


def test_an_erased_row_is_neither_present_nor_indexed(version: Any, store: Any) -> None:
    erase_rows(store, {version.dataset.id: BitMap([3])}, "plan-1")
    after = open_version(store, version.id)
    assert 3 not in after.index.positions
    assert after.present.positions.tolist() == [0, 1, 2, 4, 5, 6, 7]
    assert np.isnan(after.column("x")[3])


def test_a_column_or_version_that_is_not_there_is_named(version: Any, store: Any) -> None:
    with pytest.raises(NotFoundError, match="no column 'y'") as missing:
        version.column("y")
    assert missing.value.hint == "its columns are id, person, x"
    with pytest.raises(NotFoundError, match="dsv-0"):
        open_version(store, "dsv-0")


def test_a_few_rows_are_read_from_their_own_chunks_alone(
    workshop: Any, store: Any, version: Any
) -> None:
    rows = workshop.people(4, 6)
    later = add(store, "people", workshop.written(store.path / "later.csv", rows[8:]))
    before, _ = later.chunks
    places = np.array([1, 7, 8, 9, 23])
    expected = [rows[place]["x"] for place in places.tolist()]
    assert Excerpt(later, places)["x"].tolist() == pytest.approx(expected)
    store.objects.delete(before.data)
    assert Excerpt(later, places[2:])["x"].tolist() == pytest.approx(expected[2:])
    assert Excerpt(later, places[:0])["id"].dtype == object
    with pytest.raises(CorruptObjectError, match=before.data):
        Excerpt(later, places)["x"]
    with pytest.raises(NotFoundError, match="no column 'y'"):
        Excerpt(later, places)["y"]


def test_a_damaged_chunk_is_named_when_it_is_read(version: Any, store: Any) -> None:
    digest = version.chunks[0].data
    path: Path = store.objects.open(digest)
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")
    with pytest.raises(CorruptObjectError, match=digest):
        open_version(store, version.id).column("x")


def test_the_salt_is_the_secret_of_the_dataset(workshop: Any, version: Any, store: Any) -> None:
    assert version.salt == workshop.SALT
    with store.catalogue.read() as session:
        dataset = find_dataset(session, "people")
    assert store.keys.get(f"salt-{dataset.id}") == workshop.SALT


def test_membership_is_told_entry_by_entry() -> None:
    array = np.array([1, 5, 6, 9], np.int64)
    assert contains(BitMap([0, 5, 9, 12]), array).tolist() == [False, True, False, True]
    assert contains(BitMap(), array).tolist() == [False] * 4

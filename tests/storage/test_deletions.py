from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyroaring import BitMap

from storage.errors import CorruptObjectError
from storage.manifests import dump_bitmap, load_bitmap, version_digest

positions = st.sets(st.integers(0, 2**32 - 1) | st.integers(0, 200), max_size=60)


@given(positions)
def test_a_deletion_vector_is_read_back(deleted: set[int]) -> None:
    assert set(load_bitmap(dump_bitmap(BitMap(deleted)))) == deleted


@given(positions, positions, st.booleans())
def test_equal_sets_have_equal_bytes_however_they_were_built(
    deleted: set[int], others: set[int], optimised: bool
) -> None:
    built = BitMap(deleted | others | set(range(70_000)))
    if optimised:
        built.run_optimize()
    built -= BitMap((others | set(range(70_000))) - deleted)
    assert dump_bitmap(built) == dump_bitmap(BitMap(sorted(deleted)))


@pytest.mark.parametrize("change", [lambda b: b[:-1], lambda b: b + b"\x00", lambda b: b"xx" + b])
def test_a_damaged_deletion_vector_is_refused(change: object) -> None:
    data = dump_bitmap(BitMap([1, 5, 70_000]))
    with pytest.raises(CorruptObjectError, match="deletion vector"):
        load_bitmap(change(data))  # type: ignore[operator]


def test_the_identity_of_a_version_is_the_documented_json() -> None:
    deleted = BitMap([3])
    vector = sha256(dump_bitmap(deleted)).hexdigest()
    text = f'{{"deleted":"{vector}","root":"{"ab" * 32}","rows":10}}'
    expected = sha256(text.encode()).hexdigest()
    assert version_digest(b"\xab" * 32, 10, deleted) == expected
    assert version_digest(b"\xab" * 32, 11, deleted) != expected
    assert version_digest(b"\xab" * 32, 10, BitMap()) != expected

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.training.batch import Batch, Handle
from lineage.training.specification import HandleSpec

COLUMNS = {
    "x": np.arange(10) / 2,
    "image": np.arange(40).reshape(10, 4),
    "text": np.array(list("abcdefghij"), np.object_),
}


def batch(rows: list[int]) -> Batch:
    keys = np.array(rows, np.uint64) + np.uint64(2**63)
    return Batch(COLUMNS.__getitem__, np.array(rows, np.int64), keys)


def test_a_column_has_the_rows_of_the_batch_in_its_order() -> None:
    given = batch([7, 2, 2])
    assert given["x"].tolist() == [3.5, 1.0, 1.0]
    assert given["image"].tolist() == [[28, 29, 30, 31], [8, 9, 10, 11], [8, 9, 10, 11]]
    assert given["text"].tolist() == ["h", "c", "c"]
    assert len(given) == 3


def test_writing_into_a_batch_does_not_change_the_data() -> None:
    given = batch([1])
    given["x"][0] = 99.0
    assert given["x"].tolist() == [0.5]


@given(rows=st.lists(st.integers(0, 9), min_size=1, max_size=10), parts=st.integers(1, 12))
def test_micro_batches_are_the_batch_in_nearly_equal_pieces(rows: list[int], parts: int) -> None:
    whole = batch(rows)
    pieces = list(whole.micro(parts))
    assert len(pieces) == min(parts, len(rows))
    assert np.concatenate([piece["x"] for piece in pieces]).tolist() == whole["x"].tolist()
    assert np.concatenate([piece.keys for piece in pieces]).tolist() == whole.keys.tolist()
    sizes = [len(piece) for piece in pieces]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_a_handle_has_columns_and_nominal_length_and_no_rows() -> None:
    spec = HandleSpec(dataset="voices", nominal=120, columns=("x", "sex"), categories={"sex": 2})
    handle = Handle("v", spec)
    assert (len(handle), handle.columns, dict(handle.categories)) == (120, ("x", "sex"), {"sex": 2})
    with pytest.raises(TypeError):
        handle["x"]  # type: ignore[index]
    with pytest.raises(TypeError):
        iter(handle)  # type: ignore[call-overload]

"""Who made rows are: ids and subjects, from the rows they were made from or from their group."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from storage.ids import joined_id
from storage.rows import Array


def derived_ids(records: Array, source: NDArray[np.int64], depth: int) -> Array:
    """The ids of made rows: their source's, and with ``#1``, ``#2`` … for its further ones.

    There are as many ``#`` as transforms since rows were added from a file, ``depth``: so the
    second row made of ``a`` is never taken for the first one made of ``a#1``.

    >>> derived_ids(pa.array(["a", "b"]), np.array([0, 1, 1, 0]), 1).to_pylist()
    ['a', 'b', 'b#1', 'a#1']
    """
    ranks = _ranks(source)
    suffixes: Array = pa.array(ranks).cast(pa.string())
    ids = records.take(pa.array(source))
    further = pc.binary_join_element_wise(ids, suffixes, "#" * depth)
    return pc.if_else(pa.array(ranks == 0), ids, further)


def joined_ids(records: Array, source: NDArray[np.int64], depth: int) -> Array:
    """The ids of rows that were made of one row of each input: a JSON array of theirs.

    Args:
        source: of each row, one row of each input, shape (n, inputs).

    >>> joined_ids(pa.array(["a", "7"]), np.array([[0, 1], [0, 1]]), 1).to_pylist()
    ['["a","7"]', '["a","7"]#1']
    """
    names = records.take(pa.array(source.reshape(-1))).to_pylist()
    width = source.shape[1]
    texts = [joined_id(names[at : at + width]) for at in range(0, len(names), width)]
    distinct = pa.array(texts, pa.string()).dictionary_encode()
    return derived_ids(distinct.dictionary, distinct.indices.to_numpy().astype(np.int64), depth)


def united(
    subjects: Array, rows: NDArray[np.int64], source: NDArray[np.int64], count: int
) -> Array:
    """Whom made rows are about: everybody whom a row they were made from is about, once.

    Args:
        subjects: a list for each given row.
        rows: ascending, of ``count`` made rows; ``source``: a given row of each. Both (p,).

    >>> given = pa.array([["x"], ["y", "x"], []])
    >>> united(given, np.array([0, 0, 1]), np.array([1, 0, 2]), 2).to_pylist()
    [['y', 'x'], []]
    """
    lists = subjects.take(pa.array(source))
    people = pc.list_flatten(lists).dictionary_encode()
    whose = rows[pc.list_parent_indices(lists).to_numpy().astype(np.int64)]
    told = whose * max(len(people.dictionary), 1) + people.indices.to_numpy()
    first = np.sort(np.unique(told, return_index=True)[1])
    offsets = np.searchsorted(whose[first], np.arange(count + 1)).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), people.dictionary_decode().take(first))


def _ranks(source: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many earlier entries are equal to each entry."""
    order = np.argsort(source, kind="stable")
    places = np.arange(len(source))
    new = np.append(True, source[order[1:]] != source[order[:-1]])[: len(source)]
    ranks = np.empty(len(source), np.int64)
    ranks[order] = places - np.maximum.accumulate(np.where(new, places, 0))
    return ranks

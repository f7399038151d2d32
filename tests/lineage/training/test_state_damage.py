"""Bytes that no encoder wrote: each is a StateError, or a state, and never anything else."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage import Moments, TokenCounts
from lineage.errors import StateError
from lineage.training import state as codec

STATE = {
    "step": 3,
    "milestones": Counter([10, 20]),
    "lr": [0.1, float("inf")],
    "weights": np.arange(4, dtype=np.float32).reshape(2, 2),
    "scale": Moments.of("x")({"x": np.array([1.0, 2.5])}),
    "words": TokenCounts.of("x")({"x": np.array(["a b a", None])}),
}


def file_of(document: object, **tensors: np.ndarray[Any, Any]) -> bytes:
    return safetensors.numpy.save(tensors, {"expunge.state": json.dumps(document)})


def entry(**changes: object) -> dict[str, object]:
    valid = {"name": "a", "kind": "numpy", "dtype": "<f8", "shape": [2], "stride": None}
    return valid | {"device": "cpu"} | changes


def moments(count: int, total: int, squares: object) -> dict[str, object]:
    """The node of the moments of two rows, whose sums may be impossible."""
    columns = {"dict": [["x", {"tuple": [count, total, squares]}]]}
    return {"dict": [["rows", 2], ["columns", columns]]}


def test_the_hostile_documents_below_differ_from_a_valid_one_in_one_thing() -> None:
    document = {"version": 1, "arrays": [entry()], "state": {"dict": [["a", {"array": 0}]]}}
    restored: Any = codec.decode(file_of(document, a=np.ones(2)))
    assert restored["a"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "b"},
        {"kind": "pickle"},
        {"dtype": "O"},
        {"dtype": "<f4"},
        {"dtype": "|V8"},
        {"dtype": "no dtype"},
        {"kind": "torch", "dtype": "qint32"},
        {"kind": "torch", "dtype": "load"},
        {"shape": [3]},
        {"shape": [2.0]},
        {"shape": [True, 2]},
        {"shape": [-1, -2]},
        {"shape": [2**40]},
        {"shape": [2**40, 2**40]},
        {"shape": "2"},
        {"stride": [1.0]},
        {"stride": [2]},
        {"stride": [2**60]},
        {"stride": [1, 1]},
        {"stride": [-1]},
        {"stride": [0]},
    ],
    ids=str,
)
def test_a_layout_that_does_not_fit_its_octets_is_an_error(changes: dict[str, object]) -> None:
    document = {
        "version": 1,
        "arrays": [entry(**changes)],
        "state": {"dict": [["a", {"array": 0}]]},
    }
    with pytest.raises(StateError):
        codec.decode(file_of(document, a=np.ones(2)))


@pytest.mark.parametrize(
    "node",
    [
        1.5,
        {"pickle": "gASVAAAA"},
        {"array": 0},
        {"array": -1},
        {"float": 1},
        {"float": "1.5.2"},
        {"float": "nan:00"},
        {"int": "zz"},
        {"complex": ["1"]},
        {"bytes": "0"},
        {"tuple": "text"},
        {"set": [[]]},
        {"set": [{"dict": []}]},
        {"dict": [["a"]]},
        {"dict": [["a", 1], ["a", 2]]},
        {"dict": [[[], 1]]},
        {"dict": {"a": 1}},
        {"defaultdict": ["system", []]},
        {"defaultdict": [[], []]},
        {"numpy": ["O", "0000000000000000"]},
        {"numpy": ["<f8", "00"]},
        {"numpy": ["<f4", "0000000000000000"]},
        {"statistic": "Moments"},
        {"statistic": ["Median", {"dict": []}]},
        {"statistic": ["Moments", {"dict": []}]},
        {"statistic": ["Moments", {"dict": [["rows", 0], ["columns", [1]]]}]},
        {"statistic": ["Moments", moments(-1, 0, 0)]},
        {"statistic": ["Moments", moments(1, 2, 3)]},
        {"statistic": ["Moments", moments(3, 0, 0)]},
        {"statistic": ["Moments", moments(1, 0, "0")]},
        {"statistic": ["Counts", {"dict": [["column", "x"], ["counts", []]]}]},
        {"dtype": "nn"},
        {"device": "no device"},
        {"size": ["a"]},
        {"list": [], "tuple": []},
        {},
    ],
    ids=str,
)
def test_a_tag_or_body_that_is_not_one_is_an_error(node: object) -> None:
    document = {"version": 1, "arrays": [], "state": {"dict": [["a", node]]}}
    with pytest.raises(StateError):
        codec.decode(file_of(document))


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {"version": 1},
        {"version": 2, "arrays": [], "state": {"dict": []}},
        {"version": 1, "arrays": [], "state": []},
        {"version": 1, "arrays": [], "state": {"OrderedDict": []}},
        {"version": 1, "arrays": [[]], "state": {"dict": []}},
    ],
    ids=str,
)
def test_a_document_that_is_not_one_is_an_error(document: object) -> None:
    with pytest.raises(StateError):
        codec.decode(file_of(document))


@pytest.mark.parametrize("index", [-1, 1, "0", None])
def test_a_reference_to_no_array_is_an_error(index: object) -> None:
    state = {"dict": [["a", {"array": 0}], ["b", {"array": index}]]}
    with pytest.raises(StateError):
        codec.decode(file_of({"version": 1, "arrays": [entry()], "state": state}, a=np.ones(2)))


def test_octets_that_the_state_does_not_name_are_an_error() -> None:
    with pytest.raises(StateError, match="does not name"):
        codec.decode(
            file_of({"version": 1, "arrays": [], "state": {"dict": []}}, hidden=np.ones(2))
        )


def test_a_newer_version_is_told_from_damage() -> None:
    with pytest.raises(StateError, match="version 2"):
        codec.decode(file_of({"version": 2}))


def test_a_document_nested_to_death_is_an_error() -> None:
    deep = '{"version": 1, "arrays": [], "state": ' + "[" * 200_000
    data = safetensors.numpy.save({}, {"expunge.state": deep})
    with pytest.raises(StateError):
        codec.decode(data)


def test_every_truncation_is_an_error() -> None:
    data = codec.encode(STATE)
    for length in range(len(data)):
        with pytest.raises(StateError):
            codec.decode(data[:length])


@settings(max_examples=300)
@given(st.data())
def test_damaged_bytes_are_an_error_or_another_state_and_nothing_else(data: st.DataObject) -> None:
    damaged = bytearray(codec.encode(STATE))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(damaged) - 1))
        damaged[position] = data.draw(st.integers(0, 255))
    try:
        restored = codec.decode(bytes(damaged))
    except StateError:
        return
    assert isinstance(codec.digest(restored), str)


json_nodes = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                [
                    *("array", "int", "float", "complex", "str", "bytes", "tuple", "set"),
                    *("frozenset", "dict", "OrderedDict", "Counter", "defaultdict"),
                    *("state_dict", "numpy", "dtype", "device", "size", "statistic"),
                ]
            ),
            inner,
            max_size=1,
        ),
    ),
    max_leaves=8,
)


@settings(max_examples=300)
@given(json_nodes)
def test_any_tagged_json_is_an_error_or_a_state_that_encodes(node: Any) -> None:
    document = {"version": 1, "arrays": [], "state": {"dict": [["a", node]]}}
    try:
        restored = codec.decode(file_of(document))
    except StateError:
        return
    data, digest = codec.encode_verified(restored)
    assert codec.digest(codec.decode(data)) == digest


@settings(max_examples=100)
@given(st.binary(max_size=200))
def test_bytes_of_no_format_are_an_error(data: bytes) -> None:
    with pytest.raises(StateError):
        codec.decode(data)

"""Values and NumPy arrays through the codec; torch has its own file."""

import json
import struct
import subprocess
import sys
from collections import Counter, OrderedDict, defaultdict
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lineage.errors import StateError
from lineage.training import state as codec

DTYPES = [
    *("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"),
    *(">i2", ">f4", ">c8", "M8[ns]", "m8[D]"),
]


def bits(value: Any) -> Any:
    """The oracle: equal for two values of equal types and bits, written without the codec."""
    match value:
        case np.ndarray() | np.generic():
            held: Any = (value.dtype.str, value.shape, value.tobytes())
        case float():
            held = struct.pack("<d", value)
        case complex():
            held = struct.pack("<dd", value.real, value.imag)
        case dict():
            pairs = tuple((bits(k), bits(v)) for k, v in value.items())
            held = (getattr(value, "default_factory", None), pairs)
        case list() | tuple():
            held = tuple(map(bits, value))
        case set() | frozenset():
            held = frozenset(Counter(map(bits, value)).items())
        case _:
            held = value
    return type(value), held


def same(ours: Any, theirs: Any) -> bool:
    return bool(bits(ours) == bits(theirs))


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([2**53 - 1, 2**53, -(2**53), 2**64]),
    st.floats(),
    st.floats(width=16),
    st.complex_numbers(),
    st.text(st.characters(exclude_categories=[])),
    st.binary(max_size=8),
)
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3),
        elements=hnp.from_dtype(np.dtype(dtype)),
    )
)
numpy_scalars = st.sampled_from([d for d in DTYPES if d[0] != ">"]).flatmap(
    lambda dtype: hnp.from_dtype(np.dtype(dtype))
)
keys = st.recursive(
    scalars,
    lambda inner: st.one_of(st.tuples(inner, inner), st.frozensets(inner, max_size=2)),
    max_leaves=3,
)
factories = st.sampled_from([list, int, float, dict, set, None])


def _containers(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    pairs = st.lists(st.tuples(keys, inner), max_size=3)
    return st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.sets(keys, max_size=3),
        pairs.map(dict),
        pairs.map(OrderedDict),
        pairs.map(lambda each: Counter(dict(each))),
        st.tuples(factories, pairs).map(lambda each: defaultdict(*each)),
    )


values = st.recursive(scalars | arrays | numpy_scalars, _containers, max_leaves=8)
states = st.dictionaries(st.text(max_size=4), values, max_size=4)


@given(states)
def test_any_nested_state_comes_back_in_every_bit_and_type(state: dict[str, Any]) -> None:
    data, digest = codec.encode_verified(state)
    restored = codec.decode(data)
    assert same(state, restored)
    assert codec.digest(restored) == codec.digest(state) == digest
    assert codec.encode(restored) == data


few = st.recursive(
    st.sampled_from([None, 0, False, 0.0, -0.0, "", "0", b"", np.float64(0), np.zeros(1, "i8")]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.lists(inner, max_size=2).map(tuple),
        st.dictionaries(st.sampled_from([0, "0", ""]), inner, max_size=2),
    ),
    max_leaves=3,
)


@given(few, few)
def test_two_values_have_one_digest_exactly_if_they_are_the_same(first: Any, second: Any) -> None:
    equal = codec.digest({"": first}) == codec.digest({"": second})
    assert equal == same(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        ({1: 2}, {"1": 2}),
        ({1: 0, 2: 0}, {2: 0, 1: 0}),
        ({"a": 1}, OrderedDict(a=1)),
        (Counter([7]), {7: 1}),
        (defaultdict(list), defaultdict(dict)),
        ([1, 2], (1, 2)),
        ({1}, frozenset({1})),
        (b"a", "a"),
        (float("nan"), struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]),
        (np.float64(1), 1.0),
        (np.zeros(2, "f4"), np.zeros(2, "i4")),
        (np.zeros((2, 3)), np.zeros((3, 2))),
        (np.zeros(2, "<f4"), np.zeros(2, ">f4")),
        (np.zeros(()), np.zeros(1)),
        (np.array([0.0]), np.array([-0.0])),
    ],
)
def test_what_json_would_confuse_has_different_digests(first: Any, second: Any) -> None:
    assert codec.digest({"value": first}) != codec.digest({"value": second})


def test_layout_and_sharing_do_not_enter_the_digest() -> None:
    array = np.arange(6.0).reshape(2, 3)
    plain = codec.digest({"a": array, "b": array.copy()})
    assert codec.digest({"a": array, "b": array}) == plain
    assert codec.digest({"a": np.asfortranarray(array), "b": array}) == plain
    assert codec.digest({"a": np.repeat(array, 2, 0)[::2], "b": array}) == plain


def test_a_fortran_array_comes_back_in_fortran_order() -> None:
    array = np.arange(24.0).reshape(2, 3, 4)
    views = {"f": np.asfortranarray(array), "t": array.transpose(1, 0, 2), "c": array}
    restored: dict[str, Any] = codec.decode(codec.encode(views))
    assert {name: a.strides for name, a in restored.items()} == {
        name: a.strides for name, a in views.items()
    }
    assert all(a.flags.owndata or a.base.flags.owndata for a in restored.values())


def test_views_with_gaps_or_repeats_come_back_as_their_values() -> None:
    array = np.arange(6.0)
    views = {
        "gaps": array[::2],
        "reversed": array[::-1],
        "repeated": np.broadcast_to(array, (3, 6)),
    }
    restored: dict[str, Any] = codec.decode(codec.encode(views))
    for name, view in views.items():
        np.testing.assert_array_equal(restored[name], view)
        assert restored[name].flags.c_contiguous
        assert restored[name].flags.writeable


def test_the_same_memory_is_stored_once_and_shared_again() -> None:
    array = np.arange(1000.0)
    data = codec.encode({"a": array, "b": [array, array.copy()], "tail": array[500:]})
    restored: Any = codec.decode(data)
    assert restored["a"] is restored["b"][0]
    assert not np.shares_memory(restored["a"], restored["b"][1])
    assert not np.shares_memory(restored["a"], restored["tail"])
    assert 2 * 8000 + 4000 < len(data) < 3 * 8000


def test_an_integer_longer_than_python_prints_survives_as_value_and_as_key() -> None:
    long = -(10**5000)
    restored: Any = codec.decode(codec.encode({"a": {long: long, (long,): 1}}))
    assert restored["a"][long] == long
    assert restored["a"][(long,)] == 1


def test_nan_payloads_in_arrays_survive() -> None:
    bits = np.array([0x7FA00001, 0xFFC12345, 0x7F800001], np.uint32)
    restored: Any = codec.decode(codec.encode({"a": bits.view(np.float32)}))
    assert restored["a"].view(np.uint32).tolist() == bits.tolist()


def test_a_restored_array_is_apart_from_the_bytes_it_came_from() -> None:
    data = codec.encode({"a": np.zeros(3)})
    first: Any = codec.decode(data)
    first["a"] += 1
    second: Any = codec.decode(data)
    assert second["a"].tolist() == [0.0, 0.0, 0.0]


def test_every_safetensors_reader_sees_the_arrays_under_their_paths() -> None:
    state = {
        "model": {"fc.weight": np.ones((2, 2), np.float32)},
        "steps": [np.int64(3), np.arange(3)],
        "model.fc.weight": np.zeros(1),
        "__metadata__": np.zeros(2),
        "wide": np.zeros((2, 3), np.complex128),
    }
    seen = safetensors.numpy.load(codec.encode(state))
    assert {name: (a.dtype.name, a.shape) for name, a in seen.items()} == {
        "model.fc.weight": ("float32", (2, 2)),
        "steps[1]": ("int64", (3,)),
        "model.fc.weight~": ("float64", (1,)),
        "__metadata__~": ("float64", (2,)),
        "wide": ("uint8", (2, 3, 16)),
    }
    assert same(codec.decode(codec.encode(state)), state)


def test_a_value_that_does_not_survive_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    state = {"a": [1, {"b": 2}], "c": np.zeros(2)}
    for path, restored in {
        "a[1].b": {"a": [1, {"b": 2.0}], "c": np.zeros(2)},
        "a[1]": {"a": [1, {"B": 2}], "c": np.zeros(2)},
        "a": {"a": [1], "c": np.zeros(2)},
        "c": {"a": [1, {"b": 2}], "c": np.array([0.0, -0.0])},
        "state": OrderedDict(state),
    }.items():
        monkeypatch.setattr(codec, "decode", lambda _data, restored=restored: restored)
        with pytest.raises(StateError) as caught:
            codec.encode_verified(state)
        assert caught.value.message.startswith(f"{path}: the value changed")


PINNED = {
    "step": 3,
    "milestones": Counter([10, 20]),
    "lr": [0.1, float("inf")],
    "weights": np.arange(4, dtype=np.float32).reshape(2, 2),
}


def test_the_digest_of_version_1_never_changes() -> None:
    pinned = "2de7079be35ad2b86dd234b348502955d76f18cce19ff37c0762d4e645756ebb"
    assert codec.digest(PINNED) == pinned


def test_a_file_of_version_1_is_read_for_ever() -> None:
    weights = {"name": "a", "kind": "numpy", "dtype": "<f4", "shape": [2, 2], "stride": [1, 2]}
    document = {
        "version": 1,
        "arrays": [weights | {"device": "cpu"}],
        "state": {
            "dict": [
                ["step", 3],
                ["milestones", {"Counter": [[10, 1], [20, 1]]}],
                ["lr", [{"float": "0.1"}, {"float": "inf"}]],
                ["weights", {"array": 0}],
            ]
        },
    }
    tensors = {"a": np.arange(4, dtype=np.float32).reshape(2, 2)}
    data = safetensors.numpy.save(tensors, {"expunge.state": json.dumps(document)})
    restored: Any = codec.decode(data)
    assert same(restored, PINNED)
    assert restored["weights"].flags.f_contiguous


def test_the_digest_is_the_one_that_the_documentation_defines() -> None:
    weights = sha256(struct.pack("<4f", 0, 1, 2, 3)).hexdigest()
    tree = {
        "dict": [
            ["step", 3],
            ["milestones", {"Counter": [[10, 1], [20, 1]]}],
            ["lr", [{"float": "0.1"}, {"float": "inf"}]],
            ["weights", {"array": ["numpy", "<f4", [2, 2], weights]}],
        ]
    }
    canonical = json.dumps({"state": tree, "version": 1}, separators=(",", ":"))
    assert codec.digest(PINNED) == sha256(canonical.encode()).hexdigest()


SCRIPT = """
import sys, hashlib, numpy
from lineage.training.state import encode_verified
words = {word: set("abcdefgh" + word) for word in ("x", "yy", "zzz")}
data, digest = encode_verified({"words": words, "a": numpy.arange(3), "s": {1.5, "b", (2, None)}})
assert "torch" not in sys.modules, "the codec imported torch"
print(hashlib.sha256(data).hexdigest(), digest)
"""


def test_equal_states_have_equal_bytes_in_every_process_and_numpy_needs_no_torch() -> None:
    printed = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": ":".join(sys.path)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(printed) == 1

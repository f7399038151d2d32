"""The codec of training state: one safetensors file, exact in both directions, never pickle.

Arrays are the file's tensors, named by their paths, so that any safetensors reader can look in.
Everything else is type-tagged canonical JSON (``lineage.training.tagged``) in the file's metadata
under ``expunge.state``::

    {"version": 1, "arrays": [{name, kind, dtype, shape, stride, device}, …], "state": …}

Arrays that are the same memory seen the same way are stored once and are one object again when
read; partly overlapping ones are stored as separate values. Containers are values: a list held in
two places is read as two lists. Equal states, with the same sharing and layouts, have equal bytes.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save

from lineage.data.statistics import Statistic
from lineage.errors import StateError
from lineage.training.arrays import (
    TYPES,
    Array,
    Layout,
    identity,
    layout_of,
    octets_of,
    portable,
    qualified,
    restored,
)
from lineage.training.tagged import Json, Reader, Writer, canonical, child, plain

VERSION = 1
_METADATA = "expunge.state"
_RESERVED = "__metadata__"


class _Table:
    """The arrays of a file while it is written: the entries of the document, and the payload."""

    def __init__(self) -> None:
        self.entries: list[Json] = []
        self.payload: dict[str, NDArray[np.generic]] = {}
        self._indices: dict[tuple[object, ...], int] = {}

    def add(self, array: Array, path: str) -> int:
        """The index of the array's entry, which it shares with every alias."""
        layout, key = layout_of(array, path), identity(array)
        if key is not None and key in self._indices:
            return self._indices[key]
        if key is not None:
            self._indices[key] = len(self.entries)
        name = self._name(path)
        self.entries.append(_entry(name, layout))
        self.payload[name] = portable(layout, octets_of(array))
        return len(self.entries) - 1

    def _name(self, path: str) -> str:
        while path in self.payload or path == _RESERVED:
            path += "~"
        return path


def _entry(name: str, layout: Layout) -> Json:
    return {
        "name": name,
        "kind": layout.kind,
        "dtype": layout.dtype,
        "shape": list(layout.shape),
        "stride": None if layout.stride is None else list(layout.stride),
        "device": layout.device,
    }


def encode(state: Mapping[str, object]) -> bytes:
    """The bytes of a state.

    Raises:
        StateError: a value cannot be kept exactly; the path and what to do are named.
    """
    table = _Table()
    tree = Writer(table.add)(dict(state), "")
    document = canonical({"version": VERSION, "arrays": table.entries, "state": tree})
    try:
        return save(table.payload, {_METADATA: document.decode()})
    except SafetensorError as error:
        raise StateError(
            f"the values outside arrays take {len(document)} bytes, more than a file's header may",
            hint="track long lists of numbers as arrays",
        ) from error


def decode(data: bytes) -> dict[str, object]:
    """The state of some bytes: the inverse of :func:`encode`, with every array on the CPU.

    The data may come from anywhere. Check its digest first all the same: this function sees that
    bytes are no state, not that they are another state. torch is imported only if the state holds
    values of it.

    Raises:
        StateError: the bytes are not a state, or a newer version wrote them.
    """
    try:
        document, octets = _opened(data)
        return _read(document, octets)
    except (
        SafetensorError,
        ArithmeticError,
        LookupError,
        RuntimeError,
        TypeError,
        ValueError,
    ) as error:
        raise StateError(
            f"these {len(data)} bytes are not a stored state",
            hint="the file is damaged: start from another checkpoint",
        ) from error


def _opened(data: bytes) -> tuple[Any, dict[str, bytearray]]:
    octets = {name: tensor["data"] for name, tensor in deserialize(data)}  # type: ignore[no-untyped-call]
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    return json.loads(header[_RESERVED][_METADATA]), octets


def _read(document: Any, octets: dict[str, bytearray]) -> dict[str, object]:
    if document["version"] != VERSION:
        raise StateError(
            f"the state has version {document['version']!r}; this program reads version {VERSION}",
            hint="read it with the version of expunge that wrote it, or a newer one",
        )
    arrays = [_array(entry, octets) for entry in document["arrays"]]
    state = Reader(arrays)(document["state"], "")
    if octets or type(state) is not dict:
        raise StateError(
            "the file holds tensors that the state does not name, or no state at all",
            hint="the file is damaged: start from another checkpoint",
        )
    return cast(dict[str, object], state)


def _array(entry: Any, octets: dict[str, bytearray]) -> Array:
    """The array of an entry; takes its octets out of the payload, so that memory is freed."""
    match entry:
        case {
            "name": str(name),
            "kind": "numpy" | "torch" as kind,
            "dtype": str(dtype),
            "shape": list(shape),
            "stride": None | list() as stride,
            "device": str(device),
        } if all(type(n) is int and n >= 0 for n in (*shape, *(stride or ()))):
            kept = None if stride is None else tuple(stride)
            layout = Layout(kind, dtype, tuple(shape), kept, device)
            return restored(layout, np.frombuffer(octets.pop(name), np.uint8), name)
    raise StateError("an array's layout is not one", hint="the file is damaged")


def digest(state: Mapping[str, object]) -> str:
    """The identity of a state's value, in hexadecimal: nothing of where or how it is stored.

    SHA-256 of the RFC 8785 JSON ``{"state": tree, "version": 1}``, with an array in the tree as
    ``{"array": [kind, dtype, shape, SHA-256 of its octets in C order]}``. It is computed from the
    objects, not from their encoding. Types, the order of dicts and the bits of every number count;
    aliasing, strides, devices and ``requires_grad`` do not, so tied and copied weights are equal.

    Raises:
        StateError: as :func:`encode`.
    """
    tree = Writer(_identified)(dict(state), "")
    return sha256(canonical({"version": VERSION, "state": tree})).hexdigest()


def _identified(array: Array, path: str) -> Json:
    layout, octets = layout_of(array, path), octets_of(array)
    return [layout.kind, layout.dtype, list(layout.shape), sha256(octets.data).hexdigest()]


def encode_verified(state: Mapping[str, object]) -> tuple[bytes, str]:
    """The bytes and the digest of a state that was read back and compared.

    Raises:
        StateError: as :func:`encode`, or a value does not come back as it was; its path is named.
    """
    data, identity_before = encode(state), digest(state)
    restored_state = decode(data)
    changed = next(_differences(dict(state), restored_state, ""), None)
    if changed is not None or digest(restored_state) != identity_before:
        raise StateError.at(
            changed or "",
            "the value changed between storing and reading it",
            hint="let nothing write to the state while it is stored (threads, other processes); "
            "otherwise this is a defect of expunge",
        )
    return data, identity_before


def _differences(ours: Any, theirs: Any, path: str) -> Iterator[str]:
    """Paths at which two states differ in a type, a key, a layout or a bit."""
    if _kind(ours) != _kind(theirs):
        yield path
    elif _kind(ours) in TYPES.values():
        if not _same_array(ours, theirs, path):
            yield path
    elif isinstance(ours, Statistic):
        yield from _differences(ours.state(), theirs.state(), path)
    elif not isinstance(ours, dict | list | tuple):
        if plain(ours, path) != plain(theirs, path):
            yield path
    else:
        yield from _member_differences(_members(ours), _members(theirs), path)


def _member_differences(
    ours: list[tuple[Any, Any]], theirs: list[tuple[Any, Any]], path: str
) -> Iterator[str]:
    if [plain(key, path) for key, _ in ours] != [plain(key, path) for key, _ in theirs]:
        yield path
        return
    for (key, our_value), (_, their_value) in zip(ours, theirs, strict=True):
        yield from _differences(our_value, their_value, child(path, key))


def _members(value: Any) -> list[tuple[Any, Any]]:
    return list(value.items() if isinstance(value, dict) else enumerate(value))


def _kind(value: object) -> str:
    name = qualified(type(value))
    return TYPES.get(name, name)


def _same_array(ours: Array, theirs: Array, path: str) -> bool:
    if replace(layout_of(ours, path), device="cpu") != layout_of(theirs, path):
        return False
    return np.array_equal(octets_of(ours), octets_of(theirs))

"""Python values as type-tagged JSON and back: what plain JSON would change, a tag keeps.

Plain JSON turns the int keys of a ``Counter`` into text, and ``MultiStepLR`` then stops decaying
without an error. Here a bare null, boolean, text, list or integer of 53 bits is itself, and an
object with one member is a tagged value:

| node | value |
| --- | --- |
| ``{"int": "0x20000000000000"}``, ``{"float": "0.1"}`` | a larger int; a float by its ``repr`` |
| ``{"float": "nan:7ff8000000000000"}`` | a NaN by its IEEE 754 bits |
| ``{"complex": ["0.0", "-0.0"]}``, ``{"bytes": "00ff"}`` | |
| ``{"str": "eda080"}`` | text with lone surrogates, as UTF-8 octets |
| ``{"tuple": […]}``, ``{"set": […]}``, ``{"frozenset": […]}`` | sets in the order of their JSON |
| ``{"dict": [[key, value], …]}``, ``OrderedDict``, ``Counter`` | pairs in insertion order |
| ``{"defaultdict": ["list", pairs]}`` | factory: list, int, float, dict, set or null |
| ``{"state_dict": [pairs, metadata]}`` | an OrderedDict with torch's ``_metadata`` (versions) |
| ``{"numpy": ["<f4", "0000803f"]}`` | a NumPy scalar |
| ``{"array": …}`` | an array or tensor, referred to as the caller of the writer chooses |
| ``{"statistic": ["Moments", …]}`` | its kind, and everything about it (``Statistic.state``) |
| ``{"dtype": "float32"}``, ``{"device": "cpu"}``, ``{"size": [2, 3]}`` | torch's |

Types are matched exactly. A subclass (``namedtuple``, ``IntEnum``, …) is refused, not flattened.
"""

import struct
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeAlias

import numpy as np
import rfc8785

from lineage.data.statistics import KINDS
from lineage.errors import StateError
from lineage.training.arrays import TYPES, Array, numpy_dtype, qualified, torch_dtype

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"

_DEPTH = 64
_SAFE = 2**53 - 1
_COLLECTIONS: dict[str, type] = {"tuple": tuple, "set": set, "frozenset": frozenset}
_MAPPINGS: dict[str, type] = {"dict": dict, "OrderedDict": OrderedDict, "Counter": Counter}
_FACTORIES: dict[str | None, type | None] = {
    "list": list,
    "int": int,
    "float": float,
    "dict": dict,
    "set": set,
    None: None,
}
_HINT = (
    "track numbers, text, bytes, arrays and plain containers of them, "
    "and rebuild the object from those in the program"
)


def canonical(node: Json) -> bytes:
    """The one byte form of a node (RFC 8785)."""
    return rfc8785.dumps(node)


def child(path: str, key: object) -> str:
    """The path of a member.

    >>> child(child(child("optimizer", "state"), 0), "exp_avg")
    'optimizer.state[0].exp_avg'
    """
    if type(key) is str and key.isprintable():
        return f"{path}.{key}" if path else key
    return f"{path}[{canonical(plain(key, path)).decode()}]"


class Writer:
    """Turns values into nodes; ``array`` says how a node refers to an array."""

    def __init__(self, array: Callable[[Array, str], Json]) -> None:
        self._array = array
        self._depth = 0

    def __call__(self, value: Any, path: str) -> Json:
        """The node of a value.

        Raises:
            StateError: the value, or one inside it, cannot be kept exactly; its path is named.
        """
        if self._depth == _DEPTH:
            raise StateError.at(
                path,
                f"containers are nested deeper than {_DEPTH}",
                hint="flatten them, and let no container hold itself",
            )
        self._depth += 1
        node = self._written(value, qualified(type(value)), path)
        self._depth -= 1
        return node

    def _written(self, value: Any, kind: str, path: str) -> Json:
        package, _, name = kind.rpartition(".")
        match package, name:
            case "builtins", "NoneType" | "bool" | "int" | "str" | "float" | "complex" | "bytes":
                return _scalar(value)
            case "builtins", "list":
                return self._items(value, path)
            case "builtins", "tuple":
                return {name: self._items(value, path)}
            case "builtins", "set" | "frozenset":
                return {name: sorted((plain(v, path) for v in value), key=canonical)}
            case ("builtins", "dict") | ("collections", "OrderedDict" | "Counter" | "defaultdict"):
                return self._mapping(value, name, path)
            case "torch", "dtype" | "device":
                return {name: str(value).removeprefix("torch.")}
            case "torch", "Size":
                return {"size": list(value)}
        if kind in TYPES:
            return {"array": self._array(value, path)}
        if type(value) in KINDS.values():
            return {"statistic": [name, self(value.state(), path)]}
        if isinstance(value, np.generic):
            return {"numpy": [numpy_dtype(value.dtype.str, path).str, value.tobytes().hex()]}
        raise StateError.at(path, f"a value of type {kind} cannot be stored exactly", hint=_HINT)

    def _items(self, values: Iterable[Any], path: str) -> list[Json]:
        return [self(value, f"{path}[{i}]") for i, value in enumerate(values)]

    def _mapping(self, value: Any, name: str, path: str) -> Json:
        pairs: list[Json] = [[plain(k, path), self(v, child(path, k))] for k, v in value.items()]
        if name == "defaultdict":
            return {name: [_factory(value, path), pairs]}
        attributes = getattr(value, "__dict__", {})
        if name == "OrderedDict" and attributes.keys() == {"_metadata"}:
            return {"state_dict": [pairs, self(value._metadata, child(path, "_metadata"))]}
        if attributes:
            raise StateError.at(path, f"a {name} with attributes cannot be stored exactly", _HINT)
        return {name: pairs}


def _no_array(_array: Array, path: str) -> NoReturn:
    raise StateError.at(
        path,
        "an array is a key of a dict or a member of a set, where it counts by its identity",
        hint="use a name or a number as the key",
    )


def plain(value: object, path: str) -> Json:
    """The node of a value that holds no array: a key, a member of a set, a scalar."""
    return Writer(_no_array)(value, path)


def _factory(value: "defaultdict[Any, Any]", path: str) -> str | None:
    for name, factory in _FACTORIES.items():
        if value.default_factory is factory:
            return name
    raise StateError.at(
        path,
        "a defaultdict's factory is a function",
        hint="use list, int, float, dict or set as the factory, or track a plain dict",
    )


def _scalar(value: bool | int | str | float | complex | bytes | None) -> Json:
    match value:
        case None | bool():
            return value
        case int():
            return value if -_SAFE <= value <= _SAFE else {"int": hex(value)}
        case float():
            return {"float": _float_text(value)}
        case complex():
            return {"complex": [_float_text(value.real), _float_text(value.imag)]}
        case bytes():
            return {"bytes": value.hex()}
    octets = value.encode("utf-8", "surrogatepass")
    return value if octets.decode("utf-8", "ignore") == value else {"str": octets.hex()}


def _float_text(value: float) -> str:
    return repr(value) if value == value else f"nan:{struct.pack('>d', value).hex()}"


def _float_read(text: str) -> float:
    is_nan = text.startswith("nan:")
    value = float(np.uint64(int(text[4:], 16)).view(np.float64) if is_nan else text)
    if _float_text(value) != text:
        raise ValueError("a float is not in its one form")
    return value


class Reader:
    """Turns nodes back into values; ``{"array": i}`` is ``arrays[i]``."""

    def __init__(self, arrays: Sequence[Array]) -> None:
        self._arrays = arrays

    def __call__(self, node: Json, path: str) -> Any:
        """The value of a node.

        Raises:
            StateError: a tag is unknown, or its body is not what the tag needs.
            ArithmeticError, LookupError, RuntimeError, TypeError, ValueError: as the latter,
                raised by the constructor of the value.
        """
        match node:
            case None | bool() | int() | str():
                return node
            case list():
                return self._items(node, path)
            case dict() if len(node) == 1:
                ((tag, body),) = node.items()
                return self._tagged(tag, body, path)
        raise _unknown(path)

    def _tagged(self, tag: str, body: Json, path: str) -> Any:
        match tag, body:
            case "array", int(index) if 0 <= index < len(self._arrays):
                return self._arrays[index]
            case "tuple", list(items):
                return tuple(self._items(items, path))
            case "set" | "frozenset", list(items):
                return _COLLECTIONS[tag](_plain_reader._items(items, path))
            case "dict" | "OrderedDict" | "Counter", list(pairs):
                return self._filled(_MAPPINGS[tag](), pairs, path)
            case "defaultdict", [None | str() as factory, list(pairs)] if factory in _FACTORIES:
                return self._filled(defaultdict(_FACTORIES[factory]), pairs, path)
            case "state_dict", [list(pairs), metadata]:
                value = self._filled(OrderedDict(), pairs, path)
                value._metadata = self(metadata, child(path, "_metadata"))  # type: ignore[attr-defined]
                return value
            case "statistic", [str(kind), content] if kind in KINDS:
                return KINDS[kind].restored(self(content, path))
        return _leaf(tag, body, path)

    def _items(self, nodes: list[Json], path: str) -> list[Any]:
        return [self(node, f"{path}[{i}]") for i, node in enumerate(nodes)]

    def _filled(self, empty: dict[Any, Any], pairs: list[Json], path: str) -> dict[Any, Any]:
        for pair in pairs:
            match pair:
                case [key_node, node]:
                    key = _plain_reader(key_node, path)
                    empty[key] = self(node, child(path, key))
                case _:
                    raise _unknown(path)
        if len(empty) != len(pairs):
            raise _unknown(path)
        return empty


_plain_reader = Reader(())


def _leaf(tag: str, body: Json, path: str) -> Any:
    match tag, body:
        case "int", str():
            return int(body, 16)
        case "float", str():
            return _float_read(body)
        case "complex", [str(real), str(imaginary)]:
            return complex(_float_read(real), _float_read(imaginary))
        case "str", str():
            return bytes.fromhex(body).decode("utf-8", "surrogatepass")
        case "bytes", str():
            return bytes.fromhex(body)
        case "numpy", [str(dtype), str(octets)]:
            (value,) = np.frombuffer(bytes.fromhex(octets), numpy_dtype(dtype, path))
            return value
        case "dtype", str():
            return torch_dtype(body, path)
        case "device", str():
            import torch

            return torch.device(body)
        case "size", list():
            import torch

            return torch.Size(body)  # type: ignore[arg-type]
    raise _unknown(path)


def _unknown(path: str) -> StateError:
    return StateError.at(
        path,
        "a value is tagged in a way this version does not know",
        hint="the file is damaged, or a newer version wrote it",
    )

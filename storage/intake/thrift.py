"""The compact protocol of Thrift, as far as the footers of Parquet need it.

Source: github.com/apache/thrift, doc/specs/thrift-compact-protocol.md.
"""

from enum import IntEnum
from typing import Any

Struct = dict[int, Any]
"""The fields of a struct by their numbers; a struct or a list may be a value."""

_DEEPEST = 64


class _Kind(IntEnum):
    TRUE = 1
    FALSE = 2
    BYTE = 3
    I16 = 4
    I32 = 5
    I64 = 6
    DOUBLE = 7
    BINARY = 8
    LIST = 9
    SET = 10
    MAP = 11
    STRUCT = 12


class DamagedThriftError(Exception):
    """Some bytes are no struct of this protocol."""


def read_struct(data: bytes, start: int = 0) -> tuple[Struct, int]:
    """Return the struct that begins at a byte, and where it ends.

    >>> read_struct(bytes([0x15, 0x0E, 0x28, 0x01, 0x41, 0x00]))
    ({1: 7, 3: b'A'}, 6)

    Raises:
        DamagedThriftError: there is none.
    """
    reader = _Reader(data, start)
    try:
        return reader.struct(0), reader.place
    except IndexError:
        raise DamagedThriftError from None


class _Reader:
    def __init__(self, data: bytes, place: int) -> None:
        self._data = data
        self.place = place

    def struct(self, depth: int) -> Struct:
        if depth > _DEEPEST:
            raise DamagedThriftError
        fields: Struct = {}
        number = 0
        while (header := self._byte()) != 0:
            step, kind = header >> 4, header & 15
            number = number + step if step else self._number()
            if kind in (_Kind.TRUE, _Kind.FALSE):
                fields[number] = kind == _Kind.TRUE
            else:
                fields[number] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        match kind:
            case _Kind.I16 | _Kind.I32 | _Kind.I64:
                return self._number()
            case _Kind.TRUE | _Kind.FALSE | _Kind.BYTE:  # booleans of a list have a byte each
                return self._byte()
            case _Kind.DOUBLE:
                return self._take(8)
            case _Kind.BINARY:
                return self._take(self._varint())
            case _Kind.LIST | _Kind.SET:
                return self._list(depth)
            case _Kind.MAP:
                return self._map(depth)
            case _Kind.STRUCT:
                return self.struct(depth + 1)
        raise DamagedThriftError

    def _list(self, depth: int) -> list[Any]:
        header = self._byte()
        size = header >> 4
        size = self._varint() if size == 15 else size
        return [self._value(header & 15, depth + 1) for _ in range(self._fitting(size))]

    def _map(self, depth: int) -> list[tuple[Any, Any]]:
        size = self._fitting(self._varint())
        kinds = self._byte() if size else 0
        return [
            (self._value(kinds >> 4, depth + 1), self._value(kinds & 15, depth + 1))
            for _ in range(size)
        ]

    def _fitting(self, size: int) -> int:
        if size > len(self._data) - self.place:
            raise DamagedThriftError
        return size

    def _byte(self) -> int:
        self.place += 1
        return self._data[self.place - 1]

    def _take(self, size: int) -> bytes:
        start = self.place
        self.place += self._fitting(size)
        return self._data[start : self.place]

    def _varint(self) -> int:
        found = shift = 0
        while (byte := self._byte()) & 0x80:
            found |= (byte & 0x7F) << shift
            shift += 7
            if shift > 63:
                raise DamagedThriftError
        return found | byte << shift

    def _number(self) -> int:
        coded = self._varint()
        return coded >> 1 ^ -(coded & 1)

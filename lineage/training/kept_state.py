"""State that a program may keep between steps: found by its kind, told apart by its bytes.

Nothing of the program's is called: a method of its own might draw a random number or begin to load.
"""

import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from itertools import chain
from typing import Any

import numpy as np

from lineage.errors import StateError
from lineage.training.arrays import TYPES, layout_of, octets_of, qualified

OF_TORCH = "lineage.integrations.torch.kept_state"
"""The module that knows the kinds of torch; it is imported where the program has imported torch."""

MOST_BYTES = 1 << 28
"""A larger array is not compared: it may be a file that is mapped into memory."""

MOST_PARTS = 10_000
"""A container of more parts is not looked into; it is known by their number."""

_VALUES = (bool, int, float, complex, str, bytes)
_SEQUENCES = (list, tuple, deque, set, frozenset)
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that may be state: its name, its kind, and its ``content`` of arrays and values.

    One that is ``always`` state is told also where it has not changed yet.
    """

    name: str
    kind: str
    content: object
    always: bool = False


@dataclass(frozen=True)
class Search:
    """Finds what values keep: in containers, and in objects of classes that are the program's.

    ``own`` says whether a class is. With a kind for ``values``, plain ones such as numbers are
    state too, and have that kind. ``passed`` are the ids of objects that were looked at, and of
    those that are not looked into.
    """

    own: Callable[[type], bool]
    values: str | None
    passed: set[int]

    def within(self, name: str, value: object, depth: int = 0) -> Iterator[Kept]:
        """Find what a value of this name keeps."""
        if isinstance(value, _VALUES):
            if self.values is not None:
                yield Kept(name, self.values, value)
            return
        if id(value) in self.passed or depth > _DEEPEST:
            return
        self.passed.add(id(value))
        known = _known(name, value)
        if known is not None:
            yield from known
        elif isinstance(value, (dict, *_SEQUENCES)) and len(value) > MOST_PARTS:
            yield from self.within(name, len(value))
        else:
            for place, part in self._parts(name, value):
                yield from self.within(place, part, depth + 1)

    def _parts(self, name: str, value: object) -> Iterable[tuple[str, object]]:
        """Return what a value consists of. Parts of a container have its name: keys may be ids."""
        if isinstance(value, (dict, *_SEQUENCES)):
            return [(name, part) for part in (value.values() if isinstance(value, dict) else value)]
        if self.own(type(value)):
            return [(f"{name}.{attribute}", part) for attribute, part in _attributes(value)]
        return ()


def mark(content: object, marks: set[bytes] | None = None) -> bytes:
    """Return a digest of a content; ``marks`` gets those of its arrays and of its containers."""
    if is_array(content):
        digest = blake2b(repr(layout_of(content, "")).encode(), digest_size=16)  # type: ignore[arg-type]
        digest.update(octets_of(content).data)  # type: ignore[arg-type]
    elif (parts := _members(content)) is not None:
        digest = blake2b(b"parts", digest_size=16)
        for part in parts:
            digest.update(mark(part, marks))
    else:
        plain = content is None or isinstance(content, (*_VALUES, np.generic))
        told = repr(content) if plain else qualified(type(content))
        return blake2b(told.encode(), digest_size=16).digest()
    if marks is not None:
        marks.add(digest.digest())
    return digest.digest()


def is_covered(content: object, marks: Set[bytes]) -> bool:
    """Return True if all of a content is among the parts of another one, by their ``marks``.

    A number alone says too little to be recognised, so one must be in a container that is.
    """
    if is_array(content):
        return mark(content) in marks
    parts = _values(content)
    if parts is None:  # what cannot be compared is not told
        return not isinstance(content, (*_VALUES, np.generic))
    return mark(content) in marks or all(is_covered(part, marks) for part in parts)


def left_out(name: str, tracked: object) -> list[Kept]:
    """Return what the state of a tracked object leaves out, as far as its kind is known."""
    if "torch" not in sys.modules:
        return []
    found: list[Kept] = import_module(OF_TORCH).left_out(name, tracked)
    return found


def is_array(value: object) -> bool:
    """Return True if a value is an array or a tensor whose bytes can be compared."""
    if qualified(type(value)) not in TYPES or value.nbytes > MOST_BYTES:  # type: ignore[attr-defined]
        return False
    try:
        layout_of(value, "")  # type: ignore[arg-type]
    except StateError:
        return False
    return True


def _known(name: str, value: object) -> list[Kept] | None:
    """Return what something of a known kind keeps; None where its kind is not known."""
    kind = type(value).__name__
    if is_array(value):
        return [Kept(name, kind, value)]
    if isinstance(value, np.random.Generator):
        return [Kept(name, kind, value.bit_generator.state)]
    if isinstance(value, np.random.RandomState):
        return [Kept(name, kind, value.get_state(legacy=False))]
    if isinstance(value, random.Random):
        is_system = isinstance(value, random.SystemRandom)
        return [] if is_system else [Kept(name, kind, value.getstate())]
    if "torch" not in sys.modules:
        return None
    found: list[Kept] | None = import_module(OF_TORCH).kept(name, value)
    return found


def _attributes(value: object) -> Iterator[tuple[str, object]]:
    """Return the attributes of an object by name, without calling a property."""
    yield from getattr(value, "__dict__", {}).items()
    slots = chain.from_iterable(_slots(kind) for kind in type(value).__mro__)
    yield from ((slot, getattr(value, slot)) for slot in slots if hasattr(value, slot))


def _slots(kind: type) -> Sequence[str]:
    slots: Any = vars(kind).get("__slots__", ())
    return [slots] if isinstance(slots, str) else [each for each in slots if each != "__dict__"]


def _members(content: object) -> Iterable[object] | None:
    """Return keys and values of a container, in its order; None where it is none."""
    if isinstance(content, Mapping):
        return chain.from_iterable(content.items())
    return _values(content)


def _values(content: object) -> Iterable[object] | None:
    if isinstance(content, Mapping):
        return content.values()
    return content if isinstance(content, (list, tuple)) else None

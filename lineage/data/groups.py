"""Groups: the rows that have the same values in some key columns, and what was made of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap

from lineage.data.mapping import NONE, RowMapping, Seen
from lineage.errors import TransformError
from storage import manifests
from storage.intake import Column, arrow_schema
from storage.objects import Objects
from storage.rows import commit_rows


class Input(NamedTuple):
    """A dataset that a transform is given: its declared columns, and where its rows are."""

    columns: tuple[Column, ...]
    chunks: tuple[manifests.Chunk, ...]


Codes = NDArray[np.int64]
"""Positions of several inputs in one ascending array: position · inputs + place."""


@dataclass(frozen=True, slots=True)
class Groups:
    """Some positions of each input, and which group each is in.

    ``digests`` (g, 32) tell the groups apart: keyed hashes of their values in the key columns.
    ``labels`` number them from 0, for each input an array beside its ``positions``.
    """

    digests: NDArray[np.uint8]
    positions: tuple[NDArray[np.int64], ...]
    labels: tuple[NDArray[np.int64], ...]

    def members(self) -> Iterator[Codes]:
        """The positions of each group."""
        inputs = len(self.positions)
        codes = np.concatenate([each * inputs + n for n, each in enumerate(self.positions)])
        labels = np.concatenate(self.labels)
        order = np.lexsort((codes, labels))
        ends = np.flatnonzero(np.diff(labels[order])) + 1
        yield from np.split(codes[order], ends) if len(order) else ()


def grouped(
    objects: Objects, inputs: Sequence[Input], positions: Seen, by: Sequence[str], salt: bytes
) -> Groups:
    """Find the groups of some positions of each input, all of which are there to be read.

    Two rows are in one group where the encodings ``row/1`` of their key columns are equal.

    Raises:
        TransformError: an input has no such column, or two inputs have it with other types.
    """
    secret = np.frombuffer(sha256(b"expunge-group" + salt).digest(), np.uint8)
    _check_columns(inputs, by)
    wanted = tuple(np.asarray(those.to_array(), np.int64) for those in positions)
    digests = [np.empty((0, 32), np.uint8)]
    for given, those in zip(inputs, wanted, strict=True):
        for batch in manifests.read_cells(objects, given.chunks, by, those):
            salts = np.broadcast_to(secret, (batch.num_rows, len(secret)))
            digests.append(commit_rows(batch, salts))
    every = np.concatenate(digests)
    _, first, labels = np.unique(every.view("V32").ravel(), return_index=True, return_inverse=True)
    ends = np.cumsum([len(those) for those in wanted])[:-1]
    return Groups(every[first], wanted, tuple(np.split(labels, ends)))


@dataclass(frozen=True)
class Executed:
    """What executions of one function made of groups, by who was in them."""

    mappings: Sequence[RowMapping]
    inputs: int

    @cached_property
    def _groups(self) -> list[tuple[Codes, RowMapping]]:
        every = (group for mapping in self.mappings for group in mapping.by_group())
        return [(np.unique(self._codes(group)), group) for group in every]

    @cached_property
    def _by_member(self) -> dict[int, list[int]]:
        found: dict[int, list[int]] = {}
        for number, (members, _) in enumerate(self._groups):
            for code in members.tolist():
                found.setdefault(code, []).append(number)
        return found

    def exactly(self, members: Codes) -> BitMap | None:
        """The output positions made of just these rows; None where they were never a group."""
        for number in self._by_member.get(int(members[0]), ()):
            known, group = self._groups[number]
            if np.array_equal(known, members):
                return BitMap(group.outputs[group.outputs != NONE].tolist())
        return None

    def within(self, members: Codes) -> BitMap | None:
        """The output positions made of these rows alone, in a group that had all of them.

        None where none had.
        """
        for number in self._by_member.get(int(members[0]), ()):
            known, group = self._groups[number]
            if np.isin(members, known, assume_unique=True).all():
                gone = group.outputs[~np.isin(self._codes(group), members)]
                return BitMap(np.setdiff1d(group.outputs, [*gone.tolist(), NONE]).tolist())
        return None

    def _codes(self, group: RowMapping) -> Codes:
        return group.inputs * self.inputs + group.places


def seen_of(members: Sequence[Codes], inputs: int) -> Seen:
    """The positions of some groups, input by input."""
    codes = np.concatenate([np.empty(0, np.int64), *members])
    return tuple(BitMap((codes[codes % inputs == n] // inputs).tolist()) for n in range(inputs))


def _check_columns(inputs: Sequence[Input], by: Sequence[str]) -> None:
    schemas = [arrow_schema(given.columns) for given in inputs]
    for name in by:
        if any(name not in schema.names for schema in schemas):
            raise TransformError(
                f"an input has no column {name!r} to group by",
                hint="make it with a record transform, or name another column",
            )
        types = sorted({str(schema.field(name).type) for schema in schemas})
        if len(types) > 1:
            raise TransformError(
                f"column {name!r} is {types[0]} in one input and {types[1]} in another, which are "
                "never equal",
                hint="give the keys of a join one type",
            )

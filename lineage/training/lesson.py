"""Transforms that are given models: pseudo-labels, embeddings, filters by what a model says.

Whoever is forgotten in such a model is forgotten in every row that it had a part in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from lineage.data import transform as transforms
from lineage.data.given import NOTHING_ELSE, Members, in_place
from lineage.data.identity import Positions
from lineage.data.transform import TransformFunction
from lineage.data.version import Version
from lineage.errors import TransformError
from lineage.store import Store
from lineage.training.batch import Batch
from lineage.training.checkpoint import load
from lineage.training.environment import deterministic
from lineage.training.given import State, members_of
from lineage.training.learned import learned_columns
from lineage.training.model import Member, find_version, open_member
from storage import manifests
from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.intake import Column


@dataclass(frozen=True)
class Teacher:
    """A model that a transform is given: ``members`` maps a shard to its checkpoint."""

    store: Store
    members: Members

    @cached_property
    def states(self) -> tuple[State, ...]:
        """What the program of each member tracked, by name, in the order of shards.

        Raises:
            CheckpointError: a member was purged.
        """
        return tuple(load(self.store, each) for each in self.members.values())

    def predict(self, rows: pa.Table) -> NDArray[np.float64]:
        """The members' mean probability: (n, classes), or (n,) for one value a row.

        All members count alike, however their version puts answers together; for another way see
        `answers`, which it raises the errors of.
        """
        mean: NDArray[np.float64] = np.mean(self.answers(rows), axis=0)
        return mean

    def answers(self, rows: pa.Table) -> tuple[NDArray[np.float64], ...]:
        """The probabilities of each member, in the order of shards.

        Each row is predicted by itself, so that not a bit of the answer depends on other rows.

        Raises:
            CheckpointError: a member was purged.
            ProgramError: nothing here can build the model, or it does not say how it predicts.
            TransformError: the rows lack a column that the model reads, or have another kind of it.
        """
        cells = _Cells(rows, self._columns)
        return tuple(_answers(member, cells, rows.num_rows) for member in self._opened)

    @cached_property
    def _opened(self) -> tuple[Member, ...]:
        return tuple(open_member(self.store, *each) for each in self.members.items())

    @cached_property
    def _columns(self) -> Mapping[str, Column]:
        """The columns that the first member learned from, by name."""
        columns = learned_columns(self.store, next(iter(self.members.values())))
        return {column.name: column for column in columns}


def derive(
    store: Store,
    function: TransformFunction,
    input_names: str | Sequence[str],
    output_name: str,
    given: Mapping[str, str] = NOTHING_ELSE,
) -> Version:
    """Make the head of dataset ``output_name`` what a function makes of the heads of others.

    ``given`` maps its keyword-only arguments to models: versions by id, or names, which mean the
    newest. See `lineage.data.transform.derive` for the rest.

    Raises:
        NotFoundError: there is no such dataset or model.
        CheckpointError: a model was purged.
        FencedError, TransformError: as there.
    """
    models = {alias: _taught_by(store, name) for alias, name in given.items()}
    return transforms.derive(store, function, input_names, output_name, models)


def rederive(store: Store, transform_id: str, gone: Positions, made: Mapping[str, str]) -> Version:
    """Execute a transform again without ``gone``, with the checkpoints ``made`` in place of others.

    See `lineage.data.transform.rederive`.

    Raises:
        NotFoundError, ProgramError, TransformError: as there.
        CheckpointError: a model was purged.
    """
    with store.catalogue.read() as session:
        recorded = session.get(tables.Transform, transform_id)
        if recorded is None:
            raise NotFoundError(
                f"there is no transform {transform_id}", hint="see `expunge dataset list`"
            )
        given = in_place(session, recorded.given, made)
    models = {alias: Teacher(store, members) for alias, members in given.items()}
    return transforms.rederive(store, transform_id, gone, made, models)


def _taught_by(store: Store, name: str) -> Teacher:
    version = find_version(store, name)
    with store.catalogue.read() as session:
        teacher = Teacher(store, members_of(session, version.id))
    _ = teacher.states
    return teacher


@dataclass(frozen=True)
class _Cells:
    """Columns of rows as arrays, as a model saw them in training."""

    rows: pa.Table
    declared: Mapping[str, Column]

    def __call__(self, name: str) -> NDArray[np.generic]:
        if name not in self._found:
            self._found[name] = self._decoded(name)
        return self._found[name]

    @cached_property
    def _found(self) -> dict[str, NDArray[np.generic]]:
        return {}

    def _decoded(self, name: str) -> NDArray[np.generic]:
        if name not in self.declared or name not in self.rows.column_names:
            raise TransformError(
                f"the model reads column {name!r}, which the rows it is asked about lack",
                hint=f"they have {', '.join(self.rows.column_names)}: name them as in training",
            )
        column = self.declared[name]
        try:
            cells = self.rows.column(name).combine_chunks().cast(column.arrow_type)
            return manifests.decoded(column, cells)
        except (ValueError, pa.ArrowNotImplementedError) as error:
            raise TransformError(
                f"column {name!r} has cells unlike those the model was trained on: {error}",
                hint=f"make it {column.kind.value}, with labels that the model's dataset has",
            ) from error


def _answers(member: Member, cells: _Cells, count: int) -> NDArray[np.float64]:
    keys = np.zeros(1, np.uint64)
    with deterministic(threads=member.threads, uses_torch=member.uses_torch):
        answers = [
            np.asarray(member.predict(Batch(cells, np.array([row]), keys)), np.float64)
            for row in range(count)
        ]
    return np.concatenate(answers) if answers else np.empty(0)

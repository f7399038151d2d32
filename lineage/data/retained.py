"""Versions as they would be had some rows never been there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.dataset import new_version
from lineage.data.given import NOTHING_ELSE, Members, in_place
from lineage.data.groups import Executed, Input, grouped, seen_of
from lineage.data.identity import Positions
from lineage.data.mapping import (
    Seen,
    datasets_of_versions,
    maker,
    read_mapping,
    recorded_into,
    seen,
    written,
)
from lineage.data.version import chunks_of
from lineage.errors import TransformError
from lineage.store import Store
from storage.catalogue.tables import Dataset, DatasetVersion, Transform
from storage.intake import Column
from storage.manifests import load_bitmap


@dataclass(frozen=True, slots=True)
class Image:
    """What was made of some input positions, and those to execute the function over first."""

    outputs: BitMap
    missing: Seen

    @property
    def complete(self) -> bool:
        """Whether there is nothing to execute."""
        return not any(self.missing)


def retained(
    session: Session,
    store: Store,
    origin: DatasetVersion,
    gone: Positions,
    reason: str,
    made: Mapping[str, str] = NOTHING_ELSE,
) -> DatasetVersion:
    """The version ``origin`` had ``gone`` (dataset id → positions) never been there.

    A derived dataset has what its transforms made without ``gone`` in place of what they made with
    it; and with the checkpoints that were ``made`` in place of those they were given (id → id). An
    equal version that exists is returned; the head does not move.

    Raises:
        TransformError: a transform has not been executed without ``gone`` yet.
    """
    positions = remade(session, store, origin, gone, made)
    return version_of(session, store, origin, positions, reason)


def remade(
    session: Session,
    store: Store,
    version: DatasetVersion,
    gone: Positions,
    made: Mapping[str, str] = NOTHING_ELSE,
    new: Sequence[Transform] = (),
) -> BitMap:
    """The positions of `retained`; ``new`` are executions that are not recorded yet.

    Raises:
        TransformError: a transform has not been executed without ``gone`` yet.
    """
    by = maker(session, version)
    own = gone.get(version.dataset_id, BitMap())
    if by is None:
        return live(version) - own
    models = in_place(session, by.given, made)
    executed = executions(session, version.dataset_id, by.source, models)
    known = [*_nearest_first(executed, by), *new]
    wanted = needed(session, store, by, gone, made)
    found = image(store, known, by, inputs_of(session, by), wanted)
    if not found.complete:
        raise TransformError(
            f"transform {by.id} has not been executed without what is forgotten",
            hint="execute it again first",
        )
    return found.outputs - own - taken_out(session, version)


def taken_out(session: Session, version: DatasetVersion) -> BitMap:
    """The positions that a transform made for a version, and that were taken out of it since."""
    by = maker(session, version)
    if by is None:
        return BitMap()
    return live(session.get_one(DatasetVersion, by.output_id)) - live(version)


def last_execution(session: Session, version: DatasetVersion) -> Transform | None:
    """The newest transform that made rows of a version; of an empty one, what made it empty.

    Other executions that made rows of it were given the same models.
    """
    rows = live(version)
    wrote = (each for each in recorded_into(session, version.dataset_id) if written(each) & rows)
    return max(wrote, key=lambda each: each.first_position, default=maker(session, version))


def _nearest_first(executed: Sequence[Transform], by: Transform) -> list[Transform]:
    """Executions as a version that one of them made has their rows: its own, those before, others.

    Where several would do, its rows stay where they are.
    """
    own = next((number for number, each in enumerate(executed, 1) if each.id == by.id), 0)
    return [*reversed(executed[:own]), *executed[own:]]


def needed(
    session: Session,
    store: Store,
    transform: Transform,
    gone: Positions,
    made: Mapping[str, str] = NOTHING_ELSE,
) -> Seen:
    """The input positions of a transform had ``gone`` never been there.

    Raises:
        TransformError: a transform before it has not been executed without ``gone`` yet.
    """
    given = (session.get_one(DatasetVersion, each.version_id) for each in transform.inputs)
    return tuple(remade(session, store, version, gone, made) for version in given)


class Declared(Protocol):
    """What decides which rows are executed over together: a function, or an execution of it."""

    @property
    def scope(self) -> str:
        """The declared scope."""
        ...

    @property
    def by(self) -> Sequence[str]:
        """Key columns of groups."""
        ...


def image(
    store: Store,
    executed: Sequence[Transform],
    how: Declared,
    inputs: Sequence[Input],
    positions: Seen,
) -> Image:
    """What executions of one function made of some input positions."""
    if how.by:
        return _image_of_groups(store, executed, how, inputs, positions)
    if how.scope == "aggregate":
        whole = [each for each in executed if seen(each) == positions]
        nothing = (BitMap(),)
        return Image(written(whole[0]), nothing) if whole else Image(BitMap(), positions)
    done = BitMap.union(BitMap(), *(seen(each)[0] for each in executed))
    mappings = (read_mapping(store.objects, each) for each in executed)
    outputs = BitMap.union(BitMap(), *(mapping.follow(positions) for mapping in mappings))
    return Image(outputs, (positions[0] - done,))


def _image_of_groups(
    store: Store,
    executed: Sequence[Transform],
    how: Declared,
    inputs: Sequence[Input],
    positions: Seen,
) -> Image:
    """Groups of the very rows that were executed over; of rows alone, groups that had them."""
    mappings = [read_mapping(store.objects, each) for each in executed]
    known = Executed(mappings, len(inputs))
    outputs, missing = BitMap(), []
    for members in grouped(store.objects, inputs, positions, how.by, b"").members():
        if how.scope == "group":
            made = known.exactly(members)
        else:
            joined = len(np.unique(members % len(inputs))) == len(inputs)
            made = known.within(members) if joined else BitMap()
        if made is None:
            missing.append(members)
        else:
            outputs |= made
    return Image(outputs, seen_of(missing, len(inputs)))


def inputs_of(session: Session, transform: Transform) -> list[Input]:
    """The datasets that a transform was given."""
    dataset_of = datasets_of_versions(session)
    datasets = (session.get_one(Dataset, dataset_of[each.version_id]) for each in transform.inputs)
    return [input_of(session, dataset) for dataset in datasets]


def input_of(session: Session, dataset: Dataset) -> Input:
    """A dataset as it is given to a transform."""
    columns = tuple(Column.model_validate(column) for column in dataset.columns)
    return Input(columns, chunks_of(session, dataset.id, 2**62))


def executions(
    session: Session, dataset_id: str, source: str, models: Mapping[str, Members]
) -> list[Transform]:
    """The executions that wrote into a dataset, of a function of this source given these models."""
    into = recorded_into(session, dataset_id)
    return [each for each in into if each.source == source and each.given == models]


def version_of(
    session: Session, store: Store, origin: DatasetVersion, positions: BitMap, reason: str
) -> DatasetVersion:
    """The version, after ``origin``, that holds exactly these positions of its dataset."""
    rows, root = origin.rows, origin.root
    if positions and positions.max() >= rows:
        longer = (
            select(DatasetVersion.rows, DatasetVersion.root)
            .where(
                DatasetVersion.dataset_id == origin.dataset_id,
                DatasetVersion.rows > positions.max(),
            )
            .order_by(DatasetVersion.rows)
        )
        rows, root = session.execute(longer.limit(1)).one()
    deleted = BitMap(range(rows)) - positions
    return new_version(session, store, origin.dataset_id, rows, deleted, root, origin.id, reason)


def live(version: DatasetVersion) -> BitMap:
    """The present positions of a version."""
    return BitMap(range(version.rows)) - load_bitmap(version.deleted)

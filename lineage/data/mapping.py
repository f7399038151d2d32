"""Recorded transforms: in which order they happened, and which rows each of their rows came from.

A row mapping holds positions and nothing else, so erasing rows leaves it as it is.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select, union
from sqlalchemy.orm import Session

from storage.catalogue.tables import Commitment, DatasetVersion, Transform, TransformInput
from storage.manifests import load_bitmap
from storage.objects import Objects
from storage.rows import Array

Seen = tuple[BitMap, ...]
"""Positions of each input of a transform, in the order of its arguments."""

NONE = -1
"""In place of an output position: the input row was seen, and no row was made from it."""


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Pairs of an output position and an input position it was made from: int64 arrays (p,).

    A row may have several. ``places`` say which input a position is of. ``groups`` number the
    groups of this execution; with groups, every row that was seen has a pair.
    """

    outputs: NDArray[np.int64]
    inputs: NDArray[np.int64]
    places: NDArray[np.int64]
    groups: NDArray[np.int64]

    def follow(self, positions: Seen) -> BitMap:
        """The output positions that any of these input positions had a part in."""
        return self._outputs(self._among(positions))

    def together(self, positions: Seen) -> BitMap:
        """The output positions of every group that any of these input positions is in."""
        groups = np.unique(self.groups[self._among(positions)])
        return self._outputs(np.isin(self.groups, groups))

    def beside(self, positions: Sequence[BitMap]) -> list[BitMap]:
        """The input positions of every group that any of these is in, input by input."""
        near = np.isin(self.groups, np.unique(self.groups[self._among(positions)]))
        return [
            BitMap(self.inputs[near & (self.places == place)].tolist())
            for place in range(len(positions))
        ]

    def shifted(self, first: int) -> "RowMapping":
        """The same with output positions counted from ``first``."""
        moved = np.where(self.outputs == NONE, NONE, self.outputs + first)
        return RowMapping(moved, self.inputs, self.places, self.groups)

    def by_group(self) -> Iterator["RowMapping"]:
        """The pairs of each group."""
        order = np.argsort(self.groups, kind="stable")
        ends = np.flatnonzero(np.diff(self.groups[order])) + 1
        for rows in np.split(order, ends) if len(order) else ():
            yield RowMapping(
                self.outputs[rows], self.inputs[rows], self.places[rows], self.groups[rows]
            )

    def _among(self, positions: Sequence[BitMap]) -> NDArray[np.bool_]:
        found = np.zeros(len(self.inputs), np.bool_)
        for place, those in enumerate(positions):
            given = np.asarray(those.to_array(), np.int64)
            found |= (self.places == place) & np.isin(self.inputs, given)
        return found

    def _outputs(self, pairs: NDArray[np.bool_]) -> BitMap:
        return BitMap(self.outputs[pairs & (self.outputs != NONE)].tolist())


def write_mapping(objects: Objects, mapping: RowMapping) -> str:
    """Keep a mapping as a Parquet object, and return its digest.

    Its columns are ``output``, null where no row was made, and ``input``; and ``place`` and
    ``group`` where they are not all 0.
    """
    path = objects.temporary()
    try:
        columns: dict[str, Array] = {
            "output": pa.array(mapping.outputs, mask=mapping.outputs == NONE),
            "input": pa.array(mapping.inputs),
        }
        columns |= {
            name: pa.array(values)
            for name, values in (("place", mapping.places), ("group", mapping.groups))
            if values.any()
        }
        pq.write_table(pa.table(columns), path, compression="zstd", write_statistics=False)
        return objects.put_file(path)
    finally:
        path.unlink(missing_ok=True)


def read_mapping(objects: Objects, transform: Transform) -> RowMapping:
    """The mapping that a transform was recorded with.

    Raises:
        CorruptObjectError: its object is missing or damaged.
    """
    with pq.ParquetFile(objects.open(transform.mapping)) as file:
        table = file.read()
    zeros = pa.chunked_array([np.zeros(table.num_rows, np.int64)])
    columns = {name: table.column(name) for name in table.column_names}
    return RowMapping(
        columns["output"].fill_null(NONE).to_numpy(),
        columns["input"].to_numpy(),
        columns.get("place", zeros).to_numpy(),
        columns.get("group", zeros).to_numpy(),
    )


def written(transform: Transform) -> BitMap:
    """The output positions of a transform."""
    return BitMap(range(transform.first_position, transform.first_position + transform.rows))


def seen(transform: Transform) -> Seen:
    """The input positions that a transform was executed over."""
    return tuple(load_bitmap(given.seen) for given in transform.inputs)


def recorded(session: Session) -> Sequence[Transform]:
    """Every transform in the order of the ledger: none precedes one whose rows it was given."""
    ordered = (
        select(Transform)
        .join(Commitment, Commitment.row_id == Transform.id)
        .order_by(Commitment.sequence)
    )
    return session.scalars(ordered).all()


def recorded_into(session: Session, dataset_id: str) -> list[Transform]:
    """The transforms that wrote into a dataset, in order."""
    dataset_of = datasets_of_versions(session)
    return [each for each in recorded(session) if dataset_of[each.output_id] == dataset_id]


def depth_of(session: Session, dataset_id: str) -> int:
    """How many transforms a dataset is away from those whose rows were added from files."""
    into = recorded_into(session, dataset_id)
    if not into:
        return 0
    dataset_of = datasets_of_versions(session)
    return 1 + max(depth_of(session, dataset_of[each.version_id]) for each in into[0].inputs)


def datasets_of_versions(session: Session) -> dict[str, str]:
    """Dataset version id → dataset id, of every version a transform read or wrote."""
    used = select(DatasetVersion.id, DatasetVersion.dataset_id).where(
        DatasetVersion.id.in_(union(select(TransformInput.version_id), select(Transform.output_id)))
    )
    return {version.id: version.dataset_id for version in session.execute(used)}


def maker(session: Session, version: DatasetVersion) -> Transform | None:
    """The transform that made a version, or made the one that it is with some rows taken out."""
    return maker_among(session, version, recorded_into(session, version.dataset_id))


def maker_among(
    session: Session, version: DatasetVersion, transforms: Sequence[Transform]
) -> Transform | None:
    """The same, of some transforms among which are all that wrote into its dataset."""
    made = {each.output_id: each for each in transforms}
    at: DatasetVersion | None = version
    while made and at is not None:
        if at.id in made:
            return made[at.id]
        at = None if at.parent_id is None else session.get_one(DatasetVersion, at.parent_id)
    return None


def mixed(session: Session, version: DatasetVersion) -> bool:
    """Return True if rows of a version depend on several rows, or on a model that made them.

    So do those that are made of such rows.
    """
    made = maker(session, version)
    if made is None:
        return False
    given = (session.get_one(DatasetVersion, each) for each in made.input_ids)
    return (
        made.scope != "record" or bool(made.models) or any(mixed(session, each) for each in given)
    )


def models_behind(session: Session, version: DatasetVersion) -> Iterator[str]:
    """The checkpoints of the models that made rows of a version, or of what it was made of."""
    made = maker(session, version)
    if made is not None:
        yield from (each.checkpoint_id for each in made.models)
        for each in made.input_ids:
            yield from models_behind(session, session.get_one(DatasetVersion, each))

"""Recorded transforms: in which order they happened, and which row each of their rows came from.

A row mapping holds positions and nothing else, so erasing rows leaves it as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select, union
from sqlalchemy.orm import Session

from storage.catalogue.tables import Commitment, DatasetVersion, Transform
from storage.objects import Objects


@dataclass(frozen=True, slots=True)
class RowMapping:
    """Output position → input position of every row a transform wrote; two int64 arrays (n,)."""

    outputs: NDArray[np.int64]
    inputs: NDArray[np.int64]

    def follow(self, positions: BitMap) -> BitMap:
        """The output positions of these input positions."""
        given = np.asarray(positions.to_array(), np.int64)
        return BitMap(self.outputs[np.isin(self.inputs, given)].tolist())


def write_mapping(objects: Objects, mapping: RowMapping) -> str:
    """Keep a mapping as a Parquet object, columns ``output`` and ``input``; returns its digest."""
    path = objects.temporary()
    try:
        positions = [pa.array(mapping.outputs), pa.array(mapping.inputs)]
        table = pa.table(positions, names=["output", "input"])
        pq.write_table(table, path, compression="zstd", write_statistics=False)
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
    return RowMapping(table.column("output").to_numpy(), table.column("input").to_numpy())


def written(transform: Transform) -> BitMap:
    """The output positions of a transform."""
    return BitMap(range(transform.first_position, transform.first_position + transform.rows))


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
    """How many transforms a dataset is away from one whose rows were added from files."""
    into = recorded_into(session, dataset_id)
    return 1 + depth_of(session, datasets_of_versions(session)[into[0].input_id]) if into else 0


def datasets_of_versions(session: Session) -> dict[str, str]:
    """Dataset version id → dataset id, of every version a transform read or wrote."""
    used = select(DatasetVersion.id, DatasetVersion.dataset_id).where(
        DatasetVersion.id.in_(union(select(Transform.input_id), select(Transform.output_id)))
    )
    return {version.id: version.dataset_id for version in session.execute(used)}


def maker(session: Session, version: DatasetVersion) -> Transform | None:
    """The transform that made a version, or made the one that it is with some rows taken out."""
    made = {each.output_id: each for each in recorded_into(session, version.dataset_id)}
    at: DatasetVersion | None = version
    while made and at is not None:
        if at.id in made:
            return made[at.id]
        at = None if at.parent_id is None else session.get_one(DatasetVersion, at.parent_id)
    return None

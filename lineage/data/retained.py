"""Versions as they would be had some rows never been there."""

from collections.abc import Sequence
from dataclasses import dataclass

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.dataset import new_version
from lineage.data.identity import Positions
from lineage.data.mapping import maker, read_mapping, recorded_into, written
from lineage.errors import TransformError
from lineage.store import Store
from storage.catalogue.tables import DatasetVersion, Transform
from storage.manifests import load_bitmap


@dataclass(frozen=True, slots=True)
class Image:
    """What was made of some input positions, and those to execute the function over first."""

    outputs: BitMap
    missing: BitMap


def retained(
    session: Session, store: Store, origin: DatasetVersion, gone: Positions, reason: str
) -> DatasetVersion:
    """The version ``origin`` had ``gone`` (dataset id → positions) never been there.

    A derived dataset has what its transforms made without ``gone`` in place of what they made with
    it. An equal version that exists is returned; the head does not move.

    Raises:
        TransformError: a transform has not been executed without ``gone`` yet.
    """
    return version_of(session, store, origin, remade(session, store, origin, gone), reason)


def remade(
    session: Session,
    store: Store,
    version: DatasetVersion,
    gone: Positions,
    new: Sequence[Transform] = (),
) -> BitMap:
    """The positions of `retained`; ``new`` are executions that are not recorded yet.

    Raises:
        TransformError: a transform has not been executed without ``gone`` yet.
    """
    made = maker(session, version)
    own = gone.get(version.dataset_id, BitMap())
    if made is None:
        return live(version) - own
    inputs = remade(session, store, session.get_one(DatasetVersion, made.input_id), gone)
    known = [*executions(session, version.dataset_id, made.source), *new]
    found = image(store, known, made.scope, inputs)
    if found.missing:
        raise TransformError(
            f"transform {made.id} has not been executed without what is forgotten",
            hint="execute it again first",
        )
    cut = live(session.get_one(DatasetVersion, made.output_id)) - live(version)
    return found.outputs - own - cut


def image(store: Store, executed: Sequence[Transform], scope: str, positions: BitMap) -> Image:
    """What executions of one function made of some input positions."""
    if scope == "aggregate":
        whole = [each for each in executed if load_bitmap(each.seen) == positions]
        return Image(written(whole[0]), BitMap()) if whole else Image(BitMap(), positions)
    seen = BitMap.union(BitMap(), *(load_bitmap(each.seen) for each in executed))
    mappings = (read_mapping(store.objects, each) for each in executed)
    outputs = BitMap.union(BitMap(), *(mapping.follow(positions) for mapping in mappings))
    return Image(outputs, positions - seen)


def executions(session: Session, dataset_id: str, source: str) -> list[Transform]:
    """The executions that wrote into a dataset, of a function whose source has this digest."""
    return [each for each in recorded_into(session, dataset_id) if each.source == source]


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

"""Nominal sizes: frozen at the first train with a topology, and given to every twin after."""

from lineage.data.version import Version
from lineage.errors import PlacementError
from lineage.schedule import cells, check, nominal_cells
from lineage.store import Store
from storage.catalogue import tables

Cells = tuple[tuple[int, ...], ...]


def frozen_cells(
    store: Store, version: Version, shards: int, slices: int, batch_size: int, refreeze: bool
) -> Cells:
    """The nominal records of each shard and slice of a dataset; frozen now if they never were.

    Raises:
        PlacementError: the division is too uneven, or no longer fits the frozen sizes.
    """
    key = (version.dataset.id, shards, slices, "")
    with store.catalogue.read() as session:
        known = session.get(tables.Placement, key)
    placement = version.present.records.placement
    if known is None or refreeze:
        sizes = nominal_cells(cells(placement, version.salt, shards, slices))
    else:
        sizes = tuple(tuple(shard) for shard in known.cells["nominal"])
    try:
        check(placement, version.salt, sizes, batch_size)
    except PlacementError as error:
        if known is None or refreeze:
            raise
        raise PlacementError(
            f"{error.message}, by the sizes frozen on {known.created_at:%Y-%m-%d}",
            hint="pass --refreeze to train by the present sizes",
        ) from error
    with store.catalogue.write() as session:
        session.merge(
            tables.Placement(
                dataset_id=key[0],
                shards=shards,
                slices=slices,
                form="",
                cells={"nominal": sizes},
                created_at=store.clock() if known is None or refreeze else known.created_at,
            )
        )
    return sizes

"""The affected subgraph: everything that descends from records which are to be forgotten."""

from collections.abc import Iterable
from dataclasses import dataclass

from lineage.data.closure import Closure
from lineage.data.identity import Positions
from lineage.provenance.exposure import Exposure
from lineage.provenance.model import NodeKind, by_kind
from lineage.provenance.reach import NOW, Moment
from lineage.provenance.spread import spread
from lineage.store import Store


@dataclass(frozen=True)
class Impact:
    """What some records influenced.

    ``exposures`` say how they entered runs; the sets hold ids of graph nodes, the direct ones and
    all that follow from them, whether they still exist or not.
    """

    closure: Closure
    exposures: tuple[Exposure, ...]
    segments: frozenset[str]
    fits: frozenset[str]
    checkpoints: frozenset[str]
    versions: frozenset[str]
    publications: frozenset[str]


def impact(
    store: Store, positions: Positions, moment: Moment = NOW, also: Iterable[str] = ()
) -> Impact:
    """Walk influence from records (dataset id → positions) to its end; complete or an error.

    ``also`` are nodes of the graph that are known to descend from them.

    Raises:
        NotFoundError, InvalidInputError: there is no such ``moment``.
    """
    found = spread(store, positions, moment, also, renewing=moment == NOW)
    tainted = by_kind(found.reach.nodes)
    return Impact(
        found.closure,
        found.reach.entered,
        tainted[NodeKind.SEGMENT],
        tainted[NodeKind.FIT],
        tainted[NodeKind.CHECKPOINT],
        tainted[NodeKind.MODEL_VERSION],
        tainted[NodeKind.PUBLICATION],
    )

"""The affected subgraph: everything that descends from records which are to be forgotten."""

from dataclasses import dataclass

from lineage.data.closure import Closure, closure
from lineage.data.identity import Positions
from lineage.provenance.exposure import Exposure
from lineage.provenance.model import NodeKind, by_kind
from lineage.provenance.reach import NOW, Moment, reach
from lineage.provenance.renewal import renewed
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


def impact(store: Store, positions: Positions, moment: Moment = NOW) -> Impact:
    """Walk influence from records (dataset id → positions) to its end; complete or an error.

    Raises:
        NotFoundError, InvalidInputError: there is no such ``moment``.
    """
    affected = closure(store, positions)
    also = renewed(store, affected) if moment == NOW else ()
    came = reach(store, affected.everything, moment, also)
    tainted = by_kind(came.nodes)
    return Impact(
        affected,
        came.entered,
        tainted[NodeKind.SEGMENT],
        tainted[NodeKind.FIT],
        tainted[NodeKind.CHECKPOINT],
        tainted[NodeKind.MODEL_VERSION],
        tainted[NodeKind.PUBLICATION],
    )

"""The affected subgraph: everything that descends from records which are to be forgotten."""

from dataclasses import dataclass

from lineage.data.closure import Closure, closure
from lineage.data.identity import Positions
from lineage.provenance.chains import chains
from lineage.provenance.exposure import Exposure, exposures_among
from lineage.provenance.graph import edges_between, reached
from lineage.provenance.model import NodeKind, by_kind
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


def impact(store: Store, positions: Positions) -> Impact:
    """Walk influence from records (dataset id → positions) to its end; complete or an error."""
    affected = closure(store, positions)
    with store.catalogue.read() as session:
        runs, links = chains(session), list(edges_between(session))
    entered = tuple(exposures_among(runs, store, affected.everything))
    sources = [node for each in entered for node in (*each.segments, *each.fits)]
    tainted = by_kind(reached(links, sources, runs))
    return Impact(
        affected,
        entered,
        tainted[NodeKind.SEGMENT],
        tainted[NodeKind.FIT],
        tainted[NodeKind.CHECKPOINT],
        tainted[NodeKind.MODEL_VERSION],
        tainted[NodeKind.PUBLICATION],
    )

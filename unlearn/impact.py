"""The affected subgraph: everything that descends from records which are to be forgotten."""

from dataclasses import dataclass

from lineage.data.closure import Closure, closure
from lineage.data.identity import Positions
from lineage.provenance.exposure import Exposure, exposures
from lineage.provenance.graph import edges, reached
from lineage.provenance.model import NodeKind, kind_of
from lineage.provenance.renewal import renewed
from lineage.store import Store


@dataclass(frozen=True)
class Impact:
    """What some records influenced.

    ``exposures`` say how they entered runs; the sets hold ids of graph nodes, the direct ones and
    all that follow from them, whether they still exist or not. Among them is what would be
    otherwise because a group makes other rows without the records.
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
    entered = tuple(exposures(store, affected.everything))
    sources = [node for each in entered for node in (*each.segments, *each.fits)]
    sources += renewed(store, affected)
    with store.catalogue.read() as session:
        tainted = reached(edges(session), sources)
    kinds: dict[NodeKind, set[str]] = {kind: set() for kind in NodeKind}
    for node in tainted:
        kinds[kind_of(node)].add(node)
    return Impact(
        affected,
        entered,
        frozenset(kinds[NodeKind.SEGMENT]),
        frozenset(kinds[NodeKind.FIT]),
        frozenset(kinds[NodeKind.CHECKPOINT]),
        frozenset(kinds[NodeKind.MODEL_VERSION]),
        frozenset(kinds[NodeKind.PUBLICATION]),
    )

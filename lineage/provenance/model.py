"""The kinds of nodes and edges of the provenance graph, and what each edge means for deletion."""

from collections.abc import Iterable
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class NodeKind(StrEnum):
    """What a node of the graph is. Records, batches and steps are drawn on demand, never nodes."""

    DATASET_VERSION = "dataset-version"
    TRANSFORM = "transform"
    FIT = "fit"
    SEGMENT = "segment"
    CHECKPOINT = "checkpoint"
    MODEL_VERSION = "model-version"
    PUBLICATION = "publication"


_PREFIXES = {
    "dsv": NodeKind.DATASET_VERSION,
    "tf": NodeKind.TRANSFORM,
    "fit": NodeKind.FIT,
    "seg": NodeKind.SEGMENT,
    "ckpt": NodeKind.CHECKPOINT,
    "mv": NodeKind.MODEL_VERSION,
    "pub": NodeKind.PUBLICATION,
}


def kind_of(identifier: str) -> NodeKind:
    """The kind of a node, which its typed id tells.

    >>> kind_of("seg-0123456789")
    <NodeKind.SEGMENT: 'segment'>
    """
    return _PREFIXES[identifier.partition("-")[0]]


def by_kind(identifiers: Iterable[str]) -> dict[NodeKind, frozenset[str]]:
    """Nodes by their kind; every kind is there.

    >>> by_kind(["seg-1", "ckpt-1", "seg-2"])[NodeKind.SEGMENT] == {"seg-1", "seg-2"}
    True
    """
    found: dict[str, list[str]] = {prefix: [] for prefix in _PREFIXES}
    for each in identifiers:
        found[each.partition("-")[0]].append(each)
    return {_PREFIXES[prefix]: frozenset(each) for prefix, each in found.items()}


class Semantics(StrEnum):
    """How an edge behaves when what it comes from is forgotten."""

    INFLUENCE = "influence"
    """It taints: whatever it leads to learned from what it comes from."""
    REFERENCE = "reference"
    """It names a container; which of its records matter is drawn from the schedule or mapping."""
    SELECTION = "selection"
    """It may have steered a choice; reported, never walked for taint."""


class EdgeKind(StrEnum):
    """What an edge of the graph says."""

    SUCCEEDS = "succeeds"
    READS = "reads"
    WRITES = "writes"
    FITTED_ON = "fitted-on"
    FEEDS = "feeds"
    TRAINS = "trains"
    CONTINUES = "continues"
    GIVEN = "given"
    PRODUCES = "produces"
    TEACHES = "teaches"
    MEMBER = "member"
    PUBLISHED = "published"
    MEASURES = "measures"
    DECIDES = "decides"
    LOSES = "loses"


SEMANTICS: dict[EdgeKind, Semantics] = {
    EdgeKind.SUCCEEDS: Semantics.REFERENCE,  # dataset version → the next one
    EdgeKind.READS: Semantics.REFERENCE,  # dataset version → transform
    EdgeKind.WRITES: Semantics.REFERENCE,  # transform → dataset version
    EdgeKind.FITTED_ON: Semantics.REFERENCE,  # dataset version → fit
    EdgeKind.FEEDS: Semantics.INFLUENCE,  # fit → segment
    EdgeKind.TRAINS: Semantics.REFERENCE,  # dataset version → segment
    EdgeKind.CONTINUES: Semantics.INFLUENCE,  # checkpoint → segment
    EdgeKind.GIVEN: Semantics.INFLUENCE,  # checkpoint → segment
    EdgeKind.PRODUCES: Semantics.INFLUENCE,  # segment → checkpoint
    EdgeKind.TEACHES: Semantics.INFLUENCE,  # checkpoint → transform, and each row that it makes
    EdgeKind.MEMBER: Semantics.INFLUENCE,  # checkpoint → model version
    EdgeKind.PUBLISHED: Semantics.INFLUENCE,  # model version → publication
    EdgeKind.MEASURES: Semantics.SELECTION,  # dataset version → segment
    EdgeKind.DECIDES: Semantics.SELECTION,  # dataset version → model version chosen by it
    EdgeKind.LOSES: Semantics.SELECTION,  # model version → the one preferred to it
}
"""The deletion semantics of every kind of edge."""


class Node(BaseModel):
    """A node: its typed id, its kind, and one line for people."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind: NodeKind
    label: str

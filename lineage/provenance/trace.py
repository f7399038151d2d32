"""The lineage of one thing: what it was made of, and what was made of it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Self, TypeAlias

import networkx as nx
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.counted import counted
from lineage.provenance.batch import BatchDetail, batch_at
from lineage.provenance.graph import graph
from lineage.provenance.history import history
from lineage.provenance.model import SEMANTICS, EdgeKind, Node, Semantics, kind_of
from lineage.store import Store
from storage.catalogue import tables
from storage.errors import NotFoundError

_Graph: TypeAlias = "nx.MultiDiGraph[str]"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Link(_Answer):
    """An edge of the graph, and what it means for deletion."""

    start: str
    end: str
    kind: EdgeKind
    semantics: Semantics


class Related(_Answer):
    """A node of a lineage.

    ``semantics`` is influence where influence alone joins it to what was asked about, else
    reference: some way leads through a container, of whose records perhaps none had a part.
    ``records`` are those of a dataset version, ``visits`` how often a record entered a segment.
    """

    id: str
    kind: str
    label: str
    semantics: Semantics
    records: int | None = None
    visits: int | None = None
    purged: bool = False


class Trace(_Answer):
    """The lineage of what has this id, whole: nothing is left out at any distance.

    ``parts`` are the nodes it stands for: of a run all that is its own, of a batch none. ``edges``
    join these with ``upstream``, and with ``downstream``. ``selection`` has the edges by which data
    may have steered a choice upstream, or downstream data one elsewhere; nothing is walked on them.
    """

    id: str
    kind: str
    step: int | None
    label: str
    parts: tuple[Related, ...]
    upstream: tuple[Related, ...]
    downstream: tuple[Related, ...]
    edges: tuple[Link, ...]
    selection: tuple[Link, ...]

    @property
    def nodes(self) -> list[str]:
        """The ids of all nodes, also of those that only selection leads to or from."""
        related = (*self.parts, *self.upstream, *self.downstream)
        ends = (node for each in self.selection for node in (each.start, each.end))
        return list(dict.fromkeys((*(each.id for each in related), *ends)))


def trace(
    store: Store, identifier: str, at: int | None = None, *, up: bool = True, down: bool = True
) -> Trace:
    """The lineage of a node of the graph, of a run, or of a run's batch at a step.

    ``up`` is what it was made of, ``down`` what was made of it.

    Raises:
        NotFoundError: nothing has this id.
        InvalidInputError: the run has no such step.
    """
    batch = None if at is None else batch_at(store, identifier, at)
    with store.catalogue.read() as session:
        view = graph(session)
        what = _node(session, view, identifier) if batch is None else _batch(batch)
        made_of = _reached(view.reverse(copy=False), what.above) if up else {}
        made = _reached(view, what.below) if down else {}
        facts = _Facts.of(session)
    own = set(what.parts)
    return Trace(
        id=identifier,
        kind=what.kind,
        step=at,
        label=what.label,
        parts=facts.related(view, dict.fromkeys(own, Semantics.INFLUENCE)),
        upstream=facts.related(view, {n: s for n, s in made_of.items() if n not in own}),
        downstream=facts.related(view, {n: s for n, s in made.items() if n not in own}),
        edges=tuple(_inside(view, made_of.keys(), made.keys())),
        selection=tuple(_selection(view, made_of.keys(), made.keys())),
    )


@dataclass(frozen=True)
class _Asked:
    """What a lineage is of: its own nodes, and from where to walk, with what that way means."""

    kind: str
    label: str
    parts: tuple[str, ...]
    above: Mapping[str, Semantics]
    below: Mapping[str, Semantics]


def _node(session: Session, view: _Graph, identifier: str) -> _Asked:
    """A node of the graph, or a run, which is several."""
    parts: tuple[str, ...] = (identifier,)
    if identifier.partition("-")[0] == "run":
        run = history(session, identifier)
        laps = (node for lap in run.segments for node in (lap.id, lap.checkpoint))
        parts = (*(fit.id for fit in run.fits), *laps)
        kind, label = "run", f"{run.done - run.first_step} steps of {identifier}"
    elif identifier in view:
        node: Node = view.nodes[identifier]["node"]
        kind, label = node.kind.value, node.label
    else:
        raise _unknown(identifier)
    walked = dict.fromkeys(parts, Semantics.INFLUENCE)
    return _Asked(kind, label, parts, walked, walked)


def _batch(batch: BatchDetail) -> _Asked:
    """A batch: its records come from a version, and go where its step had a part."""
    took_part = batch.segment is not None and batch.state != "skipped"
    count = batch.size + batch.withheld
    return _Asked(
        kind="batch",
        label=f"step {batch.step} of {batch.id}, {batch.state}: {counted(count, 'record')}",
        parts=(),
        above={batch.version: Semantics.REFERENCE},
        below={str(batch.segment): Semantics.INFLUENCE} if took_part else {},
    )


def _unknown(identifier: str) -> NotFoundError:
    try:
        kind_of(identifier)
    except KeyError:
        # What was typed may be the id of a person: it is not repeated.
        return NotFoundError(
            "this is not the id of anything that has a lineage",
            hint="give that of a dataset version, transform, fit, run, segment, checkpoint, model "
            "version or publication; of a record, ask `expunge who-saw`",
        )
    return NotFoundError(f"nothing here has the id {identifier}", hint="see `expunge status`")


def _reached(view: _Graph, starts: Mapping[str, Semantics]) -> dict[str, Semantics]:
    """The starts and all that edges lead to from them, but those of selection.

    What influence alone leads to is found first, and keeps that name.
    """
    found = dict(starts)
    for walked in (Semantics.INFLUENCE, Semantics.REFERENCE):
        waiting = [node for node, how in found.items() if how in (Semantics.INFLUENCE, walked)]
        while waiting:
            for _, node, kind in view.out_edges(waiting.pop(), keys=True):
                if node not in found and SEMANTICS[kind] in (Semantics.INFLUENCE, walked):
                    found[node] = walked
                    waiting.append(node)
    return found


def _inside(view: _Graph, *groups: Collection[str]) -> Iterator[Link]:
    """The edges inside each group, without those of selection."""
    for start, end, kind in view.edges(keys=True):
        if SEMANTICS[kind] is not Semantics.SELECTION and any(
            start in group and end in group for group in groups
        ):
            yield _link(start, end, kind)


def _selection(view: _Graph, made_of: Collection[str], made: Collection[str]) -> Iterator[Link]:
    for start, end, kind in view.edges(keys=True):
        if SEMANTICS[kind] is Semantics.SELECTION and (end in made_of or start in made):
            yield _link(start, end, kind)


def _link(start: str, end: str, kind: EdgeKind) -> Link:
    return Link(start=start, end=end, kind=kind, semantics=SEMANTICS[kind])


@dataclass(frozen=True)
class _Facts:
    """What the catalogue knows of nodes beyond the graph."""

    records: Mapping[str, int]
    visits: Mapping[str, int]
    purged: Collection[str]

    @classmethod
    def of(cls, session: Session) -> Self:
        version, lap = tables.DatasetVersion, tables.Segment
        gone: set[str] = set()
        for table in (tables.Fit, tables.Checkpoint, tables.ModelVersion):
            gone.update(session.scalars(select(table.id).where(table.purged_at.is_not(None))))
        return cls(
            dict(session.execute(select(version.id, version.live)).all()),
            dict(session.execute(select(lap.id, lap.visits)).all()),
            gone,
        )

    def related(self, view: _Graph, nodes: Mapping[str, Semantics]) -> tuple[Related, ...]:
        """These nodes, data first and models last."""
        return tuple(
            Related(
                id=node,
                kind=data["node"].kind,
                label=data["node"].label,
                semantics=nodes[node],
                records=self.records.get(node),
                visits=self.visits.get(node),
                purged=node in self.purged,
            )
            for node, data in view.nodes(data=True)
            if node in nodes
        )

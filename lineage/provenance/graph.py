"""The provenance graph: a NetworkX view of the catalogue's tables.

Nodes are keyed by typed id and carry ``node``; edges carry ``kind``. Steps are never nodes: a
segment stands for all batches between two checkpoints.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator

import networkx as nx
from sqlalchemy import select
from sqlalchemy.orm import Session, aliased

from lineage.counted import counted
from lineage.provenance.chains import Chain, chains
from lineage.provenance.model import SEMANTICS, EdgeKind, Node, NodeKind, Semantics
from storage.catalogue import tables

Edge = tuple[str, str, EdgeKind]

_TAINTS = frozenset(kind for kind in EdgeKind if SEMANTICS[kind] is Semantics.INFLUENCE)


def graph(session: Session) -> "nx.MultiDiGraph[str]":
    """Everything the store knows, as one directed graph from data to models.

    Edges are keyed by their kind: a run may be measured on the very version it trains on.
    """
    view: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for node in _nodes(session):
        view.add_node(node.id, node=node)
    for start, end, kind in edges(session):
        view.add_edge(start, end, key=kind, kind=kind)
    return view


def influence(view: "nx.DiGraph[str]") -> "nx.DiGraph[str]":
    """The same nodes with only the edges that taint."""
    kept: nx.DiGraph[str] = nx.DiGraph()
    kept.add_nodes_from(view.nodes(data=True))
    kept.add_edges_from(
        (start, end, data) for start, end, data in view.edges(data=True) if data["kind"] in _TAINTS
    )
    return kept


def reached(
    links: Iterable[Edge], sources: Iterable[str], runs: Collection[Chain] = ()
) -> set[str]:
    """The sources and everything they influence, however far away, along edges and through runs.

    One pass suffices where each edge comes after those that lead to its start, and a second one
    makes sure of it.
    """
    taint = [(start, end) for start, end, kind in links if kind in _TAINTS]
    found = set(sources)
    before = -1
    while before < len(found):
        before = len(found)
        for run in runs:
            found.update(run.reached(found))
        for start, end in taint:
            if start in found:
                found.add(end)
    return found


def edges(session: Session) -> Iterator[Edge]:
    """Every edge, in the order of time: after those that lead to its start."""
    yield from _transforms(session)
    yield from _laps(session)
    yield from _models(session)
    yield from _lessons(session)
    yield from _choices(session)


def edges_between(session: Session) -> Iterator[Edge]:
    """The edges that taint and are in no run: what `reached` needs beside the chains of all."""
    yield from _models(session)
    yield from _lessons(session)


def _transforms(session: Session) -> Iterator[Edge]:
    before, after = tables.DatasetVersion, aliased(tables.DatasetVersion)
    for earlier, later in session.execute(
        select(before.id, after.id).join(after, after.parent_id == before.id)
    ):
        yield earlier, later, EdgeKind.SUCCEEDS
    given = tables.TransformInput
    for version, made_by in session.execute(select(given.version_id, given.transform_id)):
        yield version, made_by, EdgeKind.READS
    for made_by, made in session.execute(select(tables.Transform.id, tables.Transform.output_id)):
        yield made_by, made, EdgeKind.WRITES


def _models(session: Session) -> Iterator[Edge]:
    member, publication = tables.ModelMember, tables.Publication
    for checkpoint, version in session.execute(select(member.checkpoint_id, member.version_id)):
        yield checkpoint, version, EdgeKind.MEMBER
    for version, given_to in session.execute(select(publication.version_id, publication.id)):
        yield version, given_to, EdgeKind.PUBLISHED


def _lessons(session: Session) -> Iterator[Edge]:
    """The models that transforms were given."""
    given = tables.TransformModel
    pairs = select(given.checkpoint_id, given.transform_id).distinct()
    for checkpoint, transform in session.execute(pairs):
        yield checkpoint, transform, EdgeKind.TEACHES


def _choices(session: Session) -> Iterator[Edge]:
    """What a version was chosen by, and over; the only edges that may lead back in time."""
    choice, rival, ground = tables.Choice, tables.ChoiceRival, tables.ChoiceGround
    by = select(ground.version_id, choice.version_id).join(choice, choice.id == ground.choice_id)
    for version, chosen in session.execute(by.distinct()):
        yield version, chosen, EdgeKind.DECIDES
    over = select(rival.version_id, choice.version_id).join(choice, choice.id == rival.choice_id)
    for version, chosen in session.execute(over.distinct()):
        yield version, chosen, EdgeKind.LOSES


def _laps(session: Session) -> Iterator[Edge]:
    """The edges around segments, run after run as they began, and of what was fitted for them."""
    inputs, trained = _inputs(session)
    fit = tables.Fit
    for run_id, alias, fitted in session.execute(select(fit.run_id, fit.alias, fit.id)):
        yield inputs[run_id, alias], fitted, EdgeKind.FITTED_ON
    evaluation = tables.Evaluation
    measured: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for run_id, alias, step in session.execute(
        select(evaluation.run_id, evaluation.alias, evaluation.step)
    ):
        measured[run_id].append((step, inputs[run_id, alias]))
    for run in chains(session):
        previous = run.start
        laps = zip(run.segments, run.first_steps, run.checkpoints, run.ends, strict=True)
        for lap, first, made, last in laps:
            if previous is not None:
                yield previous, lap, EdgeKind.CONTINUES
            previous = made
            for member in run.given:
                yield member, lap, EdgeKind.GIVEN
            if run.run_id in trained:
                yield trained[run.run_id], lap, EdgeKind.TRAINS
            for fed in run.fits:
                yield fed, lap, EdgeKind.FEEDS
            for step, version in measured.get(run.run_id, ()):
                if first <= step <= last:
                    yield version, lap, EdgeKind.MEASURES
            yield lap, made, EdgeKind.PRODUCES


def _inputs(session: Session) -> tuple[dict[tuple[str, str], str], dict[str, str]]:
    """The version of each input, by run and alias; and the one that each run trains on."""
    given = tables.RunInput
    inputs, trained = {}, {}
    for run_id, alias, version, trains in session.execute(
        select(given.run_id, given.alias, given.version_id, given.trains)
    ):
        inputs[run_id, alias] = version
        if trains:
            trained[run_id] = version
    return inputs, trained


def _nodes(session: Session) -> Iterator[Node]:
    versions = select(tables.DatasetVersion, tables.Dataset.name).join(
        tables.Dataset, tables.Dataset.id == tables.DatasetVersion.dataset_id
    )
    for version, name in session.execute(versions):
        label = f"{name} v{version.sequence}, {counted(version.live, 'record')}"
        yield Node(id=version.id, kind=NodeKind.DATASET_VERSION, label=label)
    for transform in session.scalars(select(tables.Transform)):
        label = f"{transform.ref} ({transform.scope})"
        yield Node(id=transform.id, kind=NodeKind.TRANSFORM, label=label)
    for fit in session.scalars(select(tables.Fit)):
        yield Node(id=fit.id, kind=NodeKind.FIT, label=f"fit {fit.ordinal} of {fit.run_id}")
    made = select(tables.Segment, tables.Checkpoint).join(
        tables.Checkpoint, tables.Checkpoint.id == tables.Segment.checkpoint_id
    )
    for segment, checkpoint in session.execute(made):
        label = f"steps {segment.first_step}–{checkpoint.step} of {segment.run_id}"
        if checkpoint.edition:
            label = f"a change after step {checkpoint.step} of {segment.run_id}"
        yield Node(id=segment.id, kind=NodeKind.SEGMENT, label=label)
    for checkpoint in session.scalars(select(tables.Checkpoint)):
        label = f"{checkpoint.run_id} at step {checkpoint.step}"
        if checkpoint.edition:
            label += f", changed without a step (edition {checkpoint.edition})"
        yield Node(id=checkpoint.id, kind=NodeKind.CHECKPOINT, label=label)
    models = select(tables.ModelVersion, tables.Model.name).join(
        tables.Model, tables.Model.id == tables.ModelVersion.model_id
    )
    for model, name in session.execute(models):
        label = f"{name} v{model.sequence}" + (" (interim)" if model.interim else "")
        yield Node(id=model.id, kind=NodeKind.MODEL_VERSION, label=label)
    for publication in session.scalars(select(tables.Publication)):
        yield Node(
            id=publication.id, kind=NodeKind.PUBLICATION, label=f"to {publication.recipient}"
        )

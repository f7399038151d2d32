"""The provenance graph: a NetworkX view of the catalogue's tables.

Nodes are keyed by typed id and carry ``node``; edges carry ``kind``. Steps are never nodes: a
segment stands for all batches between two checkpoints.
"""

from collections.abc import Iterable, Iterator

import networkx as nx
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.provenance.model import SEMANTICS, EdgeKind, Node, NodeKind, Semantics
from storage.catalogue import tables

Edge = tuple[str, str, EdgeKind]


def graph(session: Session) -> "nx.MultiDiGraph[str]":
    """Everything the store knows, as one directed graph from data to models.

    Edges are keyed by their kind: a run may be measured on the very version it trains on.
    """
    view: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for node in _nodes(session):
        view.add_node(node.id, node=node)
    for start, end, kind in _edges(session):
        view.add_edge(start, end, key=kind, kind=kind)
    return view


def influence(view: "nx.DiGraph[str]") -> "nx.DiGraph[str]":
    """The same nodes with only the edges that taint."""
    kept: nx.DiGraph[str] = nx.DiGraph()
    kept.add_nodes_from(view.nodes(data=True))
    kept.add_edges_from(
        (start, end, data)
        for start, end, data in view.edges(data=True)
        if SEMANTICS[data["kind"]] is Semantics.INFLUENCE
    )
    return kept


def reached(view: "nx.DiGraph[str]", sources: Iterable[str]) -> set[str]:
    """The sources and everything they influence, however far away."""
    taint = influence(view)
    found = set(sources)
    waiting = list(found)
    while waiting:
        for follower in taint.successors(waiting.pop()):
            if follower not in found:
                found.add(follower)
                waiting.append(follower)
    return found


def _nodes(session: Session) -> Iterator[Node]:
    versions = select(tables.DatasetVersion, tables.Dataset.name).join(
        tables.Dataset, tables.Dataset.id == tables.DatasetVersion.dataset_id
    )
    for version, name in session.execute(versions):
        label = f"{name} v{version.sequence}, {version.live} records"
        yield Node(id=version.id, kind=NodeKind.DATASET_VERSION, label=label)
    for transform in session.scalars(select(tables.Transform)):
        label = f"{transform.ref} ({transform.scope})"
        yield Node(id=transform.id, kind=NodeKind.TRANSFORM, label=label)
    for fit in session.scalars(select(tables.Fit)):
        yield Node(id=fit.id, kind=NodeKind.FIT, label=f"fit {fit.ordinal} of {fit.run_id}")
    steps = select(tables.Segment, tables.Checkpoint.step).join(
        tables.Checkpoint, tables.Checkpoint.id == tables.Segment.checkpoint_id
    )
    for segment, step in session.execute(steps):
        label = f"steps {segment.first_step}–{step} of {segment.run_id}"
        yield Node(id=segment.id, kind=NodeKind.SEGMENT, label=label)
    for checkpoint in session.scalars(select(tables.Checkpoint)):
        label = f"{checkpoint.run_id} at step {checkpoint.step}"
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


def _edges(session: Session) -> Iterator[Edge]:
    for transform in session.scalars(select(tables.Transform)):
        yield transform.input_id, transform.id, EdgeKind.READS
        yield transform.id, transform.output_id, EdgeKind.WRITES
    runs = {run.id: run for run in session.scalars(select(tables.Run))}
    inputs = {
        (given.run_id, given.alias): given.version_id
        for given in session.scalars(select(tables.RunInput))
    }
    trained = {
        given.run_id: given.version_id
        for given in session.scalars(select(tables.RunInput).where(tables.RunInput.trains))
    }
    fits: dict[str, list[tables.Fit]] = {}
    for fit in session.scalars(select(tables.Fit)):
        fits.setdefault(fit.run_id, []).append(fit)
        yield inputs[fit.run_id, fit.alias], fit.id, EdgeKind.FITTED_ON
    measured: dict[str, list[tables.Evaluation]] = {}
    for evaluation in session.scalars(select(tables.Evaluation)):
        measured.setdefault(evaluation.run_id, []).append(evaluation)
    previous: dict[str, str] = {}
    ordered = (
        select(tables.Segment, tables.Checkpoint)
        .join(tables.Checkpoint, tables.Checkpoint.id == tables.Segment.checkpoint_id)
        .order_by(tables.Segment.run_id, tables.Checkpoint.step)
    )
    for segment, checkpoint in session.execute(ordered):
        run_id = segment.run_id
        before = previous.get(run_id, runs[run_id].start_id)
        if before is not None:
            yield before, segment.id, EdgeKind.CONTINUES
        yield trained[run_id], segment.id, EdgeKind.TRAINS
        yield segment.id, checkpoint.id, EdgeKind.PRODUCES
        for fit in fits.get(run_id, ()):
            yield fit.id, segment.id, EdgeKind.FEEDS
        for evaluation in measured.get(run_id, ()):
            if segment.first_step <= evaluation.step <= checkpoint.step:
                yield inputs[run_id, evaluation.alias], segment.id, EdgeKind.MEASURES
        previous[run_id] = checkpoint.id
    for member in session.scalars(select(tables.ModelMember)):
        yield member.checkpoint_id, member.version_id, EdgeKind.MEMBER
    for publication in session.scalars(select(tables.Publication)):
        yield publication.version_id, publication.id, EdgeKind.PUBLISHED

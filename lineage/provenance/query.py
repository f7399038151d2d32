"""Questions about people and records: which steps, checkpoints and models saw them, and how."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

import networkx as nx
from pydantic import BaseModel, ConfigDict
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.closure import closure
from lineage.data.identity import erasure, resolve
from lineage.provenance.exposure import Exposure, exposures, incomplete_runs
from lineage.provenance.graph import edges, graph, influence, reached
from lineage.provenance.model import Node, NodeKind
from lineage.store import Store
from storage.catalogue import tables
from storage.errors import NotFoundError


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunSeen(_Answer):
    """A run that some records entered: how many segments, and its steps that trained on them."""

    run: str
    shard: int
    segments: int
    steps: tuple[int, ...]
    visits: int


class ModelSeen(_Answer):
    """A model version that learned from the records; ``live`` while anything still uses it."""

    id: str
    model: str
    sequence: int
    live: bool
    purged: bool


class WhoSaw(_Answer):
    """The answer to who saw some records; ``path`` is one shortest way that shows it.

    It is ``complete`` unless ``incomplete`` names runs that were given records nobody knows.
    """

    state: Literal["trained", "not-trained"]
    kind: str
    records: int
    datasets: Mapping[str, int]
    runs: tuple[RunSeen, ...]
    steps: Mapping[str, tuple[int, ...]]
    checkpoints: tuple[str, ...]
    purged_checkpoints: tuple[str, ...]
    models: tuple[ModelSeen, ...]
    publications: tuple[str, ...]
    path: tuple[Node, ...]
    incomplete: tuple[str, ...]
    complete: bool


class ErasedAnswer(_Answer):
    """The id was erased, or is fenced while it is being erased."""

    state: Literal["erased"] = "erased"
    kind: str
    request: str
    request_state: str
    date: datetime
    complete: Literal[True] = True


def who_saw(store: Store, kind: str, name: str, within: str | None = None) -> WhoSaw | ErasedAnswer:
    """Which steps, checkpoints and models saw a ``subject`` or a ``record``.

    Raises:
        NotFoundError: no dataset has it, and none ever had.
        AmbiguousIdError: it is in several namespaces or datasets, and ``within`` names none.
    """
    positions = resolve(store, kind, [name], within)[name]
    if not positions:
        gone = erasure(store, kind, name, within)
        if gone is None:
            raise NotFoundError(
                f"no dataset has this {kind}", hint=f"ids of a {kind} are compared as text"
            )
        return ErasedAnswer(
            kind=kind, request=gone.request_id, request_state=gone.state, date=gone.date
        )
    return _answer(store, kind, positions)


def _answer(store: Store, kind: str, positions: Mapping[str, BitMap]) -> WhoSaw:
    affected = closure(store, dict(positions))
    entered = exposures(store, affected.everything)
    with store.catalogue.read() as session:
        view = graph(session)
        sources = [node for each in entered for node in (*each.segments, *each.fits)]
        tainted = reached(edges(session), sources)
        nodes = [view.nodes[node]["node"] for node in sorted(tainted)]
        checkpoints = _of(nodes, NodeKind.CHECKPOINT)
        purged = _purged(session, checkpoints)
        incomplete = incomplete_runs(session, affected.everything)
        return WhoSaw(
            state="trained" if entered else "not-trained",
            kind=kind,
            records=sum(map(len, positions.values())),
            datasets=_names(session, affected.forgotten),
            runs=tuple(map(_seen, entered)),
            steps={each.run_id: tuple(each.steps.tolist()) for each in entered},
            checkpoints=tuple(each for each in checkpoints if each not in purged),
            purged_checkpoints=tuple(each for each in checkpoints if each in purged),
            models=_models(session, _of(nodes, NodeKind.MODEL_VERSION)),
            publications=_of(nodes, NodeKind.PUBLICATION),
            path=_path(view, entered, nodes),
            incomplete=incomplete,
            complete=not incomplete,
        )


def live_versions(session: Session) -> set[str]:
    """Versions in use: the newest of each model, and what an alias, publication or hold keeps.

    What an interim version stands in for is in use too, until the version that replaces it is made.
    """
    live: set[str] = set()
    newest: dict[tuple[str, bool], str] = {}
    for version in session.scalars(
        select(tables.ModelVersion)
        .join(tables.Model, tables.Model.id == tables.ModelVersion.model_id)
        .where(tables.Model.retired_at.is_(None), tables.ModelVersion.purged_at.is_(None))
        .order_by(tables.ModelVersion.place, tables.ModelVersion.sequence)
    ):
        newest[version.model_id, False] = version.id
        if not version.interim:
            newest[version.model_id, True] = version.id
    live.update(newest.values())
    live.update(session.scalars(select(tables.Alias.version_id)))
    live.update(
        session.scalars(
            select(tables.Publication.version_id).where(tables.Publication.withdrawn_at.is_(None))
        )
    )
    held = select(tables.ModelVersion.id).join(
        tables.Hold, tables.Hold.artefact_id == tables.ModelVersion.id
    )
    live.update(session.scalars(held.where(tables.Hold.released_at.is_(None))))
    return live


def _seen(exposure: Exposure) -> RunSeen:
    return RunSeen(
        run=exposure.run_id,
        shard=exposure.shard,
        segments=len(exposure.segments),
        steps=tuple(exposure.steps.tolist()),
        visits=exposure.visits,
    )


def _of(nodes: Sequence[Node], kind: NodeKind) -> tuple[str, ...]:
    return tuple(node.id for node in nodes if node.kind is kind)


def _names(session: Session, positions: Mapping[str, BitMap]) -> dict[str, int]:
    names = {dataset.id: dataset.name for dataset in session.scalars(select(tables.Dataset))}
    return {names[dataset]: len(found) for dataset, found in positions.items()}


def _purged(session: Session, checkpoints: Sequence[str]) -> set[str]:
    found = select(tables.Checkpoint.id).where(tables.Checkpoint.purged_at.is_not(None))
    return set(session.scalars(found)) & set(checkpoints)


def _models(session: Session, versions: Sequence[str]) -> tuple[ModelSeen, ...]:
    live = live_versions(session)
    rows = session.execute(
        select(tables.ModelVersion, tables.Model.name)
        .join(tables.Model, tables.Model.id == tables.ModelVersion.model_id)
        .order_by(tables.Model.name, tables.ModelVersion.sequence)
    )
    return tuple(
        ModelSeen(
            id=version.id,
            model=name,
            sequence=version.sequence,
            live=version.id in live,
            purged=version.purged_at is not None,
        )
        for version, name in rows
        if version.id in set(versions)
    )


def _path(
    view: "nx.MultiDiGraph[str]", entered: Sequence[Exposure], nodes: Sequence[Node]
) -> tuple[Node, ...]:
    """From a dataset version to the last model version it reached, or as far as influence goes."""
    origins = {node: each.version_id for each in entered for node in each.segments}
    origins |= {fit: next(view.predecessors(fit)) for each in entered for fit in each.fits}
    if not origins:
        return ()
    taint = influence(view)
    models = [node.id for node in nodes if node.kind is NodeKind.MODEL_VERSION]
    if models:
        ways = nx.single_target_shortest_path(taint, models[-1])
        way = min((ways[node] for node in origins if node in ways), key=len)
    else:
        way = max(nx.single_source_shortest_path(taint, next(iter(origins))).values(), key=len)
    return tuple(view.nodes[node]["node"] for node in (origins[way[0]], *way))

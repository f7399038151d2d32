"""Questions about people and records: which steps, checkpoints and models saw them, and how."""

from collections import Counter, deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Literal, Self

import networkx as nx
from pydantic import BaseModel, ConfigDict
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import Erased, Identified, identify
from lineage.provenance.exposure import Exposure, incomplete_runs
from lineage.provenance.gone import gone_runs
from lineage.provenance.graph import graph, influence
from lineage.provenance.model import EdgeKind, Node, NodeKind, kind_of
from lineage.provenance.reach import NOW, Moment, Reach
from lineage.provenance.selection import Chosen, Measured, chosen, measured
from lineage.provenance.spread import spread
from lineage.store import Store
from lineage.training.recording import bounds_of, recording_of
from storage.catalogue import tables


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class RunSeen(_Answer):
    """A run that some records entered: how many segments, and its steps that trained on them.

    ``first_step`` is None where only artefacts were fitted on them.
    """

    run: str
    shard: int
    segments: int
    first_step: int | None
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

    ``erased`` counts those of the ``asked`` ids that are gone, by the request that erased them: an
    id that is gone from one namespace or dataset may have live rows in another.
    ``incomplete`` names runs that were given records nobody knows, and ``gone`` those that were
    given rows of these records which are erased since: in which steps nobody can tell. The answer
    is ``complete`` if both are empty.
    ``bounds`` are those of the steps that are upper bounds: of the records named for such a step,
    its update may have learned from fewer. ``measured`` and ``chosen`` tell what may have steered a
    choice, and taint nothing.
    """

    state: Literal["trained", "not-trained"]
    kind: str
    asked: int
    erased: Mapping[str, int]
    records: int
    datasets: Mapping[str, int]
    runs: tuple[RunSeen, ...]
    steps: Mapping[str, tuple[int, ...]]
    bounds: Mapping[str, tuple[int, ...]]
    checkpoints: tuple[str, ...]
    purged_checkpoints: tuple[str, ...]
    models: tuple[ModelSeen, ...]
    publications: tuple[str, ...]
    path: tuple[Node, ...]
    measured: tuple[Measured, ...]
    chosen: tuple[Chosen, ...]
    incomplete: tuple[str, ...]
    gone: tuple[str, ...]
    complete: bool


class ErasedAnswer(_Answer):
    """All that was asked about was erased, or is fenced meanwhile; the newest request says so."""

    state: Literal["erased"] = "erased"
    kind: str
    request: str
    request_state: str
    date: datetime
    complete: Literal[True] = True

    @classmethod
    def of(cls, kind: str, covering: Iterable[Erased]) -> Self:
        """The answer about ids that these requests cover."""
        newest = max(covering, key=lambda each: each.date)
        return cls(
            kind=kind, request=newest.request_id, request_state=newest.state, date=newest.date
        )


def who_saw(
    store: Store,
    kind: str,
    names: str | Sequence[str],
    within: str | None = None,
    moment: Moment = NOW,
) -> WhoSaw | ErasedAnswer:
    """Which steps, checkpoints and models saw a ``subject`` or a ``record``, or any of several.

    Raises:
        UnknownIdError: no dataset has one of them, and none ever had.
        AmbiguousIdError: it is in several namespaces or datasets, and ``within`` names none.
        NotFoundError: there is no namespace or dataset ``within``, or no such ``moment``.
        InvalidInputError: the ``moment`` is none of its run.
    """
    names = [names] if isinstance(names, str) else names
    found = identify(store, kind, names, within)
    if found.erased and not found.positions:
        return ErasedAnswer.of(kind, found.erasures)
    return _answer(store, kind, len(set(names)), found, moment)


def _answer(store: Store, kind: str, asked: int, found: Identified, moment: Moment) -> WhoSaw:
    spreading = spread(store, found.positions, moment)
    affected, came = spreading.closure, spreading.reach
    checkpoints = _of(came.nodes, NodeKind.CHECKPOINT)
    models = _of(came.nodes, NodeKind.MODEL_VERSION)
    with store.catalogue.read() as session:
        purged = _purged(session, checkpoints)
        incomplete = incomplete_runs(session, affected.everything, moment.run)
        gone = gone_runs(store, session, affected.everything, moment)
        return WhoSaw(
            state="trained" if came.nodes or gone else "not-trained",
            kind=kind,
            asked=asked,
            erased=Counter(each.request_id for each in found.erasures),
            records=sum(map(len, found.positions.values())),
            datasets=_names(session, affected.forgotten),
            runs=tuple(map(_seen, came.entered)),
            steps={each.run_id: tuple(each.steps.tolist()) for each in came.entered},
            bounds=_bounds(session, came.entered),
            checkpoints=tuple(each for each in checkpoints if each not in purged),
            purged_checkpoints=tuple(each for each in checkpoints if each in purged),
            models=_models(session, models),
            publications=_of(came.nodes, NodeKind.PUBLICATION),
            path=_path(graph(session), came, _in_time(session, {*models})),
            measured=measured(session, affected.everything, moment),
            chosen=chosen(session, affected.everything, models),
            incomplete=incomplete,
            gone=gone,
            complete=not incomplete and not gone,
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
        first_step=int(exposure.steps[0]) if len(exposure.steps) else None,
        steps=tuple(exposure.steps.tolist()),
        visits=exposure.visits,
    )


def _bounds(session: Session, entered: Iterable[Exposure]) -> dict[str, tuple[int, ...]]:
    """Return the steps that are upper bounds, of each run that has some."""
    found = {}
    for each in entered:
        recorded = recording_of(session, each.run_id)
        bounds = BitMap() if recorded is None else bounds_of(recorded)
        if steps := bounds.intersection(BitMap(each.steps)):
            found[each.run_id] = tuple(steps)
    return found


def _of(nodes: Iterable[str], kind: NodeKind) -> tuple[str, ...]:
    return tuple(sorted(node for node in nodes if kind_of(node) is kind))


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


def _in_time(session: Session, versions: Collection[str]) -> list[str]:
    """Model versions in the order in which they were made."""
    made = tables.ModelVersion
    found = session.scalars(select(made.id).order_by(made.created_at, made.sequence))
    return [each for each in found if each in versions]


def _path(view: "nx.MultiDiGraph[str]", came: Reach, models: Sequence[str]) -> tuple[Node, ...]:
    """From a dataset version to the last model version it reached, or as far as influence goes.

    Where a model taught what the version holds, the way begins before that model.
    """
    if not came.nodes:
        return ()
    before = _breadth_first(influence(view), sorted(came.origins))
    last = models[-1] if models else [node for node in before if node in came.nodes][-1]
    at: str | None = last
    way: list[str] = []
    while at is not None:
        way = [*_back(before, at), *way]
        holders = (EdgeKind.TRAINS, EdgeKind.FITTED_ON)
        origin = next(s for s, _, kind in view.in_edges(way[0], keys=True) if kind in holders)
        way.insert(0, origin)
        at = next((each for each in _makers(view, origin) if each in before), None)
    return tuple(view.nodes[node]["node"] for node in way)


def _back(before: Mapping[str, str | None], node: str) -> list[str]:
    way = [node]
    while (earlier := before[way[0]]) is not None:
        way.insert(0, earlier)
    return way


def _makers(view: "nx.MultiDiGraph[str]", version: str) -> Iterator[str]:
    """The transforms that made a version, or one that it succeeds."""
    for start, _, kind in view.in_edges(version, keys=True):
        if kind is EdgeKind.WRITES:
            yield start
        elif kind is EdgeKind.SUCCEEDS:
            yield from _makers(view, start)


def _breadth_first(view: "nx.DiGraph[str]", origins: Sequence[str]) -> dict[str, str | None]:
    """Every node that can be reached, nearest first, and the one before it on a shortest way."""
    before: dict[str, str | None] = dict.fromkeys(origins)
    waiting = deque(origins)
    while waiting:
        node = waiting.popleft()
        for following in view.successors(node):
            if following not in before:
                before[following] = node
                waiting.append(following)
    return before

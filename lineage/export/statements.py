"""PROV statements about runs and what lies around them.

Nodes of the provenance graph are entities, but for transforms and segments, which are activities as
runs, trainings and steps are. A relation that is an edge of the graph has the edge's semantics as
its ``prov:type``, so that influence can be told from a container and from selection.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import networkx as nx

from lineage.export.runs import ExportedRun, steps
from lineage.provenance.model import SEMANTICS, EdgeKind, NodeKind, Semantics, kind_of
from lineage.store import Store
from storage.catalogue import tables

if TYPE_CHECKING:
    from prov.identifier import QualifiedName
    from prov.model import ProvDocument

NAMESPACE = "urn:expunge:"

ACTIVITIES = frozenset({NodeKind.TRANSFORM, NodeKind.SEGMENT})
"""The kinds of nodes that are something happening; every other is a thing."""

CHOICES = frozenset({EdgeKind.DECIDES, EdgeKind.LOSES})
"""What a version was chosen by, and over."""

NODES: dict[NodeKind, tuple[type[Any], tuple[str, ...]]] = {
    NodeKind.DATASET_VERSION: (
        tables.DatasetVersion,
        ("sequence", "rows", "live", "root", "digest"),
    ),
    NodeKind.TRANSFORM: (tables.Transform, ("ref", "source", "scope", "rows")),
    NodeKind.FIT: (tables.Fit, ("ordinal", "digest")),
    NodeKind.SEGMENT: (tables.Segment, ("first_step", "visits", "skipped", "environment")),
    NodeKind.CHECKPOINT: (tables.Checkpoint, ("step", "edition", "digest", "size", "consumed")),
    NodeKind.MODEL_VERSION: (
        tables.ModelVersion,
        ("sequence", "aggregation", "digest", "interim"),
    ),
    NodeKind.PUBLICATION: (tables.Publication, ()),
}
"""The table of each kind of node, and the columns that are told.

Recipients, reasons, folders, settings and positions stay in the store.
"""


class Statements:
    """Writes what is known of a view of the graph, whose ``rows`` are by node, into a document."""

    def __init__(
        self,
        document: "ProvDocument",
        view: "nx.MultiDiGraph[str]",
        rows: Mapping[str, Any],
        names: Mapping[str, str],
    ) -> None:
        from prov.constants import PROV

        self._document = document
        self._view = view
        self._rows = rows
        self._names = names
        self._name = document.add_namespace("expunge", NAMESPACE)
        self._prov = PROV

    def agents(self, runs: Iterable[ExportedRun]) -> None:
        """The programs, and the software that executed or watched them."""
        programs = {run.program.id: run.program for run in runs}
        self._agent("software", {"name": "expunge"})
        for program in programs.values():
            self._agent(program.id, {"ref": program.ref, "source": program.source})

    def training(self, row: tables.Training, runs: Iterable[ExportedRun]) -> None:
        """A training, which started its runs."""
        about = self._about("Training", {"state": row.state})
        self._document.activity(self._name[row.id], row.created_at, row.ended_at, about)
        for run in runs:
            self._document.start(self._name[run.id], starter=self._name[row.id])

    def run(self, run: ExportedRun) -> None:
        """A run, who carried it out, what it was given, and the run whose state it began with."""
        document, row, me = self._document, run.row, self._name[run.id]
        about = self._about("Run", _facts_of(run))
        began = None if row.state == "pending" else row.created_at
        document.activity(me, began, row.ended_at, about)
        document.association(me, self._name[run.program.id])
        role = {"prov:role": self._name["watched" if run.observed else "executed"]}
        document.association(me, self._name["software"], other_attributes=role)
        for given in run.inputs:
            if given.version.id in self._view:
                chosen = not (given.trains or given.fits)
                kind = Semantics.SELECTION if chosen else Semantics.REFERENCE
                used = self._name[given.version.id]
                document.usage(me, used, other_attributes=self._about(kind, {}))
        if row.start_id is not None and row.start_id in self._rows:
            document.communication(me, self._name[self._rows[row.start_id].run_id])

    def nodes(self, runs: Mapping[str, ExportedRun]) -> None:
        """Every node of the view; what was purged or withdrawn is invalidated."""
        document = self._document
        for node, row in self._rows.items():
            me, kind = self._name[node], kind_of(node)
            about = self._about(_class_of(kind), self._facts(kind, row))
            if kind is NodeKind.MODEL_VERSION:
                about.append(("prov:type", self._prov["Collection"]))
            if kind in ACTIVITIES:
                document.activity(me, None, self._ended(row), about)
            else:
                document.entity(me, about)
                self._lifetime(me, row)
            if kind is NodeKind.SEGMENT:
                document.start(me, starter=self._name[row.run_id])
            elif kind in (NodeKind.CHECKPOINT, NodeKind.FIT):
                document.attribution(me, self._name[runs[row.run_id].program.id])

    def edges(self) -> None:
        """Every edge of the view, and the derivations through what lies between two things."""
        for start, end, kind in sorted(self._view.edges(keys=True)):
            self._edge(start, end, kind)
        for node in self._rows:
            if kind_of(node) in ACTIVITIES:
                self._derivations(node)

    def steps(self, store: Store, run: ExportedRun) -> None:
        """The executed optimizer steps of a run, each started by its segment."""
        for step in steps(store, run):
            me, segment = self._name[f"{run.id}/step-{step.number}"], step.lap.segment.id
            facts = {"step": step.number, "records": step.records}
            self._document.activity(me, None, None, self._about("Step", facts))
            self._document.start(me, starter=self._name[segment])

    def _edge(self, start: str, end: str, kind: EdgeKind) -> None:
        document, before, after = self._document, self._name[start], self._name[end]
        about = self._about(SEMANTICS[kind], {"edge": str(kind)})
        if kind_of(end) in ACTIVITIES:
            document.usage(after, before, other_attributes=about)
        elif kind_of(start) in ACTIVITIES:
            when = self._rows[end].created_at
            document.generation(after, before, when, other_attributes=about)
        elif kind in CHOICES:
            document.influence(after, before, other_attributes=about)
        else:
            document.derivation(after, before, other_attributes=about)
        if kind is EdgeKind.MEMBER:
            document.membership(after, before)

    def _derivations(self, activity: str) -> None:
        """What an activity made derives from what it used, but not from what it measured."""
        for start, _, given in sorted(self._view.in_edges(activity, keys=True)):
            if SEMANTICS[given] is Semantics.SELECTION:
                continue
            for _, end, made in sorted(self._view.out_edges(activity, keys=True)):
                taints = {SEMANTICS[given], SEMANTICS[made]} == {Semantics.INFLUENCE}
                kind = Semantics.INFLUENCE if taints else Semantics.REFERENCE
                about = self._about(kind, {})
                after, before, through = (self._name[node] for node in (end, start, activity))
                self._document.derivation(after, before, through, other_attributes=about)

    def _lifetime(self, me: "QualifiedName", row: Any) -> None:
        if isinstance(row, tables.Fit):
            self._document.generation(me, self._name[row.run_id], row.created_at)
        elif not any(kind_of(each) in ACTIVITIES for each in self._view.predecessors(row.id)):
            self._document.generation(me, None, row.created_at)
        if (ended := _gone_at(row)) is not None:
            self._document.invalidation(me, None, ended)

    def _ended(self, row: Any) -> datetime:
        """When an activity was over: the end of a segment is its checkpoint."""
        if isinstance(row, tables.Segment):
            row = self._rows[row.checkpoint_id]
        ended: datetime = row.created_at
        return ended

    def _facts(self, kind: NodeKind, row: Any) -> dict[str, Any]:
        facts = {name: getattr(row, name) for name in NODES[kind][1]}
        match row:
            case tables.DatasetVersion():
                facts["dataset"] = self._names[row.dataset_id]
            case tables.ModelVersion():
                facts["model"] = self._names[row.model_id]
            case tables.Segment():
                facts["end_step"] = self._rows[row.checkpoint_id].step
        return facts

    def _agent(self, identifier: str, facts: Mapping[str, Any]) -> None:
        about = [("prov:type", self._prov["SoftwareAgent"]), *_told(facts)]
        self._document.agent(self._name[identifier], about)

    def _about(self, kind: str, facts: Mapping[str, Any]) -> list[tuple[str, Any]]:
        """The attributes of a record: its class among ours, and facts that are known."""
        return [("prov:type", self._name[kind]), *_told(facts)]


def _told(facts: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    return ((f"expunge:{name}", value) for name, value in facts.items() if value is not None)


def _class_of(kind: NodeKind) -> str:
    """The class of a kind of node, as ``DatasetVersion``."""
    return kind.value.title().replace("-", "")


def _facts_of(run: ExportedRun) -> dict[str, Any]:
    """What is told of a run, but its settings: they may hold anything."""
    schedule = run.schedule
    risk = {f"risk_{name}": value for name, value in schedule.pop("risk", {}).items()}
    return {
        "model": run.model,
        "state": run.row.state,
        "observed": run.observed,
        "complete": not run.unknown,
        "unknown_visits": run.unknown,
        "replay_of": run.row.replay_of,
        **{f"schedule_{name}": _plain(value) for name, value in {**schedule, **risk}.items()},
    }


def _plain(value: Any) -> Any:
    """A list as text, which PROV has a form for."""
    return ",".join(map(str, value)) if isinstance(value, list) else value


def _gone_at(row: Any) -> datetime | None:
    """When a thing was purged or withdrawn; a dataset version never is."""
    gone: datetime | None = getattr(row, "purged_at", None) or getattr(row, "withdrawn_at", None)
    return gone

"""W3C PROV documents: what a run descends from, and what was made of it."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import networkx as nx
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.errors import MissingPackageError
from lineage.export.runs import Exported, described, exported
from lineage.export.statements import ACTIVITIES, CHOICES, NODES, Statements
from lineage.provenance.graph import graph
from lineage.provenance.model import kind_of
from lineage.store import Store
from storage.catalogue import tables

if TYPE_CHECKING:
    from prov.model import ProvDocument


def document(store: Store, identifier: str, *, with_steps: bool = False) -> "ProvDocument":
    """The document of a run, or of all runs of a training; it is built in memory.

    ``with_steps`` adds an activity for each executed optimizer step of these runs.

    Raises:
        NotFoundError: there is no such run or training.
        MissingPackageError: the package prov is not installed.
    """
    try:
        from prov.model import ProvDocument
    except ModuleNotFoundError as error:
        raise MissingPackageError(
            "an export to PROV needs the package prov", hint="pip install 'expunge[prov]'"
        ) from error
    with store.catalogue.read() as session:
        found = exported(session, identifier)
        view = _selected(graph(session), found)
        rows = _rows(session, view)
        segments = (row for row in rows.values() if isinstance(row, tables.Segment))
        runs = {run.id: run for run in found.runs}
        for run_id in {segment.run_id for segment in segments} - runs.keys():
            runs[run_id] = described(session, session.get_one(tables.Run, run_id))
        names = _names(session)
    made = ProvDocument()
    told = Statements(made, view, rows, names)
    told.agents(runs.values())
    for run in runs.values():
        told.run(run)
    if found.training is not None:
        told.training(found.training.row, found.runs)
    told.nodes(runs)
    told.edges()
    for run in found.runs if with_steps else ():
        told.steps(store, run)
    return made


def _selected(whole: "nx.MultiDiGraph[str]", found: Exported) -> "nx.MultiDiGraph[str]":
    """What the runs made, all it descends from, and what was made of it without another run.

    Choices are told of the models among these, and not followed.
    """
    own = {
        node
        for run in found.runs
        for lap in run.laps
        for node in (lap.segment.id, lap.checkpoint.id)
    }
    given = {given.version.id for run in found.runs for given in run.inputs}

    choices = [edge for edge in whole.edges(keys=True) if edge[2] in CHOICES]
    followed = whole.copy()
    followed.remove_edges_from(choices)

    def things_made_of(node: str) -> Iterator[str]:
        return (each for each in followed.successors(node) if kind_of(each) not in ACTIVITIES)

    kept = _reached(own | given, followed.predecessors) | _reached(own, things_made_of)
    return whole.subgraph(kept | {start for start, chosen, _ in choices if chosen in kept})


def _reached(start: set[str], following: Callable[[str], Iterator[str]]) -> set[str]:
    found, waiting = set(start), list(start)
    while waiting:
        fresh = set(following(waiting.pop())) - found
        found |= fresh
        waiting += fresh
    return found


def _rows(session: Session, view: "nx.MultiDiGraph[str]") -> dict[str, Any]:
    kinds = {kind_of(node) for node in view}
    tables_of = (table for kind, (table, _) in NODES.items() if kind in kinds)
    every = (row for table in tables_of for row in session.scalars(select(table)))
    return {row.id: row for row in every if row.id in view}


def _names(session: Session) -> dict[str, str]:
    """The names of datasets and models, by id."""
    return {
        identifier: name
        for table in (tables.Dataset, tables.Model)
        for identifier, name in session.execute(select(table.id, table.name))
    }

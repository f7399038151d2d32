"""The graph: which edges there are, what they mean for deletion, and what taint walks along."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings

from lineage.data.closure import closure
from lineage.data.identity import resolve
from lineage.provenance.chains import chains
from lineage.provenance.exposure import exposures
from lineage.provenance.graph import edges as links
from lineage.provenance.graph import edges_between, graph, influence, reached
from lineage.provenance.model import SEMANTICS, EdgeKind, NodeKind, Semantics
from lineage.training.ensemble import Recipe
from storage.catalogue import tables
from storage.catalogue.tables import new_id

DATA, RUNS = NodeKind.DATASET_VERSION, NodeKind.SEGMENT
ENDS = {
    EdgeKind.SUCCEEDS: (DATA, DATA),
    EdgeKind.READS: (DATA, NodeKind.TRANSFORM),
    EdgeKind.WRITES: (NodeKind.TRANSFORM, DATA),
    EdgeKind.FITTED_ON: (DATA, NodeKind.FIT),
    EdgeKind.FEEDS: (NodeKind.FIT, RUNS),
    EdgeKind.TRAINS: (DATA, RUNS),
    EdgeKind.CONTINUES: (NodeKind.CHECKPOINT, RUNS),
    EdgeKind.GIVEN: (NodeKind.CHECKPOINT, RUNS),
    EdgeKind.TEACHES: (NodeKind.CHECKPOINT, NodeKind.TRANSFORM),
    EdgeKind.PRODUCES: (RUNS, NodeKind.CHECKPOINT),
    EdgeKind.MEMBER: (NodeKind.CHECKPOINT, NodeKind.MODEL_VERSION),
    EdgeKind.PUBLISHED: (NodeKind.MODEL_VERSION, NodeKind.PUBLICATION),
    EdgeKind.MEASURES: (DATA, RUNS),
    EdgeKind.DECIDES: (DATA, NodeKind.MODEL_VERSION),
    EdgeKind.LOSES: (NodeKind.MODEL_VERSION, NodeKind.MODEL_VERSION),
}


@pytest.mark.parametrize("kind", EdgeKind)
def test_every_kind_of_edge_has_declared_deletion_semantics(kind: EdgeKind) -> None:
    assert kind in SEMANTICS
    assert kind in ENDS


def test_only_what_hands_on_learned_state_is_influence() -> None:
    """A dataset version is a container: walking from it would taint all that ever used it."""
    taints = {kind for kind in EdgeKind if SEMANTICS[kind] is Semantics.INFLUENCE}
    steers = {kind for kind in EdgeKind if SEMANTICS[kind] is Semantics.SELECTION}
    assert steers == {EdgeKind.MEASURES, EdgeKind.DECIDES, EdgeKind.LOSES}
    assert taints == {kind for kind in set(EdgeKind) - steers if DATA not in ENDS[kind]}


def edges(view: Any) -> Iterator[tuple[str, str, EdgeKind]]:
    return ((start, end, data["kind"]) for start, end, data in view.edges(data=True))


def test_every_edge_joins_what_its_kind_says_and_time_never_turns_back(
    histories: ModuleType,
) -> None:
    @settings(max_examples=6)
    @given(histories.histories())
    def holds(history: Any) -> None:
        with histories.lived(history) as lived, lived.store.catalogue.read() as session:
            view = graph(session)
            assert nx.is_directed_acyclic_graph(view)
            for start, end, kind in edges(view):
                kinds = view.nodes[start]["node"].kind, view.nodes[end]["node"].kind
                assert kinds == ENDS[kind]

    holds()


@dataclass(frozen=True)
class Seen:
    """A history that was lived through, its graph, and what somebody in it taints."""

    lived: Any
    view: Any
    tainted: set[str]

    def ids(self, query: str) -> set[str]:
        return {node for row in self.lived.sql(query) for node in row}

    def ends(self, kind: EdgeKind) -> set[str]:
        return {end for _, end, each in edges(self.view) if each is kind}


@contextmanager
def seen(
    histories: ModuleType, kind: str, name: str, within: str, *trainings: Any
) -> Iterator[Seen]:
    """Live through trainings on ``a`` and ``b``, and follow somebody."""
    people = [("p1",), ("p2",), ("p3",), ()]
    rows = {
        "a": tuple((n, str(n), people[n % 4]) for n in range(24)),
        "b": tuple((1_000 + n, str(n), ("q",)) for n in range(6)),
    }
    with histories.lived(histories.History(rows, trainings)) as lived:
        positions = resolve(lived.store, kind, [name], within)[name]
        found = exposures(lived.store, closure(lived.store, positions).everything)
        with lived.store.catalogue.read() as session:
            view, every = graph(session), list(links(session))
            between, runs = list(edges_between(session)), chains(session)
        sources = [node for each in found for node in (*each.segments, *each.fits)]
        tainted = reached(every, sources)
        assert reached(between, sources, runs) == tainted
        yield Seen(lived, view, tainted)


LAPS = (
    "SELECT s.id, s.run_id, s.first_step, c.step FROM segments s"
    " JOIN checkpoints c ON c.id = s.checkpoint_id"
)


def measured(lived: Any) -> set[str]:
    """Segments during which, or at whose ends, the programs measured something."""
    at = {run: {s for kind, s, _ in e if kind == "evaluate"} for run, e in lived.diary.items()}
    return {
        segment
        for segment, run, first, last in lived.sql(LAPS)
        if any(first <= step <= last for step in at[run])
    }


RECIPE = Recipe(shards=2, epochs=3, batch_size=4, checkpoint_every=4)


def test_validation_data_is_shown_and_taints_nothing(histories: ModuleType) -> None:
    training = histories.Training("a", RECIPE, evaluate=("b",))
    with seen(histories, "subject", "q", "people", training) as it:
        assert it.tainted == set()
        assert it.ends(EdgeKind.MEASURES) == measured(it.lived) != set()


def test_measuring_on_the_training_data_hides_nothing(histories: ModuleType) -> None:
    training = histories.Training("a", RECIPE, evaluate=("a",))
    with seen(histories, "subject", "p1", "people", training) as it:
        assert it.ends(EdgeKind.TRAINS) == it.ids("SELECT id FROM segments")
        assert it.ends(EdgeKind.MEASURES) == measured(it.lived) != set()


@pytest.mark.parametrize("dataset", ["a", "b"])
def test_a_fit_taints_the_whole_run_of_its_shard_and_no_other(
    histories: ModuleType, dataset: str
) -> None:
    number = 5 if dataset == "a" else 1_005
    training = histories.Training("a", RECIPE, fit=(dataset,))
    with seen(histories, "record", "5", dataset, training) as it:
        (run,) = [
            run
            for run, entries in it.lived.diary.items()
            if any(kind == "fit" and number in rows for kind, _, rows in entries)
        ]
        its_own = it.ids(f"SELECT id, checkpoint_id FROM segments WHERE run_id = '{run}'")
        others = it.ids(f"SELECT id, checkpoint_id FROM segments WHERE run_id != '{run}'")
        assert len(its_own) > 4
        assert its_own <= it.tainted
        assert others
        assert not others & it.tainted


@pytest.mark.parametrize("start", [0, 1, 2])
def test_a_fine_tune_is_tainted_by_what_its_start_had_seen_and_by_nothing_later(
    histories: ModuleType, start: int
) -> None:
    first = histories.Training("a", Recipe(epochs=1, batch_size=8, checkpoint_every=1))
    second = histories.Training("b", Recipe(epochs=1, batch_size=8), model="n", start=start)
    with seen(histories, "record", "5", "a", first, second) as it:
        run, tuned = it.lived.diary
        (saw,) = [step for _, step, rows in it.lived.diary[run] if 5 in rows]
        assert saw == 1
        after = it.ids(f"SELECT id FROM checkpoints WHERE run_id = '{tuned}'")
        assert it.tainted & after == (after if saw <= start else set())


def test_taint_ends_at_the_publications_of_a_version(histories: ModuleType) -> None:
    with seen(histories, "subject", "p1", "people", histories.Training("a", RECIPE)) as it:
        (version,) = it.lived.versions
        publication = tables.Publication(
            id=new_id("pub"),
            version_id=version,
            recipient="a hospital",
            created_at=it.lived.store.clock(),
        )
        with it.lived.store.catalogue.write() as session:
            session.add(publication)
        with it.lived.store.catalogue.read() as session:
            view, every = graph(session), list(links(session))
        assert reached(every, [version]) == {version, publication.id}
        assert nx.descendants(influence(view), publication.id) == set()

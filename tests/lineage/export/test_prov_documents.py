"""PROV documents: valid, read back whole, and with the same influence as the graph."""

import json
import sys
from collections.abc import Iterator
from datetime import datetime
from types import ModuleType
from typing import Any

import jsonschema
import networkx as nx
import pytest
from hypothesis import example, given, settings
from prov.constants import PROV
from prov.model import (
    ProvActivity,
    ProvAgent,
    ProvDerivation,
    ProvDocument,
    ProvEntity,
    ProvGeneration,
    ProvInfluence,
    ProvInvalidation,
    ProvMembership,
    ProvStart,
    ProvUsage,
)

from lineage.data.dataset import add, head
from lineage.errors import MissingPackageError
from lineage.export.prov import document
from lineage.export.statements import CHOICES, NODES
from lineage.provenance.graph import graph, influence
from lineage.provenance.model import EdgeKind, NodeKind, kind_of
from lineage.training.choice import choose
from lineage.training.execute import execute
from lineage.training.registry import publish, withdraw
from storage.catalogue import tables
from storage.errors import NotFoundError
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

FORMATS = ("json", "provn")
ENDS: dict[type[Any], tuple[type[Any] | None, type[Any] | None]] = {
    ProvUsage: (ProvActivity, ProvEntity),
    ProvGeneration: (ProvEntity, ProvActivity),
    ProvDerivation: (ProvEntity, ProvEntity),
    ProvMembership: (ProvEntity, ProvEntity),
}
"""What the first two arguments of a relation are."""

Triple = tuple[str, str, str]


def text(name: Any) -> str:
    return str(name.localpart)


def attributes(record: Any) -> dict[str, Any]:
    return {str(name): value for name, value in record.attributes}


def declared(made: ProvDocument, kind: type[Any]) -> dict[str, Any]:
    return {text(each.identifier): each for each in made.get_records(kind)}


def related(made: ProvDocument) -> Iterator[Triple]:
    """Every relation that is an edge of the graph: from, to, semantics."""
    for record in made.get_records((ProvUsage, ProvGeneration, ProvDerivation)):
        for name, kind in record.attributes:
            if name == PROV["type"]:
                after, before = (text(each) for each in record.args[:2])
                yield before, after, text(kind)


def closure(pairs: Any) -> set[tuple[str, str]]:
    return set(nx.transitive_closure(nx.DiGraph(list(pairs))).edges)


def assert_sound(made: ProvDocument) -> None:
    """No relation leads to nowhere, nothing is two kinds of thing, and time goes forward."""
    kinds = {each: declared(made, each) for each in (ProvEntity, ProvActivity, ProvAgent)}
    assert not kinds[ProvEntity].keys() & kinds[ProvActivity].keys()
    names = {name for known in kinds.values() for name in known}
    born: dict[str, datetime] = {}
    for record in made.get_records():
        if not record.is_relation():
            continue
        found = [text(each) for each in record.args if hasattr(each, "localpart")]
        assert set(found) <= names
        for name, kind in zip(found, ENDS.get(type(record), ()), strict=False):
            assert name in kinds[kind]
        if isinstance(record, ProvGeneration) and record.args[2] is not None:
            born[found[0]] = record.args[2]
    for record in made.get_records(ProvInvalidation):
        assert record.args[2] >= born[text(record.args[0])]
    for activity in kinds[ProvActivity].values():
        begun, ended = activity.get_startTime(), activity.get_endTime()
        assert begun is None or ended is None or begun <= ended


@pytest.fixture
def run(trained: Any, workshop: Any) -> Any:
    """The run of the first shard."""
    rows = workshop.rows_of(trained, tables.Run)
    return next(row for row in rows if row.specification["schedule"]["shard"] == 0)


def test_a_document_of_any_run_is_valid_reads_back_and_has_the_influence_of_the_graph(
    histories: ModuleType, prov: Any, everything: Any
) -> None:
    @settings(max_examples=2)
    @example(everything)
    @given(histories.histories())
    def holds(history: Any) -> None:
        with histories.lived(history) as lived:
            with lived.store.catalogue.read() as session:
                view = graph(session)
            if history is everything:
                kinds = {kind for _, _, kind in view.edges(keys=True)}
                assert kinds == set(EdgeKind) - {EdgeKind.PUBLISHED, *CHOICES}
            for run in lived.diary:
                made = document(lived.store, run)
                assert_sound(made)
                prov.check(made)
                again = ProvDocument.deserialize(content=made.serialize())
                assert_same_influence(lived, run, view, again)

    holds()


def assert_same_influence(lived: Any, run: str, view: Any, made: ProvDocument) -> None:
    """Against networkx: what lies above the run, and the models and publications right below."""
    own = {
        name
        for query in ("SELECT id FROM segments", "SELECT id FROM checkpoints")
        for (name,) in lived.sql(f"{query} WHERE run_id = '{run}'")
    }
    given = {
        name for (name,) in lived.sql(f"SELECT version_id FROM run_inputs WHERE run_id = '{run}'")
    }
    kept = own | given
    for node in own | given:
        kept |= nx.ancestors(view, node)
    models = {n for node in own for n in view.successors(node) if n.startswith("mv-")}
    kept |= models | {n for node in models for n in view.successors(node)}
    told = declared(made, ProvEntity).keys() | declared(made, ProvActivity).keys()
    assert {name for name in told if not name.startswith(("run-", "train-"))} == kept
    part = view.subgraph(kept)
    triples = list(related(made))
    assert closure((a, b) for a, b, kind in triples if kind == "influence") == closure(
        influence(part).edges
    )
    assert {(a, b) for a, b, kind in triples if kind == "selection" and b.startswith("seg-")} == {
        (a, b) for a, b, kind in part.edges(keys=True) if kind is EdgeKind.MEASURES
    }
    derived = {tuple(map(text, record.args[:2])) for record in made.get_records(ProvMembership)}
    assert derived == {(b, a) for a, b, kind in part.edges(keys=True) if kind is EdgeKind.MEMBER}


def test_every_kind_of_node_can_be_told(trained: Any) -> None:
    assert NODES.keys() == set(NodeKind)
    for table, columns in NODES.values():
        assert set(columns) <= set(table.__table__.columns.keys())
        assert not set(columns) & {"reason", "recipient", "root_folder", "deleted", "seen"}


def test_a_training_is_told_with_all_its_runs(trained: Any, run: Any, workshop: Any) -> None:
    made = document(trained, run.training_id)
    runs = {row.id for row in workshop.rows_of(trained, tables.Run)}
    started = {text(each.args[0]): text(each.args[2]) for each in made.get_records(ProvStart)}
    assert {name for name, by in started.items() if by == run.training_id} == runs
    assert len(declared(made, ProvEntity)) == 1 + len(
        workshop.rows_of(trained, tables.Checkpoint)
    ) + len(workshop.rows_of(trained, tables.ModelVersion))
    assert document(trained, run.training_id).serialize() == made.serialize()


def test_steps_are_activities_that_their_segment_started(
    trained: Any, run: Any, workshop: Any, prov: Any
) -> None:
    made = document(trained, run.id, with_steps=True)
    prov.check(made)
    assert_sound(made)
    started = {text(each.args[0]): text(each.args[2]) for each in made.get_records(ProvStart)}
    told = declared(made, ProvActivity)
    for segment in workshop.rows_of(trained, tables.Segment, run_id=run.id):
        inside = [name for name, by in started.items() if by == segment.id]
        facts = [attributes(told[name]) for name in inside]
        assert sum(each["expunge:records"] for each in facts) == segment.visits
        first = min(each["expunge:step"] for each in facts)
        assert first == segment.first_step
        assert inside[0] == f"{run.id}/step-{first}"


def test_a_publication_names_no_recipient_and_its_end_is_told(
    trained: Any, run: Any, workshop: Any
) -> None:
    (version,) = workshop.rows_of(trained, tables.ModelVersion)
    publication = publish(trained, version.id, "St. Mary hospital").id
    made = document(trained, run.id)
    assert publication in declared(made, ProvEntity)
    assert (version.id, publication, "influence") in related(made)
    assert "hospital" not in made.serialize()
    withdraw(trained, publication)
    (row,) = workshop.rows_of(trained, tables.Publication)
    (ended,) = document(trained, run.id).get_records(ProvInvalidation)
    assert (text(ended.args[0]), ended.args[2]) == (publication, row.withdrawn_at)


def test_after_erasure_what_was_purged_is_invalidated_and_nobody_is_named(
    trained: Any, workshop: Any, prov: Any
) -> None:
    plan, _ = make_plan(trained, [accept(trained, "subject", ["person-03"]).id])
    apply(trained, plan, InProcess(trained), Options())
    gone = {}
    for table in (tables.Checkpoint, tables.ModelVersion):
        gone |= {row.id: row.purged_at for row in workshop.rows_of(trained, table) if row.purged_at}
    assert gone
    ended: dict[str, datetime] = {}
    for row in workshop.rows_of(trained, tables.Run):
        made = document(trained, row.id, with_steps=True)
        assert_sound(made)
        prov.check(made)
        ended |= {text(r.args[0]): r.args[2] for r in made.get_records(ProvInvalidation)}
        for form in FORMATS:
            written = made.serialize(format=form)
            assert not [word for word in ("person-", "record-") if word in written]
            assert workshop.SALT.hex() not in written
        if row.replay_of is not None:
            assert row.replay_of in written
    assert ended == gone


def test_a_choice_is_told_of_the_version_and_leads_nowhere(
    trained: Any, tally: Any, run: Any, workshop: Any
) -> None:
    (version,) = workshop.rows_of(trained, tables.ModelVersion)
    loser = tally.train(trained, "other", seed=1)
    choose(trained, version.id, [loser.id], {"people": "loss"})
    made = document(trained, run.id)
    assert_sound(made)
    told = {
        (*(text(each) for each in record.args[1::-1]), attributes(record)["expunge:edge"])
        for record in made.get_records(ProvInfluence)
    }
    data = head(trained, "people").id
    assert told == {(loser.id, version.id, "loses"), (data, version.id, "decides")}
    assert loser.id in declared(made, ProvEntity)
    assert not [r for r in made.get_records(ProvMembership) if text(r.args[0]) == loser.id]
    others = {row.id: row for row in workshop.rows_of(trained, tables.Run)}
    seeds = {name: row.specification["schedule"]["seed"] for name, row in others.items()}
    lost = next(name for name, seed in seeds.items() if seed == 1)
    assert version.id not in declared(document(trained, lost), ProvEntity)


def test_a_run_that_has_not_begun_or_not_ended_is_told_as_far_as_it_came(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    training = tally.prepare(store, shards=1)
    (row,) = workshop.rows_of(store, tables.Run)
    made = document(store, training)
    told = declared(made, ProvActivity)
    assert told[row.id].get_startTime() is None
    assert attributes(told[row.id])["expunge:state"] == "pending"
    assert len(declared(made, ProvEntity)) == 1
    tally.spring(9, "interrupt")
    with pytest.raises(KeyboardInterrupt):
        execute(store, row.id)
    made = document(store, row.id, with_steps=True)
    told = declared(made, ProvActivity)
    assert attributes(told[row.id])["expunge:state"] == "stopped"
    assert [kind_of(name) for name in told if name.startswith("seg-")] == [NodeKind.SEGMENT]
    assert len([name for name in told if "/step-" in name]) == 6
    assert_sound(made)


def test_names_may_hold_anything(store: Any, tally: Any, workshop: Any, prov: Any) -> None:
    name = 'a "b" \\ c\'d\n<é>'
    tally.register(store)
    rows = workshop.written(tally.folder / "odd.csv", workshop.people())
    add(store, name, rows, id_columns=("id",), subject_columns=("person",), salt=workshop.SALT)
    tally.train(store, model=name, config={"data": name}, epochs=2)
    row = workshop.rows_of(store, tables.Run)[0]
    made = document(store, row.id)
    prov.check(made)


def test_the_published_schema_finds_what_is_wrong(
    trained: Any, run: Any, judges: ModuleType
) -> None:
    validator = judges.PublishedForDocuments().validator
    whole = json.loads(document(trained, run.id).serialize())
    name = next(iter(whole["wasGeneratedBy"]))
    for section, field, wrong in (
        ("wasGeneratedBy", "prov:entity", "no uri"),
        ("wasGeneratedBy", "prov:time", "yesterday"),
        ("wasGeneratedBy", "expunge:edge", {"value": 3}),
    ):
        broken = json.loads(json.dumps(whole))
        broken[section][name][field] = wrong
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(broken)
    with pytest.raises(jsonschema.ValidationError):
        validator.validate({**whole, "wasTrainedOn": {}})


def test_a_missing_package_is_named_with_its_remedy(
    trained: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "prov.model", None)
    with pytest.raises(MissingPackageError, match="needs the package prov") as refused:
        document(trained, run.id)
    assert refused.value.hint == "pip install 'expunge[prov]'"


@pytest.mark.parametrize("identifier", ["run-0123456789", "train-0123456789"])
def test_a_run_that_is_not_there_is_not_found(store: Any, identifier: str) -> None:
    with pytest.raises(NotFoundError, match=identifier):
        document(store, identifier)

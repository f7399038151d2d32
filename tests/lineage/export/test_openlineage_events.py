"""OpenLineage events: valid by each judge, and equal to what the programs were given."""

import json
import re
from datetime import datetime
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from hypothesis import example, given, settings

from lineage.errors import ProgramFailedError
from lineage.export.openlineage import events, run_uuid
from lineage.training.events import Updated
from lineage.training.execute import execute
from lineage.training.observed import Watch
from lineage.training.watching import observe
from storage.catalogue import tables
from storage.errors import NotFoundError
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

WRONG = (ValueError, jsonschema.ValidationError)
"""What the client's classes and their reader raise, and what a validator does."""


def told(store: Any, identifier: str, **how: Any) -> list[Any]:
    return list(events(store, identifier, **how))


def fact(event: Any) -> Any:
    return event["run"]["facets"].get("expunge_training")


def shape(found: list[Any]) -> list[tuple[str, str]]:
    """The job and the kind of each event, without the steps."""
    shown = (each for each in found if each["eventType"] != "RUNNING")
    return [(each["job"]["name"], each["eventType"]) for each in shown]


@pytest.fixture
def runs(trained: Any, workshop: Any) -> list[Any]:
    rows = workshop.rows_of(trained, tables.Run)
    return sorted(rows, key=lambda row: row.specification["schedule"]["shard"])


def test_events_of_any_history_are_valid_and_name_every_step_that_was_executed(
    histories: ModuleType, oracle: ModuleType, openlineage: Any, everything: Any
) -> None:
    @settings(max_examples=3)
    @example(everything)
    @given(histories.histories())
    def holds(history: Any) -> None:
        with histories.lived(history) as lived:
            truth = oracle.truth(lived)
            ends = dict(lived.sql("SELECT run_id, max(step) FROM checkpoints GROUP BY run_id"))
            for run in lived.diary:
                found = told(lived.store, run, with_steps=True)
                running = [each for each in found if each["eventType"] == "RUNNING"]
                for event in found:
                    openlineage.check(event)
                read = f"SELECT version_id FROM run_inputs WHERE run_id = '{run}'"
                started = f"SELECT start_id FROM runs WHERE id = '{run}' AND start_id > ''"
                models = f"SELECT checkpoint_id FROM run_models WHERE run_id = '{run}'"
                inputs = next(each["inputs"] for each in found if fact(each))
                named = [each["facets"]["version"]["datasetVersion"] for each in inputs]
                assert sorted(named) == sorted(
                    name for (name,) in lived.sql(f"{read} UNION {started} UNION {models}")
                )
                steps = list(map(fact, running))
                assert [(each["step"], each["records"]) for each in steps] == sorted(
                    (step, len(rows))
                    for step, rows in truth.batches(run).items()
                    if step < ends.get(run, 0)
                )

    holds()


def test_the_steps_of_an_order_that_was_drawn_are_those_that_were_recorded(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store, rows=workshop.people(9, 3))
    tally.train(store, **workshop.RECORDED, min_batch=4)
    (run,) = workshop.rows_of(store, tables.Run)
    found = told(store, run.id, with_steps=True)
    steps = [fact(each) for each in found if each["eventType"] == "RUNNING"]
    consumed = [(step, len(ids)) for step, ids in tally.consumed()]
    assert [(each["step"], each["records"]) for each in steps] == consumed
    assert [step for step, _ in consumed] == [0, 1, 2, 4, 5, 6, 8, 9, 10]  # of 3 records: passed
    assert fact(found[-2])["skippedSteps"] == 3


def test_a_training_is_the_parent_of_its_runs(trained: Any, runs: list[Any]) -> None:
    training, (first, second) = runs[0].training_id, runs
    found = told(trained, training)
    assert shape(found) == [
        ("m", "START"),
        ("m.shard-0", "START"),
        ("m.shard-0", "COMPLETE"),
        ("m.shard-1", "START"),
        ("m.shard-1", "COMPLETE"),
        ("m", "COMPLETE"),
    ]
    ids = [each["run"]["runId"] for each in found]
    whole, one, two = (run_uuid(each) for each in (training, first.id, second.id))
    assert ids == [whole, one, one, two, two, whole]
    for event in found[1:-1]:
        parent = event["run"]["facets"]["parent"]
        assert parent["run"] == {"runId": whole}
        assert parent["job"] == {"namespace": "expunge", "name": "m"}
    assert told(trained, first.id) == [*found[:3], found[-1]]
    assert told(trained, training) == found


def test_what_went_in_and_came_out_is_named_with_its_version(
    trained: Any, runs: list[Any], workshop: Any
) -> None:
    (version,) = workshop.rows_of(trained, tables.DatasetVersion)
    (made,) = workshop.rows_of(trained, tables.ModelVersion)
    checkpoints = workshop.rows_of(trained, tables.Checkpoint, run_id=runs[0].id)
    segments = workshop.rows_of(trained, tables.Segment, run_id=runs[0].id)
    *_, ended, whole = told(trained, runs[0].id, namespace="elsewhere")
    (read,), (left,) = ended["inputs"], ended["outputs"]
    last = max(checkpoints, key=lambda each: each.step)
    assert (read["namespace"], read["name"]) == ("elsewhere", "people")
    assert read["facets"]["version"]["datasetVersion"] == version.id
    rows = read["facets"]["expunge_rows"]
    assert (rows["live"], rows["rows"], rows["root"]) == (96, 96, version.root)
    visits = sum(each.visits for each in segments)
    assert read["inputFacets"]["inputStatistics"]["rowCount"] == visits
    assert left["facets"]["version"]["datasetVersion"] == last.id
    assert left["facets"]["expunge_artefact"]["digest"] == last.digest
    done = fact(ended)
    assert (done["firstStep"], done["endStep"], done["visits"]) == (0, last.step, visits)
    assert (done["complete"], done["consumed"]) == (True, last.consumed)
    assert done["schedule"]["kind"] == "stable/1"
    (given,) = whole["outputs"]
    assert given["name"] == "m"
    assert given["facets"]["version"]["datasetVersion"] == made.id


def test_times_are_those_of_the_catalogue(trained: Any, runs: list[Any], workshop: Any) -> None:
    known = {row.created_at for row in workshop.rows_of(trained, tables.Checkpoint)}
    for row in (*runs, *workshop.rows_of(trained, tables.Training)):
        known |= {row.created_at, row.ended_at}
    found = told(trained, runs[0].training_id, with_steps=True)
    assert {datetime.fromisoformat(each["eventTime"]) for each in found} == known


def test_an_event_without_a_run_is_refused(trained: Any, runs: list[Any], openlineage: Any) -> None:
    event = told(trained, runs[0].id)[0]
    openlineage.check(event)
    del event["run"]
    with pytest.raises(WRONG, match="'run' is a required property"):
        openlineage.check(event)


def test_the_root_of_the_published_schema_takes_it_for_the_event_of_a_job(
    trained: Any, runs: list[Any], judges: ModuleType
) -> None:
    event = told(trained, runs[0].id)[0]
    del event["run"]
    judges.PublishedForEvents().validator(judges.CORE).validate(event)


def change(event: Any, place: tuple[Any, ...], wrong: Any) -> None:
    """Put something wrong into an event, or take out what is there."""
    *way, last = place
    for name in way:
        event = event[name]
    if wrong is ...:
        del event[last]
    else:
        event[last] = wrong


@pytest.mark.parametrize(
    ("place", "wrong"),
    [
        (("eventTime",), "yesterday"),
        (("producer",), "no uri"),
        (("run", "runId"), "run-0123456789"),
        (("run", "facets", "expunge_training", "visits"), -1),
        (("run", "facets", "expunge_training", "salt"), "00"),
        (("inputs", 0, "facets", "expunge_rows", "root"), "00"),
        (("inputs", 0, "inputFacets", "expunge_use", "trains"), "yes"),
        (("outputs", 0, "facets", "expunge_artefact", "_producer"), 7),
    ],
)
def test_the_judge_finds_what_is_wrong(
    trained: Any, runs: list[Any], openlineage: Any, place: tuple[Any, ...], wrong: Any
) -> None:
    event = told(trained, runs[0].id)[-2]
    openlineage.check(event)
    change(event, place, wrong)
    with pytest.raises(WRONG):
        openlineage.check(event)


PARENT = {
    "_producer": "pkg:pypi/expunge",
    "_schemaURL": "https://openlineage.io/spec/facets/1-2-0/ParentRunFacet.json#/$defs/ParentRunFacet",
    "run": {"runId": run_uuid("train-0123456789")},
    "job": {"namespace": "expunge", "name": "m"},
}


@pytest.mark.parametrize(
    ("place", "wrong", "said"),
    [
        (("run", "colour"), "red", "Run has no ['colour']"),
        (("job", "namespace"), None, "None is not of type str"),
        (("run", "runId"), "b1cc70a2790b5d02b594953015094517", "is not a 'uuid'"),
        (("eventTime",), "2026-11-26T19:00:00", "is not a 'date-time'"),
        (("eventType",), "BEGUN", "'BEGUN' is not a valid EventType"),
        (("schemaURL",), "https://openlineage.io/spec/2-0-2/OpenLineage.json", "another event"),
        (("inputs",), {}, "{} is not of type list"),
        (("run", "facets", "parent", "run", "runId"), "train-0123456789", "is not a 'uuid'"),
        (("inputs", 0, "facets", "version", "datasetVersion"), 7, "7 is not of type str"),
        (("inputs", 0, "facets", "version", "size"), 7, "VersionDatasetFacet has no ['size']"),
        (("inputs", 0, "inputFacets", "inputStatistics", "rowCount"), "7", "not of type int"),
        (("inputs", 0, "facets", "parent"), PARENT, "is not the DatasetFacet 'parent'"),
        (("run", "facets", "parents"), PARENT, "RunFacet has no ['job', 'run']"),
        (("run", "facets", "parent", "_producer"), ..., "'_producer' is a required property"),
        (("run", "facets", "expunge_training", "_producer"), ..., "'_producer' is a required"),
    ],
)
def test_the_official_client_is_asked_strictly(
    trained: Any, runs: list[Any], judges: ModuleType, place: tuple[Any, ...], wrong: Any, said: str
) -> None:
    event = told(trained, runs[0].id)[-2]
    change(event, place, wrong)
    with pytest.raises(ValueError, match=re.escape(said)):
        judges.ClientOfEvents().check(event)


def test_a_run_that_has_not_ended_has_no_end(
    store: Any, tally: Any, workshop: Any, openlineage: Any
) -> None:
    tally.register(store)
    training = tally.prepare(store)
    assert shape(told(store, training)) == [("m", "START")]
    first, second = (row.id for row in sorted(
        workshop.rows_of(store, tables.Run), key=lambda row: row.specification["schedule"]["shard"]
    ))  # fmt: skip
    tally.spring(9, "interrupt")
    with pytest.raises(KeyboardInterrupt):
        execute(store, first)
    found = told(store, training, with_steps=True)
    assert shape(found) == [
        ("m", "START"), ("m.shard-0", "START"), ("m.shard-0", "ABORT"), ("m", "ABORT")
    ]  # fmt: skip
    assert [fact(each)["step"] for each in found if each["eventType"] == "RUNNING"] == [*range(6)]
    execute(store, first)
    assert shape(told(store, training))[-1] == ("m.shard-0", "COMPLETE")
    tally.spring(3, "error")
    with pytest.raises(ProgramFailedError, match="OSError"):
        execute(store, second)
    found = told(store, training)
    assert shape(found)[-2:] == [("m.shard-1", "FAIL"), ("m", "FAIL")]
    assert found[-2]["outputs"] == []
    for event in found:
        openlineage.check(event)


def test_an_incomplete_observed_run_says_so(
    store: Any, tally: Any, workshop: Any, openlineage: Any
) -> None:
    class Nothing:
        def state_dict(self) -> dict[str, int]:
            return {}

        def load_state_dict(self, _state: dict[str, int]) -> None:
            pass

    tally.register(store, rows=workshop.people(4, 3))
    watch = Watch(on_unknown="record", command=("sh", "retrain.sh", "person-01"))
    with observe(store, "people", "m", {"model": Nothing()}, watch) as run:
        for ids in (["record-0001", "nobody"], ["nobody"], ["record-0002", "record-0003"]):
            window = run.window()
            run.draw(run.identify(run.locator.ids(ids)))
            run.update(Updated(window))
    found = told(store, run.id, with_steps=True)
    for event in found:
        openlineage.check(event)
    done = fact(found[-2])
    assert (done["observed"], done["complete"], done["unknownVisits"]) == (True, False, 2)
    assert done["schedule"] == {"kind": "recorded/1", "epochs": None, "seed": 0, "nominal": [12]}
    steps = [fact(each) for each in found if each["eventType"] == "RUNNING"]
    assert [(each["step"], each["records"]) for each in steps] == [(0, 1), (1, 0), (2, 2)]
    assert "person-01" not in json.dumps(found)
    assert "nobody" not in json.dumps(found)


def test_after_erasure_what_was_purged_is_marked_and_nobody_is_named(
    trained: Any, runs: list[Any], workshop: Any, openlineage: Any
) -> None:
    plan, _ = make_plan(trained, [accept(trained, "subject", ["person-03"]).id])
    apply(trained, plan, InProcess(trained), Options())
    purged = {
        row.id: row.purged_at.isoformat()
        for table in (tables.Checkpoint, tables.ModelVersion)
        for row in workshop.rows_of(trained, table)
        if row.purged_at is not None
    }
    marked: dict[str, str] = {}
    for row in workshop.rows_of(trained, tables.Run):
        found = told(trained, row.id, with_steps=True)
        for event in found:
            openlineage.check(event)
            for dataset in (*event["inputs"], *event["outputs"]):
                artefact = dataset["facets"].get("expunge_artefact", {})
                if "purgedAt" in artefact:
                    marked[dataset["facets"]["version"]["datasetVersion"]] = artefact["purgedAt"]
        text = json.dumps(found)
        assert "person-" not in text
        assert "record-" not in text
        assert workshop.SALT.hex() not in text
        if row.replay_of is not None:
            assert fact(found[0])["replayOf"] == row.replay_of
    assert marked.items() <= purged.items()
    assert {name.partition("-")[0] for name in marked} == {"ckpt", "mv"}


@pytest.mark.parametrize("identifier", ["run-0123456789", "train-0123456789", "ckpt-0123456789"])
def test_a_run_that_is_not_there_is_not_found(store: Any, identifier: str) -> None:
    with pytest.raises(NotFoundError, match=identifier):
        events(store, identifier)

"""After a plan was applied nothing of the forgotten is left in the store, and all else is."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from sqlalchemy import select

from lineage.errors import CheckpointError
from lineage.schedule import schedule_for
from lineage.training import checkpoint as checkpoints
from lineage.training.model import load_model
from lineage.training.registry import hold, release
from lineage.training.specification import RunSpec
from storage import manifests, merkle
from storage.catalogue import tables
from storage.manifests.chunks import read_table
from tests.unlearn.equality.counterfactual import bits, from_scratch
from tests.unlearn.equality.forget_sets import forget_set
from tests.unlearn.equality.forgetting import PLAINLY, TWIN, ask, carry_out, forget
from tests.unlearn.equality.search import found
from tests.unlearn.equality.trained import Trained, Trains
from unlearn.plan.planner import make_plan


def _secrets(model: Trained, records: set[str]) -> dict[str, bytes]:
    """What ties a row to its commitment and its record to the schedule: salts and digests."""
    found: dict[str, bytes] = {}
    for chunk in model.data.chunks:
        rows = read_table(model.store.objects, chunk.manifest)
        mine = rows.filter(pc.is_in(rows["record"], pa.array(sorted(records))))
        for row in mine.to_pylist():
            found |= {f"{what} of {row['record']}": row[what] for what in ("salt", "digest")}
    return found


def _saw(model: Trained, records: set[str]) -> dict[str, bool]:
    """Each checkpoint, and whether one of these records was in a batch before it: read out."""
    data, answer = model.data, {}
    ids = model.material.table[model.material.record].to_pylist()
    with model.store.catalogue.read() as session:
        runs = session.scalars(select(tables.Run)).all()
        rows = session.scalars(select(tables.Checkpoint)).all()
    for run in runs:
        schedule = schedule_for(RunSpec.model_validate(run.specification).schedule, data.salt)
        seen = [
            step
            for epoch in schedule.epochs(data.present.records)
            for step in epoch.steps
            if records & {ids[data.present.positions[row]] for row in epoch.rows(step)}
        ]
        answer |= {row.id: min(seen) < row.step for row in rows if row.run_id == run.id and seen}
        answer |= {row.id: False for row in rows if row.run_id == run.id and not seen}
    return answer


@pytest.mark.parametrize(
    ("ref", "config", "twin"),
    [
        ("mnist.py:mlp", {"optimizer": "adam"}, True),
        ("voices.py:mlp", {"optimizer": "sgd", "scaler": True}, False),
    ],
    ids=["mnist", "voices"],
)
def test_nothing_of_the_forgotten_is_left_after_decoding_everything(
    ref: str, config: dict[str, object], twin: bool, trained: Trains, twin_here: None
) -> None:
    model = trained(ref, "sharded", **config)
    (person, *_), (other, *_) = model.people(1, 1), model.people(1, 0)
    records, others = (model.material.records_of("subject", [each]) for each in (person, other))
    gone = model.material.needles([person]) | _secrets(model, records)
    kept = model.material.needles([other]) | _secrets(model, others)
    assert found(model.store.path, gone).keys() == gone.keys()
    outcome = forget(model.store, "subject", [person], TWIN if twin else PLAINLY)
    assert outcome.results["purge"]["erased_records"] == len(records)
    assert found(model.store.path, gone) == {}
    assert found(model.store.path, kept).keys() == kept.keys()
    assert _stored(model).equals(_retained(model, records))


def _stored(model: Trained) -> pa.Table:
    """What the chunks hold of the rows of the head, with their ids."""
    data = model.data
    rows = manifests.read_identified(model.store.objects, data.chunks, data.present.positions)
    return pa.concat_tables(
        pa.Table.from_batches([each.batch]).append_column("id in manifest", each.records)
        for each in rows
    ).combine_chunks()


def _retained(model: Trained, gone: set[str]) -> pa.Table:
    """The rows of the file that are not forgotten."""
    table = model.material.table
    ids = table[model.material.record]
    table = table.append_column("id in manifest", ids)
    return table.filter(pc.invert(pc.is_in(ids, pa.array(sorted(gone))))).combine_chunks()


def test_commitments_of_erased_rows_stay_under_the_same_root(trained: Trains) -> None:
    model = trained("mnist.py:mlp", "sharded", optimizer="adam")
    before = model.data
    forget(model.store, "subject", [model.people(1, 1)[0]])
    after = model.data
    assert {chunk.data for chunk in before.chunks}.isdisjoint(chunk.data for chunk in after.chunks)
    leaves = manifests.read_commitments(model.store.objects, after.chunks)
    assert merkle.root(leaves).hex() == before.row.root == after.row.root


@pytest.mark.parametrize(
    ("ref", "topology"), [("mnist.py:mlp", "sharded"), ("voices.py:mlp", "plain")]
)
def test_checkpoints_that_saw_the_forgotten_are_destroyed_and_no_others(
    ref: str, topology: str, trained: Trains
) -> None:
    model = trained(ref, topology, optimizer="adam", scaler=False)
    kind, names = forget_set(model, "one step", seed=11)
    saw = _saw(model, model.material.records_of(kind, names))
    assert set(saw.values()) == {True, False}
    outcome = forget(model.store, kind, names)
    with model.store.catalogue.read() as session:
        rows = {row.id: row for row in session.scalars(select(tables.Checkpoint))}
    assert {each: rows[each].purged_at is not None for each in saw} == saw
    assert outcome.results["purge"]["purged_checkpoints"] == sum(saw.values())
    new = {rows[each].object for each in rows.keys() - saw.keys()}
    for each, tainted in saw.items():
        if tainted:
            assert rows[each].object not in model.store.objects or rows[each].object in new
            with pytest.raises(CheckpointError, match="was purged"):
                checkpoints.load(model.store, each)
        else:
            assert checkpoints.load(model.store, each)


def _member(model: Trained, shard: int) -> str:
    with model.store.catalogue.read() as session:
        member = session.get_one(tables.ModelMember, (model.version, shard))
        return member.checkpoint_id


@pytest.mark.parametrize("held", ["checkpoint", "version"])
def test_what_is_held_is_quarantined_and_lowers_the_claim(held: str, trained: Trains) -> None:
    model = trained("voices.py:mlp", "sharded", optimizer="adam", scaler=False)
    member = _member(model, 1)
    artefact = member if held == "checkpoint" else model.version
    kept = hold(model.store, artefact, "a court asked for it")
    outcome = forget(model.store, "subject", [model.people(1, 1)[0]])
    check, purge = outcome.results["check"], outcome.results["purge"]
    assert (check["claim"]["claim"], check["verdict"]) == ("exact-by-provenance", "passed")
    assert artefact in {each["name"] for each in purge["residuals"] if each["kind"] == "hold"}
    with model.store.catalogue.read() as session:
        blob = session.get_one(tables.Checkpoint, member).object
    assert model.store.objects.verify(blob)
    with pytest.raises(CheckpointError, match="quarantined under a hold"):
        checkpoints.load(model.store, member)
    with pytest.raises(CheckpointError):
        load_model(model.store, model.version)
    assert len(load_model(model.store, outcome.version).members) == 3
    release(model.store, kept.id)
    forget(model.store, "subject", [model.people(1, 0)[0]])
    assert not model.store.objects.verify(blob)


def test_a_damaged_clean_checkpoint_is_fallen_back_from_and_costs_visits(
    trained: Trains, tmp_path: Path
) -> None:
    model = trained("mnist.py:mlp", "sharded", optimizer="adam")
    person = model.people(2, 1)[0]
    request = ask(model.store, "subject", [person])
    _, sound = make_plan(model.store, [request])
    (replay,) = [task.work for task in sound.tasks if task.work.kind == "replay"]
    assert replay.restart is not None
    with model.store.catalogue.read() as session:
        blob = session.get_one(tables.Checkpoint, replay.restart).object
    damaged = model.store.objects.open(blob)
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    outcome = carry_out(model.store, [request])
    (again,) = [task.work for task in outcome.plan.tasks if task.work.kind == "replay"]
    assert (again.fallback_from, again.restart) == (replay.restart, None)
    assert outcome.plan.visits > sound.visits
    records = model.material.records_of("subject", [person])
    twin = from_scratch(model.store, model.version, [model.material], records, tmp_path / "twin")
    assert bits(model.store, outcome.version) == twin

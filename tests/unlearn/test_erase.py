"""Erasing rows: from every chunk that holds them, with their salts, and nothing else."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from lineage.data.dataset import add, head
from lineage.data.version import open_version
from lineage.errors import ProgramFailedError
from lineage.provenance.query import who_saw
from lineage.training.ensemble import resume
from lineage.training.recording import open_recording
from storage import manifests
from storage.catalogue import tables
from storage.objects import Objects
from unlearn.cli.examination import examine
from unlearn.dispatch.drive import apply
from unlearn.erase import erase_rows, referenced, sweep
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept


@pytest.fixture
def people(store: Any, tally: Any, workshop: Any) -> Any:
    tally.register(store, rows=workshop.people(4, 2))
    later = [{"id": f"later-{n}", "person": "person-00", "x": 9.5 + n} for n in range(3)]
    return tally.register(store, rows=later)


def cells(store: Any) -> set[str]:
    """Every cell of every Parquet file of a store, as text."""
    found = set()
    for digest in store.objects:
        table = pq.read_table(store.objects.open(digest))
        for column in table.columns:
            for value in column.to_pylist():
                found |= set(map(str, value)) if isinstance(value, list) else {str(value)}
    return found


def test_erased_rows_and_their_salts_are_in_no_file(people: Any, store: Any) -> None:
    table = manifests.chunks.read_table(store.objects, people.chunks[0].manifest)
    salts = [str(table.column("salt")[row].as_py()) for row in (1, 5)]
    gone = {"record-0001", "record-0005", "person-01", *salts}
    assert gone <= cells(store)
    assert erase_rows(store, {people.dataset.id: BitMap([1, 5])}, "plan-1") == 1
    assert not gone & cells(store)


def test_what_is_not_erased_stays_bit_for_bit(people: Any, store: Any) -> None:
    before = people.present.records.keys, people.column("x")
    erase_rows(store, {people.dataset.id: BitMap([1, 9])}, "plan-1")
    after = open_version(store, people.id)
    kept = [row for row in range(11) if row not in (1, 9)]
    assert after.present.positions.tolist() == kept
    assert after.present.records.keys.tolist() == before[0][kept].tolist()
    assert after.column("x")[kept].tolist() == before[1][kept].tolist()


def test_only_chunks_that_hold_rows_to_erase_are_written_again(
    people: Any, store: Any, workshop: Any
) -> None:
    first, second = people.chunks
    assert erase_rows(store, {people.dataset.id: BitMap([9])}, "plan-1") == 1
    chunks = open_version(store, people.id).chunks
    assert chunks[0] == first
    assert (chunks[1].manifest, chunks[1].data) != (second.manifest, second.data)
    assert second.manifest not in store.objects
    redactions = {each.kind: each for each in workshop.rows_of(store, tables.Redaction)}
    assert {kind: (each.old, each.new) for kind, each in redactions.items()} == {
        "manifest": (second.manifest, chunks[1].manifest),
        "data": (second.data, chunks[1].data),
    }


def test_erasing_again_changes_nothing(people: Any, store: Any) -> None:
    erase_rows(store, {people.dataset.id: BitMap([1, 9])}, "plan-1")
    objects = set(store.objects)
    assert erase_rows(store, {people.dataset.id: BitMap([1, 9])}, "plan-1") == 2
    assert erase_rows(store, {people.dataset.id: BitMap([1, 9])}, "plan-2") == 0
    assert set(store.objects) == objects


@settings(max_examples=6)
@given(batches=st.lists(st.sets(st.integers(0, 10), max_size=4), max_size=3))
def test_erasures_one_after_the_other_are_one_of_them_all(
    workshop: Any, tmp_path_factory: pytest.TempPathFactory, batches: list[set[int]]
) -> None:
    folder = tmp_path_factory.mktemp("erasures")
    with workshop.Store.create(folder / "store") as store:
        bench = workshop.Bench(folder, folder)
        version = bench.register(store, rows=workshop.people(11, 1))
        for number, rows in enumerate(batches):
            erase_rows(store, {version.dataset.id: BitMap(rows)}, f"plan-{number}")
        left = sorted(set(range(11)) - set().union(*batches))
        assert head(store, "people").present.positions.tolist() == left
        assert len(set(store.objects)) == 2
        ids = {f"record-{row:04d}" for row in range(11)}
        assert ids & cells(store) == {f"record-{row:04d}" for row in left}


def test_a_category_that_nobody_has_any_more_loses_its_label_and_keeps_its_code(
    workshop: Any, store: Any, tmp_path: Path
) -> None:
    kinds = ["common", "common", "only-hers", "common"]
    rows = [{"id": f"r{n}", "kind": kind} for n, kind in enumerate(kinds * 3)]
    rows = [row for row in rows if row["kind"] == "common" or row["id"] == "r2"]
    version = add(store, "d", workshop.written(tmp_path / "d.csv", rows), id_columns=("id",))
    (column,) = [column for column in version.columns if column.categories]
    code = column.categories.index("only-hers")
    erase_rows(store, {version.dataset.id: BitMap([2])}, "plan-1")
    after = head(store, "d")
    (column,) = [column for column in after.columns if column.categories]
    assert column.categories[code] is None
    assert "common" in column.categories
    assert set(after.column("kind")[after.present.positions]) == {1 - code}
    assert b"only-hers" not in (store.path / "catalogue.db").read_bytes()


@pytest.mark.parametrize("survives", range(4))
def test_an_erasure_that_was_interrupted_is_finished_by_the_next(
    people: Any, store: Any, monkeypatch: pytest.MonkeyPatch, survives: int
) -> None:
    delete, deleted = Objects.delete, []

    def failing(objects: Objects, digest: str) -> bool:
        if len(deleted) == survives:
            raise OSError("no space left")
        deleted.append(digest)
        return delete(objects, digest)

    rows = {people.dataset.id: BitMap([1, 9])}
    monkeypatch.setattr(Objects, "delete", failing)
    with pytest.raises(OSError, match="no space"):
        erase_rows(store, rows, "plan-1")
    monkeypatch.undo()
    assert head(store, "people").present.positions.tolist() == [0, *range(2, 9), 10]
    erase_rows(store, rows, "plan-1")
    assert not {"record-0001", "later-1"} & cells(store)
    assert len(set(store.objects)) == 4


def files(store: Any, workshop: Any) -> dict[str, set[str]]:
    """The objects of each recording's files, by the recording."""
    found: dict[str, set[str]] = {}
    for file in workshop.rows_of(store, tables.RecordingFile):
        found.setdefault(file.recording_id, set()).add(file.object)
    return found


def interrupted(store: Any, tally: Any, workshop: Any, step: int, model: str = "m") -> str:
    """A training with an order of its own that ended at a step; its id."""
    training = tally.prepare(store, model, **workshop.RECORDED)
    tally.spring(step, "error")
    with pytest.raises(ProgramFailedError, match="OSError"):
        resume(store, training)
    return training


def test_what_a_run_recorded_is_not_swept(store: Any, tally: Any, workshop: Any) -> None:
    tally.register(store)
    tally.train(store, "whole", **workshop.RECORDED)
    training = interrupted(store, tally, workshop, 20, "broken")
    whole, broken = files(store, workshop).values()
    assert (len(whole), len(broken)) == (3, 3)
    orphan = store.objects.put(b"what a writer left that died")
    assert sweep(store) == 1
    assert orphan not in store.objects
    assert all(store.objects.verify(digest) for digest in whole | broken)
    found = examine(store, sweep=False)
    assert (found.missing, found.damaged, found.orphaned) == ((), (), 0)
    with store.catalogue.read() as session:
        assert whole | broken <= set(referenced(session))
    workshop.assert_consistent(store)
    resume(store, training)
    assert sweep(store) == 0
    workshop.assert_consistent(store)


def test_a_log_that_two_runs_share_stays_while_one_of_them_goes_on(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    training = interrupted(store, tally, workshop, 20)
    (logs,) = files(store, workshop).values()
    whole = tally.train(store, "n", **workshop.RECORDED)
    assert all(store.objects.verify(digest) for digest in logs)
    assert resume(store, training).digest == whole.digest
    assert not any(digest in store.objects for digest in logs)
    workshop.assert_consistent(store)


def test_a_recording_still_tells_of_positions_that_were_purged(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store)
    tally.train(store, **workshop.RECORDED)
    (row,) = workshop.rows_of(store, tables.Recording)
    mine = np.array([7, 31, 55, 79])
    before = open_recording(store, row.id).visits(mine)
    steps = {step: ids for step, ids in tally.consumed() if set(ids) & {"record-0031"}}
    apply(store, make_plan(store, [accept(store, "subject", ["person-07"]).id])[0])
    assert who_saw(store, "subject", "person-07").state == "erased"
    after = open_recording(store, row.id)
    assert after.visits(mine).batches.tolist() == before.batches.tolist()
    found = after.batches.step[after.visits(mine[1:2]).batches]
    assert found.tolist() == list(steps)
    assert len(found) == workshop.RECIPE.epochs
    assert {row.recording_id for row in workshop.rows_of(store, tables.RunRecording)} == {row.id}
    workshop.assert_consistent(store)
    assert sweep(store) == 0

"""A sweep while others write: what came to be referred to is there, whatever comes first."""

import os
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from lineage.data.dataset import add, head
from lineage.data.version import chunks_of
from lineage.errors import DatasetError
from lineage.store import Store
from lineage.training import nominal
from lineage.training.model import find_version
from lineage.training.registry import promote
from storage import manifests
from storage.catalogue import tables
from storage.intake import Column
from tests.soak_counts import COUNTED
from unlearn.erase import destroy, erase_rows, referenced, sweep


def raced(
    store: Store, write: Callable[[int], object], rounds: Callable[[int], bool]
) -> tuple[int, list[BaseException]]:
    """Write again and again beside a thread that only sweeps; how often, and what failed."""
    ended, failed = threading.Event(), []

    def sweeps() -> None:
        with Store.open(store.path) as other:
            while not ended.is_set():
                try:
                    sweep(other)
                except BaseException as error:
                    failed.append(error)
                    return

    thread = threading.Thread(target=sweeps)
    thread.start()
    done = 0
    try:
        for number in count():
            if not rounds(number):
                break
            write(number)
            done += 1
            COUNTED["races"] += 1
    finally:
        ended.set()
        thread.join()
    assert not list((store.objects.root / "tmp").glob("*"))  # what was claimed is claimed no more
    return done, failed


def until(seconds: float) -> Callable[[int], bool]:
    end = time.monotonic() + seconds
    return lambda number: time.monotonic() < end


def assert_all_there(store: Store) -> None:
    with store.catalogue.read() as session:
        used = set(referenced(session))
    assert [digest for digest in sorted(used) if not store.objects.verify(digest)] == []


def training(tally: Any, store: Store) -> Callable[[int], object]:
    return lambda number: tally.train(store, f"m{number}", shards=1, slices=1, config={"fit": True})


def adding(tally: Any, store: Store) -> Callable[[int], object]:
    rows = [{"id": "1", "person": "p", "x": 1.0}]
    return lambda number: tally.register(store, f"data{number}", rows)


def recording(tally: Any, store: Store) -> Callable[[int], object]:
    drawn = {"shards": 1, "slices": 1, "schedule": "recorded", "epochs": 1}
    return lambda number: tally.train(store, f"m{number}", **drawn)


WRITERS = [training, adding, recording]


@pytest.mark.parametrize("writing", WRITERS)
def test_nothing_that_is_published_beside_a_sweep_is_destroyed(
    store: Store, tally: Any, writing: Any
) -> None:
    tally.register(store)
    done, failed = raced(store, writing(tally, store), lambda number: number < 10)
    assert (done, failed) == (10, [])
    assert_all_there(store)


@pytest.mark.soak
@pytest.mark.parametrize("writing", WRITERS)
def test_nothing_that_is_published_beside_a_sweep_is_destroyed_however_often(
    store: Store, tally: Any, writing: Any
) -> None:
    tally.register(store)
    seconds = float(os.environ.get("SOAK_SECONDS", "0")) / 20
    _, failed = raced(store, writing(tally, store), until(seconds))
    assert failed == []
    assert_all_there(store)


def test_an_object_that_was_looked_for_in_a_write_is_there_until_its_end(store: Store) -> None:
    blob = store.objects.put(b"state")
    with Store.open(store.path) as other:
        thread = threading.Thread(target=sweep, args=(other,))
        with store.catalogue.write() as session:
            store.objects.require(blob)
            thread.start()
            thread.join(0.5)
            assert blob in store.objects
            session.connection()
        thread.join()
    assert blob not in store.objects


def test_a_checkpoint_that_was_swept_before_it_was_written_down_is_put_again(
    store: Store, tally: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    tally.register(store)
    put = store.objects.put

    def swept(data: bytes) -> str:
        digest = put(data)
        if not getattr(store.catalogue._writing, "here", False):
            sweep(store)
        return digest

    monkeypatch.setattr(store.objects, "put", swept)
    tally.train(store, shards=1, slices=1, config={"fit": True})
    assert_all_there(store)


def test_a_salt_that_was_swept_while_rows_were_read_is_kept_all_the_same(
    store: Store, tally: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineage.data import dataset

    publish = dataset.publish

    def published(session: Any, *arguments: Any) -> Any:
        store.keys.sweep(session)
        return publish(session, *arguments)

    monkeypatch.setattr(dataset, "publish", published)
    tally.register(store)
    assert len(head(store, "people").salt) == 32


def test_what_equals_a_destroyed_checkpoint_is_not_destroyed_with_it(
    trained: Store, tally: Any, workshop: Any
) -> None:
    # Its equal is written down between the look and the deed, unless both are under the lock.
    (first, *_) = workshop.rows_of(trained, tables.Checkpoint)
    with trained.catalogue.write() as session:
        session.get_one(tables.Checkpoint, first.id).purged_at = trained.clock()
    started, freed = threading.Event(), threading.Event()
    delete = trained.objects.delete

    def slow(digest: str) -> bool:
        started.set()
        freed.wait(0.5)
        return delete(digest)

    trained.objects.delete = slow  # type: ignore[method-assign]
    thread = threading.Thread(target=destroy, args=(trained, {first.id}))
    thread.start()
    started.wait(10)
    with Store.open(trained.path) as other, other.catalogue.write() as session:
        there = first.object in other.objects
        session.get_one(tables.Checkpoint, first.id).purged_at = None if there else first.created_at
        freed.set()
    thread.join()
    assert_all_there(trained)


def test_a_version_that_is_purged_meanwhile_is_not_promoted(
    trained: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineage.training import registry
    from storage.errors import RefusedError

    version = find_version(trained, "m")
    write = trained.catalogue.write

    def purged_first() -> Any:
        with write() as session:
            session.get_one(tables.ModelVersion, version.id).purged_at = trained.clock()
        return write()

    monkeypatch.setattr(trained.catalogue, "write", purged_first)
    for use in (promote, registry.publish):
        with pytest.raises(RefusedError, match="was purged"):
            use(trained, "m", "production")


def test_two_erasures_of_one_chunk_at_once_both_erase(
    trained: Store, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    (dataset,) = workshop.rows_of(trained, tables.Dataset)
    redact, others = manifests.redact, [BitMap([5])]

    def raced_by_another(*arguments: Any) -> Any:
        new = redact(*arguments)
        if others:
            erase_rows(trained, {dataset.id: others.pop()}, "plan-other")
        return new

    monkeypatch.setattr(manifests, "redact", raced_by_another)
    erase_rows(trained, {dataset.id: BitMap([3])}, "plan-own")
    with trained.catalogue.read() as session:
        index = manifests.read_index(trained.objects, chunks_of(session, dataset.id, 2**62))
    assert not {3, 5} & set(index.positions.tolist())
    assert_all_there(trained)


def test_a_label_that_is_erased_while_rows_are_added_does_not_come_back(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineage.data import dataset

    def written(name: str, labels: list[str]) -> Path:
        rows = "".join(f"{name}{n},{label}\n" for n, label in enumerate(labels * 3))
        (tmp_path / f"{name}.csv").write_text("id,label\n" + rows)
        return tmp_path / f"{name}.csv"

    made = add(store, "data", written("a", ["common", "rare"]), id_columns=("id",))
    publish = dataset.publish

    def erased_before(session: Any, *arguments: Any) -> Any:
        row = session.get_one(tables.Dataset, made.dataset.id)
        columns = [Column.model_validate(each) for each in row.columns]
        row.columns = [each.keeping({0}).model_dump(mode="json") for each in columns]
        session.flush()
        session.expunge(row)
        return publish(session, *arguments)

    monkeypatch.setattr(dataset, "publish", erased_before)
    with pytest.raises(DatasetError, match="labels of dataset 'data' were erased"):
        add(store, "data", written("b", ["common"]))


def test_sizes_that_another_training_froze_meanwhile_are_kept(
    store: Store, tally: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = tally.register(store)
    fresh, others = nominal._fresh, [True]

    def raced_by_another(*arguments: Any) -> Any:
        found = fresh(*arguments)
        if others:
            key = (version.dataset.id, 2, 2, "")
            theirs = nominal.Frozen(found.division, ((24, 24), (24, 24)))
            others.clear()
            assert nominal._freeze(store, key, theirs, refreeze=False)
        return found

    monkeypatch.setattr(nominal, "_fresh", raced_by_another)
    wanted = nominal.Wanted(shards=2, slices=2)
    found = nominal.frozen_cells(store, version, wanted, batch_size=8)
    assert found.nominal == ((24, 24), (24, 24))

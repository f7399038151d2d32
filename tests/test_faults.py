"""Whatever a process dies of, and wherever: the store is whole, and the command can be repeated."""

import importlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from lineage.data.dataset import head
from lineage.errors import DatasetError
from lineage.store import Store
from lineage.training.ensemble import resume
from lineage.training.model import find_version
from storage.catalogue import tables
from tests.soak_counts import COUNTED
from unlearn.dispatch.drive import apply
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

pytestmark = pytest.mark.no_cover

NEW = [{"id": f"new-{n}", "person": f"newcomer-{n % 2}", "x": float(n)} for n in range(5)]
Dies = Callable[..., list[tuple[str, Path]]]


@pytest.fixture
def dies(tmp_path: Path) -> Dies:
    """Carries a scenario out on copies of a store; how each ended, and where it is."""

    def died(scenario: str, template: Path, *fault: str) -> list[tuple[str, Path]]:
        folder = tmp_path / "died"
        folder.mkdir()
        for file in tmp_path.glob("*.csv"):
            (folder / file.name).write_bytes(file.read_bytes())
        driver = str(Path(__file__).with_name("faults.py"))
        command = [sys.executable, "-P", driver, scenario, str(template), str(folder), *fault]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        ends = [(end, Path(path)) for path, end in json.loads(done.stdout).items()]
        assert [end for end, _ in ends].index("0") == len(ends) - 1 > 0
        return ends

    return died


def ids(store: Store) -> list[str]:
    version = head(store, "people")
    found: list[str] = version.column("id")[version.present.positions].tolist()
    return found


def check_added(workshop: Any, tally: Any, before: list[str], end: str, path: Path) -> bool:
    """The new rows are all there or none; adding them again says so. Whether they were there."""
    with workshop.Store.open(path) as store:
        workshop.assert_consistent(store)
        found = ids(store)
        whole = found == before + [row["id"] for row in NEW]
        assert whole or found == before
        assert whole or end != "0"
        if whole:
            with pytest.raises(DatasetError, match="already holds"):
                tally.register(store, rows=NEW)
        else:
            tally.register(store, rows=NEW)
        workshop.assert_consistent(store)
        assert ids(store) == before + [row["id"] for row in NEW]
        store.objects.sweep_temporary()
        assert not list((path / "objects" / "tmp").iterdir())
        return whole


@pytest.fixture
def people(store: Store, tally: Any, workshop: Any, tmp_path: Path) -> list[str]:
    """The ids of people in a closed store; rows to add lie beside it."""
    tally.register(store, rows=workshop.people(4, 2))
    workshop.written(tmp_path / "new.csv", NEW)
    store.close()
    return [row["id"] for row in workshop.people(4, 2)]


def test_adding_rows_survives_death_at_every_durable_step(
    dies: Dies, workshop: Any, tally: Any, people: list[str], tmp_path: Path
) -> None:
    ends = dies("add", tmp_path / "store")
    assert {"fsync", "replace", "commit"} <= {end for end, _ in ends}
    there = [check_added(workshop, tally, people, end, path) for end, path in ends]
    # Only what was committed is there: all earlier deaths left nothing to be seen.
    assert there == sorted(there)


FAULTS = [
    ("fdatasync", "signal=KILL", "1"),
    ("unlink", "signal=KILL", "1"),
    ("fdatasync", "error=EIO", "1"),
    ("pwrite64", "error=ENOSPC", "7"),
]


@pytest.mark.parametrize(("syscall", "fault", "stride"), FAULTS)
def test_adding_rows_survives_faults_of_system_calls_inside_sqlite(
    strace: str,
    dies: Dies,
    workshop: Any,
    tally: Any,
    people: list[str],
    tmp_path: Path,
    syscall: str,
    fault: str,
    stride: str,
) -> None:
    ends = dies("add", tmp_path / "store", syscall, fault, stride)
    assert {end for end, _ in ends[:-1]} == {"-9" if fault == "signal=KILL" else "1"}
    for end, path in ends:
        check_added(workshop, tally, people, end, path)


@pytest.mark.soak
def test_adding_rows_survives_whatever_fault_strikes(
    strace: str, dies: Dies, workshop: Any, tally: Any, people: list[str], tmp_path: Path
) -> None:
    until = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0")) / 12
    draws = random.Random(int(os.environ.get("SEED", "0")))
    while True:
        syscall = draws.choice(["fdatasync", "fsync", "unlink", "pwrite64", "rename"])
        fault = draws.choice(["signal=KILL", "error=EIO", "error=ENOSPC"])
        if syscall == "unlink":  # one that fails leaves a file, which is found later
            fault = "signal=KILL"
        ends = dies("add", tmp_path / "store", syscall, fault, str(draws.randint(1, 9)))
        for end, path in ends:
            check_added(workshop, tally, people, end, path)
        COUNTED["injections"] += len(ends) - 1
        shutil.rmtree(tmp_path / "died")
        if time.monotonic() > until:
            return


def test_training_survives_death_at_every_durable_step(
    dies: Dies, workshop: Any, tally: Any, tmp_path: Path
) -> None:
    small = {"shards": 1, "slices": 1, "epochs": 1, "batch_size": 48, "checkpoint_every": 1}
    with workshop.Store.create(tmp_path / "store", workshop.Clock()) as store:
        tally.register(store)
        training = tally.prepare(store, **small)
    digests = set()
    for end, path in dies("train", tmp_path / "store"):
        with workshop.Store.open(path) as store:
            workshop.assert_consistent(store)
            kept = workshop.rows_of(store, tables.Checkpoint)
            published = workshop.rows_of(store, tables.ModelVersion)
            if not published:
                resume(store, training)
            assert published or end != "0"
            workshop.assert_consistent(store)
            after = {each.id for each in workshop.rows_of(store, tables.Checkpoint)}
            assert {each.id for each in kept} <= after
            assert len(after) == 2
            digests.add(find_version(store, "m").digest)
    assert len(digests) == 1


@pytest.fixture
def about_to_purge(trained: Store, tally: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """A plan in a closed store of which only the purge is left."""
    request = accept(trained, "subject", ["person-07"])
    plan_id, _ = make_plan(trained, [request.id])

    def stop(context: Any) -> Any:
        raise InterruptedError

    purge = importlib.import_module("unlearn.tasks.purge")
    with monkeypatch.context() as patched:
        patched.setattr(purge, "execute", stop)
        with pytest.raises(InterruptedError):
            apply(trained, plan_id)
    trained.close()
    return plan_id


def cells(store: Store) -> set[str]:
    """Every text in a Parquet object of the store."""
    found = set()
    for digest in store.objects:
        data = store.objects.open(digest)
        if data.read_bytes()[:4] == b"PAR1":
            for column in pq.read_table(data).columns:
                for value in column.to_pylist():
                    found |= set(map(str, value)) if isinstance(value, list) else {str(value)}
    return found


def test_purging_survives_death_at_every_durable_step(
    dies: Dies, workshop: Any, about_to_purge: str, tmp_path: Path
) -> None:
    ends = dies("apply", tmp_path / "store")
    assert {"fsync", "replace", "unlink", "commit"} <= {end for end, _ in ends}
    left = set()
    for end, path in ends:
        with workshop.Store.open(path) as store:
            workshop.assert_consistent(store)
            (plan,) = workshop.rows_of(store, tables.Plan)
            assert (plan.state == "applied") == (end == "0")
            if plan.state != "applied":
                apply(store, about_to_purge)
            workshop.assert_consistent(store)
            (request,) = workshop.rows_of(store, tables.Request)
            assert request.state == "done"
            assert not {"person-07", "record-0031"} & cells(store)
            purged = [c for c in workshop.rows_of(store, tables.Checkpoint) if c.purged_at]
            assert not [each for each in purged if each.object in store.objects]
            left.add((find_version(store, "m").digest, len(purged)))
    assert len(left) == 1


def test_rows_of_an_addition_that_died_are_erased_with_their_person(
    dies: Dies, workshop: Any, tally: Any, people: list[str], tmp_path: Path
) -> None:
    path = [path for end, path in dies("add", tmp_path / "store") if end == "commit"][-1]
    with workshop.Store.open(path) as store:
        tally.register(store, rows=NEW)
        request = accept(store, "subject", ["newcomer-1"])
        apply(store, make_plan(store, [request.id])[0])
        assert not {"newcomer-1", "new-1", "new-3"} & cells(store)

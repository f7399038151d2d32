"""An owner of a plan that was taken for dead publishes, destroys and begins nothing."""

import importlib
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from lineage.store import Store
from storage.catalogue import Catalogue, tables
from unlearn.dispatch import journal
from unlearn.dispatch.drive import apply
from unlearn.errors import StalePlanError
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

pytestmark = pytest.mark.no_cover

OTHER = "elsewhere.example:1:1.00000000"


@pytest.fixture
def plan_id(trained: Any, tally: Any) -> str:
    return make_plan(trained, [accept(trained, "subject", ["person-07"]).id])[0]


@pytest.fixture
def overtaken(trained: Any, plan_id: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let another process take the plan over right after a task was begun."""

    def at(kind: str) -> None:
        start = journal.start

        def then_lose(store: Any, ownership: Any, task_id: str) -> bool:
            begun = start(store, ownership, task_id)
            if task_id.startswith(kind):
                with trained.catalogue.write() as session:
                    fence = tables.Plan.fence + 1
                    session.execute(update(tables.Plan).values(owner=OTHER, fence=fence))
            return begun

        monkeypatch.setattr(journal, "start", then_lose)

    return at


def kept(workshop: Any, store: Any) -> dict[str, Any]:
    """What a plan may make and destroy."""
    return {
        table.__name__: sorted(
            (each.id, getattr(each, "purged_at", None), getattr(each, "state", None))
            for each in workshop.rows_of(store, table)
        )
        for table in (tables.ModelVersion, tables.Run, tables.Checkpoint, tables.Request)
    }


@pytest.mark.parametrize("kind", ["interim", "replay", "publish", "purge", "probe"])
def test_a_task_whose_plan_was_taken_over_writes_nothing(
    trained: Any, workshop: Any, plan_id: str, overtaken: Callable[[str], None], kind: str
) -> None:
    overtaken(kind)
    before: list[Any] = []

    def progress(task: Any, state: str) -> None:
        if task.work.kind == kind and state == "started":
            before.append(kept(workshop, trained))

    with pytest.raises(StalePlanError, match=f"plan {plan_id} was taken over by another process"):
        apply(trained, plan_id, progress=progress)
    assert kept(workshop, trained) == before[0]
    with trained.catalogue.read() as session:
        plan = session.get_one(tables.Plan, plan_id)
        assert (plan.owner, plan.state) == (OTHER, "applying")


def taken_over(session: Any) -> None:
    """Take the plan as another process, in a transaction of its own."""
    values = {"owner": OTHER, "fence": tables.Plan.fence + 1}
    session.execute(update(tables.Plan).values(**values))


def litter(store: Any) -> None:
    """Leave what a sweep finds: an object, a secret, a draft and a twin of processes that died."""
    store.objects.put(b"nobody refers to it")
    (store.keys.root / "nobody").write_bytes(bytes(32))
    gone = f"{os.uname().nodename}:1:1.{Path('/proc/sys/kernel/random/boot_id').read_text()[:8]}"
    (store.path / "twins" / f"{gone}-twin").mkdir(parents=True)


def files(store: Any) -> set[Path]:
    """Return all files but drafts and claims, which go with the block that they are for."""
    passing = store.path / "objects" / "tmp"
    return {path for path in store.path.rglob("*") if path.parent != passing}


@pytest.fixture
def taken_after(trained: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """Let another process take the plan right after write transaction ``n`` of the purge.

    Returns the files that were there at that moment.
    """
    write, perform = Catalogue.write, importlib.import_module("unlearn.tasks.purge").execute
    there: list[set[Path]] = []

    def at(n: int) -> list[set[Path]]:
        left = [n]

        @contextmanager
        def counted(catalogue: Any) -> Iterator[Any]:
            with write(catalogue) as session:
                yield session
            left[0] -= 1
            if left[0] == 0:
                with write(catalogue) as session:
                    taken_over(session)
                there.append(files(trained))

        def execute(context: Any) -> Any:
            litter(trained)
            monkeypatch.setattr(Catalogue, "write", counted)
            return perform(context)

        monkeypatch.setattr("unlearn.tasks.purge.execute", execute)
        return there

    yield at
    monkeypatch.undo()


@pytest.mark.parametrize("n", range(1, 10))
def test_a_purge_whose_plan_is_taken_over_between_two_deletions_deletes_nothing_more(
    trained: Any, plan_id: str, taken_after: Callable[[int], Any], n: int
) -> None:
    there = taken_after(n)
    with pytest.raises(StalePlanError, match=f"plan {plan_id} was taken over by another process"):
        apply(trained, plan_id)
    assert there[0] <= files(trained)


def test_no_other_process_can_take_a_plan_between_two_deletions_of_one_transaction(
    trained: Any, plan_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It waits for the write lock until all of them are done."""
    delete, order, threads = trained.objects.delete, list[str](), list[threading.Thread]()
    write = Catalogue.write

    def later(catalogue: Catalogue) -> Any:
        """Let whoever waits for the lock have it first, once the deletions are done."""
        if threads and threading.current_thread() is not threads[0]:
            threads[0].join()
        return write(catalogue)

    def take() -> None:
        with Store.open(trained.path) as other, other.catalogue.write() as session:
            order.append("taken")
            taken_over(session)

    def slow(digest: str) -> bool:
        if not threads:
            threads.append(threading.Thread(target=take))
            threads[0].start()
            threads[0].join(1)
        order.append("deleted")
        return bool(delete(digest))

    monkeypatch.setattr(trained.objects, "delete", slow)
    monkeypatch.setattr(Catalogue, "write", later)
    with pytest.raises(StalePlanError, match="was taken over"):
        apply(trained, plan_id)
    assert order.count("deleted") > 1
    assert order[-1] == "taken"

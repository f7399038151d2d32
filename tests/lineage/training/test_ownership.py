"""A run has one owner: one that was taken for dead writes nothing, and a dead one locks nobody out.

The clock of these stores passes a second whenever it is asked.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from lineage.errors import RunError
from lineage.training import recorder
from lineage.training.execute import execute
from storage.catalogue import tables
from storage.processes import LEASE, claim, claimant, this_process

OTHER = "elsewhere.example:1:1.00000000"


@pytest.fixture
def prepared(store: Any, tally: Any, workshop: Any) -> str:
    tally.register(store)
    tally.prepare(store, config={"evaluate": True})
    return str(workshop.rows_of(store, tables.Run)[0].id)


def set_owner(store: Any, run_id: str, owner: str | None) -> None:
    with store.catalogue.write() as session:
        run = session.get_one(tables.Run, run_id)
        run.owner, run.state = owner, "running"


def owned(store: Any, run_id: str) -> tuple[str, str | None]:
    with store.catalogue.read() as session:
        run = session.get_one(tables.Run, run_id)
        return run.state, run.owner


@pytest.fixture
def overtaken(
    store: Any, prepared: str, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, int], None]:
    """Let another process take the run over at the n-th call of a function of the recorder's."""

    def at(name: str, number: int) -> None:
        module = recorder.checkpoints if name == "publish" else recorder.StoreRecorder
        original, calls = getattr(module, name), [0]

        def call(*arguments: Any, **options: Any) -> Any:
            calls[0] += 1
            if calls[0] == number:
                set_owner(store, prepared, claim(OTHER, store.clock()))
            return original(*arguments, **options)

        monkeypatch.setattr(module, name, call)

    return at


@pytest.mark.parametrize(("name", "number"), [("publish", 1), ("publish", 2), ("evaluated", 1)])
def test_an_owner_that_was_taken_for_dead_writes_nothing_and_spares_the_new_one(
    store: Any,
    prepared: str,
    workshop: Any,
    overtaken: Callable[[str, int], None],
    name: str,
    number: int,
) -> None:
    overtaken(name, number)
    with pytest.raises(RunError, match=f"^run {prepared} was taken over by another process"):
        execute(store, prepared)
    state, owner = owned(store, prepared)
    assert (state, claimant(str(owner))) == ("running", OTHER)
    kept = workshop.rows_of(store, tables.Checkpoint, run_id=prepared)
    assert len(kept) == (number - 1 if name == "publish" else 0)
    if name == "evaluated":
        assert workshop.rows_of(store, tables.Evaluation) == []


def test_an_owner_that_was_taken_over_at_its_very_end_does_not_call_the_run_complete(
    store: Any, prepared: str, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lineage.training import recording

    def settle(store: Any, run_id: str) -> None:
        set_owner(store, run_id, claim(OTHER, store.clock()))

    monkeypatch.setattr(recording, "settle", settle)
    with pytest.raises(RunError, match="was taken over by another process"):
        execute(store, prepared)
    assert owned(store, prepared)[0] == "running"


def test_an_owner_shows_life_at_each_checkpoint(
    store: Any, prepared: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish, seen = recorder.checkpoints.publish, []

    def then_look(*arguments: Any) -> str:
        made = publish(*arguments)
        seen.append(owned(store, prepared)[1])
        return made

    monkeypatch.setattr(recorder.checkpoints, "publish", then_look)
    execute(store, prepared)
    assert len(set(seen)) == len(seen) > 1
    assert {claimant(str(each)) for each in seen} == {this_process()}


def test_a_container_that_was_started_again_under_another_name_waits_for_the_lease_alone(
    store: Any, prepared: str
) -> None:
    set_owner(store, prepared, claim(OTHER, store.clock()))
    with pytest.raises(RunError, match=f"is being executed by process {OTHER}$"):
        execute(store, prepared)
    store.clock.now += LEASE + timedelta(minutes=1)
    execute(store, prepared)
    assert owned(store, prepared) == ("complete", None)


def test_a_container_that_was_started_again_under_the_same_name_goes_on_at_once(
    store: Any, prepared: str
) -> None:
    host, pid, started = this_process().rsplit(":", 2)
    ticks, boot = started.split(".")
    for before in (f"{int(ticks) - 1}.{boot}", f"{ticks}.00000000"):
        set_owner(store, prepared, claim(f"{host}:{pid}:{before}", store.clock()))
        execute(store, prepared, until=6 if before.endswith(boot) else None)
        if before.endswith(boot):
            set_owner(store, prepared, None)
    assert owned(store, prepared) == ("complete", None)


def test_a_run_of_another_host_that_an_earlier_version_began_is_free(
    store: Any, prepared: str
) -> None:
    set_owner(store, prepared, "elsewhere.example:1:1")
    execute(store, prepared)
    assert owned(store, prepared) == ("complete", None)


def test_a_task_takes_its_run_from_a_process_that_has_no_right_to_it_any_more(
    store: Any, prepared: str
) -> None:
    set_owner(store, prepared, claim(OTHER, store.clock()))
    execute(store, prepared, overtake=True)
    assert owned(store, prepared) == ("complete", None)

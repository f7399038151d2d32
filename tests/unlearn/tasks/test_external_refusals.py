"""What an owner's command can do wrong, and that the plan can then be applied again."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from sqlalchemy import update

from lineage.store import Store
from storage.catalogue import tables
from tests.unlearn.tasks.observing import EVERYBODY, Whim, given, of, planned
from unlearn.dispatch.drive import apply
from unlearn.errors import TaskError

SHELL = {
    "echo no disk >&2; exit 3": "ended with status 3: no disk$",
    "printf '\\377' >&2; exit 1": "ended with status 1: \ufffd$",
    "exit 4": "ended with status 4: it said nothing$",
    "exit 0": "left no complete run of an observed loop$",
}
"""Commands that train nothing, and what is said of them."""


@pytest.mark.parametrize("text", SHELL)
def test_a_command_that_trains_nothing_is_refused(observed: Store, text: str) -> None:
    with observed.catalogue.write() as session:
        session.execute(update(tables.ObservedRun).values(command=["sh", "-c", text]))
    plan_id = planned(observed, "person-07")
    for _ in range(2):
        with pytest.raises(TaskError, match=SHELL[text]) as error:
            apply(observed, plan_id)
        assert "the command that trains run-" in error.value.message


def test_a_command_that_is_not_there_is_refused(observed: Store) -> None:
    with observed.catalogue.write() as session:
        session.execute(update(tables.ObservedRun).values(command=["./not-there"]))
    plan_id = planned(observed, "person-07")
    with pytest.raises(TaskError, match=r"cannot be started: there is no program") as error:
        apply(observed, plan_id)
    assert f"make it work again: ./not-there, in {Path.cwd()}" in error.value.hint


def rewritten(asked: dict[str, Any], **changes: str) -> None:
    """Answer something else than is true."""
    answer = json.loads(Path(asked["answer"]).read_text())
    Path(asked["answer"]).write_text(json.dumps({**answer, **changes}))


WHIMS: dict[str, Callable[[Any, dict[str, Any]], object]] = {
    "this loop trains 'm' on 'others'": lambda owner, asked: owner.train("others"),
    "record . of batch .* is not in dataset 'people'": lambda owner, asked: owner.train(
        everybody=True
    ),
    "answers with another digest than its run has$": lambda owner, asked: (
        owner.train(),
        rewritten(asked, model_digest="0" * 64),
    ),
    "did not train on dsv-[0-9a-f]* alone$": lambda owner, asked: (
        owner.train(),
        rewritten(asked, dataset_version="dsv-0000000000"),
    ),
    "left 2 runs, and only that of model 'm' was asked for$": lambda owner, asked: (
        owner.train(),
        owner.train(),
    ),
    "left an answer that cannot be read$": lambda owner, asked: (
        owner.train(),
        Path(asked["answer"]).write_bytes(b"\xff done"),
    ),
    "left no complete run of an observed loop$": lambda owner, asked: (
        owner.train(),
        Path(asked["answer"]).unlink(),
    ),
}
"""What is said of a loop that does something else than it was asked to."""


def test_a_loop_that_trains_on_something_else_is_refused_until_it_does_not(
    observed: Store, command: Callable[[Whim], None], owner: ModuleType, workshop: Any
) -> None:
    plan_id = planned(observed, "person-07")
    for said, whim in WHIMS.items():
        command(partial(whim, owner))
        with pytest.raises(TaskError, match=said) as error:
            apply(observed, plan_id)
        assert "the command that trains run-" in error.value.message
        task = {"task_id": f"{plan_id}/external-1", "state": "complete"}
        assert workshop.rows_of(observed, tables.Run, **task) == []
    assert len(workshop.rows_of(observed, tables.ModelVersion)) == 1
    assert list((observed.path / "twins").iterdir()) == []
    command(lambda asked: owner.train())
    results = apply(observed, plan_id)
    assert given(observed, results["external-1"]["run"]) == EVERYBODY - of(7)
    assert results["check"]["verdict"] == "passed"
    (mine,) = workshop.rows_of(observed, tables.Run, task_id=f"{plan_id}/external-1")
    assert mine.id == results["external-1"]["run"]
    workshop.assert_consistent(observed)

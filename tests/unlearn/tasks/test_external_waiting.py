"""A plan that waits for an owner's command says so: what, in which folder, since when, for whom."""

import os
import shlex
import socket
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Timer
from types import ModuleType
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import update

from lineage.store import Store
from storage.catalogue import tables
from tests.unlearn.tasks.observing import COMMAND, Whim, asked, planned
from unlearn.cli import main
from unlearn.dispatch import drive
from unlearn.dispatch.journal import Ownership
from unlearn.dispatch.worker import Options, perform
from unlearn.errors import TaskError
from unlearn.plan.model import Task


def test_what_is_waited_for_is_said_wherever_somebody_looks(
    observed: Store, command: Callable[[Whim], None], owner: ModuleType
) -> None:
    plan_id = planned(observed, "person-07")
    seen: dict[str, Any] = {}

    def looks(_: dict[str, Any]) -> None:
        seen["status"] = asked("status", store=observed)["plans"][0]
        seen["plan"] = asked("show", plan_id, store=observed)
        seen["task"] = asked("show", f"{plan_id}/external-1", store=observed)
        seen["text"] = CliRunner().invoke(main, ["status", "--store", str(observed.path)]).stdout
        owner.train()

    command(looks)
    before = asked("show", plan_id, store=observed)
    assert (before["running"], {each["doing"] for each in before["tasks"]}) == ([], {None})
    done = CliRunner().invoke(
        main, ["apply", plan_id, "--on", "debug", "--store", str(observed.path)]
    )
    assert done.exit_code == 0, done.stderr
    what = f"{shlex.join(COMMAND)}, in {Path.cwd()}"
    (said,) = seen["status"]["running"]
    assert said.startswith("external-1 waits for the owner's command since ")
    assert f"UTC, for process {os.getpid()} on " in said
    assert said.endswith(f": {what}")
    assert seen["plan"]["running"] == [said]
    assert (seen["task"]["state"], seen["task"]["doing"]) == ("running", said)
    assert said in seen["text"]
    lines = done.stderr.splitlines()
    assert any(
        line.startswith("external-1 waits for the owner of run-") and line.endswith(what)
        for line in lines
    )
    assert any(line.startswith("external-1 done, after ") for line in lines)
    after = asked("show", plan_id, store=observed)
    assert (after["running"], after["tasks"][0]["state"]) == ([], "done")


def test_a_task_whose_process_gave_up_is_interrupted_and_waits_for_nobody(
    observed: Store, command: Callable[[Whim], None]
) -> None:
    class PowerFailure(BaseException):
        pass

    def fails(_: dict[str, Any]) -> None:
        raise PowerFailure

    plan_id = planned(observed, "person-07")
    command(fails)
    with pytest.raises(PowerFailure):
        drive.apply(observed, plan_id)
    shown = asked("show", plan_id, store=observed)
    assert (shown["running"], shown["tasks"][0]["state"]) == ([], "interrupted")
    with observed.catalogue.write() as session:
        dead = f"{socket.gethostname()}:999999999:1"
        session.execute(update(tables.Plan).values(owner=dead, state="applying"))
    shown = asked("show", plan_id, store=observed)
    assert (shown["running"], shown["tasks"][0]["state"]) == ([], "interrupted")


class Slow:
    """Carries out each task a little later, on another thread."""

    size = 1

    def __init__(self, store: Store) -> None:
        self._store = store

    def submit(self, ownership: Ownership, task_id: str, options: Options) -> "Future[None]":
        future: Future[None] = Future()

        def act() -> None:
            perform(self._store, ownership, task_id, options)
            future.set_result(None)

        Timer(0.3, act).start()
        return future

    def close(self) -> None:
        pass


def test_it_is_said_again_what_is_running_for_long(
    observed: Store,
    command: Callable[[Whim], None],
    owner: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(drive, "REMINDER", 0.05)
    command(lambda asked: owner.train())
    said: list[tuple[str, str]] = []

    def progress(task: Task, state: str) -> None:
        said.append((task.id, state))

    drive.apply(observed, planned(observed, "person-07"), Slow(observed), progress=progress)
    assert said[:2] == [("external-1", "started"), ("external-1", "running")]
    assert said.index(("external-1", "done")) > 2


def test_what_a_command_printed_is_shown_where_it_failed(
    observed: Store, capfd: pytest.CaptureFixture[str]
) -> None:
    text = "echo reading; echo opening >&2; echo no disk >&2; exit 3"
    with observed.catalogue.write() as session:
        session.execute(update(tables.ObservedRun).values(command=["sh", "-c", text]))
    with pytest.raises(TaskError, match=r"ended with status 3: no disk$"):
        drive.apply(observed, planned(observed, "person-07"))
    assert capfd.readouterr().err.splitlines() == ["reading", "opening", "no disk"]


def test_a_script_that_is_gone_when_the_plan_runs_is_named(observed: Store) -> None:
    plan_id = planned(observed, "person-07")
    Path("owner.py").unlink()
    said = "cannot be started: there is no script .*owner.py$"
    with pytest.raises(TaskError, match=said) as error:
        drive.apply(observed, plan_id)
    assert "make it work again" in error.value.hint

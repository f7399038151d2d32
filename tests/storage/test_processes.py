import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from storage.processes import LEASE, claim, is_alive, is_claimed, is_local, this_process


@pytest.fixture
def child() -> Iterator["subprocess.Popen[str]"]:
    """A process that says its name and waits."""
    command = (
        "import sys; from storage.processes import this_process as name; "
        "print(name(), flush=True); sys.stdin.read()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", command], text=True, **pipes) as started:
        yield started
        started.kill()


def named(child: "subprocess.Popen[str]") -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


def test_a_process_has_one_name_and_no_other_has_it(child: "subprocess.Popen[str]") -> None:
    name = named(child)
    assert this_process() == this_process() != name
    assert name.split(":")[:2] == [socket.gethostname(), str(child.pid)]


def test_a_living_owner_is_alive_and_a_dead_one_is_not(child: "subprocess.Popen[str]") -> None:
    name = named(child)
    assert is_alive(name)
    child.kill()
    child.wait()
    assert not is_alive(name)


def test_a_killed_owner_that_nobody_has_waited_for_is_dead(child: "subprocess.Popen[str]") -> None:
    name = named(child)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert os.path.exists(f"/proc/{child.pid}")
    assert not is_alive(name)


def test_another_process_that_got_the_number_of_a_dead_one_is_not_it() -> None:
    host, pid, started = this_process().rsplit(":", 2)
    ticks, boot = started.split(".")
    assert not is_alive(f"{host}:{pid}:{int(ticks) - 1}.{boot}")


def test_a_process_of_another_boot_with_the_same_number_and_start_is_not_it() -> None:
    host, pid, started = this_process().rsplit(":", 2)
    assert not is_alive(f"{host}:{pid}:{started.split('.')[0]}.00000000")


def test_an_owner_that_an_earlier_version_wrote_down_is_told_apart_by_its_start() -> None:
    host, pid, started = this_process().rsplit(":", 2)
    ticks = int(started.split(".")[0])
    assert is_alive(f"{host}:{pid}:{ticks}")
    assert not is_alive(f"{host}:{pid}:{ticks - 1}")


def test_an_owner_on_another_host_is_believed_for_a_while_since_it_showed_life() -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    elsewhere = claim("elsewhere.example:1:1", now)
    assert is_claimed(elsewhere, now + LEASE)
    assert not is_claimed(elsewhere, now + LEASE + timedelta(seconds=1))
    assert is_claimed(claim(this_process(), now), now + 2 * LEASE)
    assert not is_claimed("elsewhere.example:1:1", now)  # of an earlier version: never seen


def test_an_owner_on_another_host_is_taken_to_live() -> None:
    assert is_alive("elsewhere.example:1:1")
    assert is_local(this_process())
    assert not is_local("elsewhere.example:1:1")


def test_a_process_of_another_user_is_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(_pid: int, _signal: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", denied)
    assert is_alive(this_process())

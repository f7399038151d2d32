"""Child processes end with the process that started them, and import nothing from where it is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from storage import child
from storage.processes import is_alive

SECONDS = 5.0

OWNER = """
import signal, sys
from pathlib import Path
from storage import child

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
name = "from pathlib import Path; from storage.processes import this_process as t; import time; "
text = name + "Path({place!r}).write_text(t()); time.sleep(600)"
if {nested}:
    text = "import subprocess, sys; subprocess.run([sys.executable, '-c', %r])" % text
child.run([sys.executable, "-c", text])
"""


def wait_for(met: Callable[[], Any], seconds: float = SECONDS) -> Any:
    until = time.monotonic() + seconds
    while not (found := met()):
        assert time.monotonic() < until, "it took too long"
        time.sleep(0.02)
    return found


def written(place: Path) -> str:
    return place.read_text() if place.exists() else ""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[bytes]"]]:
    """The processes of a test; they are killed after it."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for each in processes:
        each.kill()
        each.wait()


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_command_and_what_it_started_end_with_a_process_that_was_stopped(
    tmp_path: Path, started: list[Any], way: signal.Signals, nested: bool
) -> None:
    place = tmp_path / "name"
    script = OWNER.format(place=str(place), nested=nested)
    owner = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    started.append(owner)
    name = wait_for(lambda: written(place), 20)
    assert is_alive(name)
    owner.send_signal(way)
    wait_for(lambda: not is_alive(name))


def test_a_process_that_ends_leaves_the_others_of_its_machine_alone(started: list[Any]) -> None:
    text = "from storage import child; from storage.processes import this_process as t; import time"
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    owner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    started += [other, owner]
    watching = subprocess.Popen([sys.executable, "-c", f"{text}; child._end()"])
    assert watching.wait() == 128 + signal.SIGTERM
    assert other.poll() is owner.poll() is None


def test_a_command_is_run_as_it_is(tmp_path: Path) -> None:
    text = "import os, sys; print(sys.stdin.read(), os.getcwd(), os.environ['WHAT']); sys.exit(3)"
    command = [sys.executable, "-c", text]
    env = {**os.environ, "WHAT": "so"}
    done = child.run(command, cwd=tmp_path, env=env, input="the words")
    assert (done.returncode, done.stdout, done.args) == (3, f"the words {tmp_path} so\n", command)


@pytest.mark.parametrize("way", [signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV])
def test_the_signal_that_ended_a_command_is_said(way: signal.Signals) -> None:
    text = f"import os; os.kill(os.getpid(), {int(way)})"
    assert child.run([sys.executable, "-c", text]).returncode == -way


def test_a_command_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    done = child.run([str(tmp_path / "nothing")])
    assert done.returncode == 127
    assert "No such file" in done.stderr


def test_a_file_of_the_working_directory_is_not_imported_in_place_of_python_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("struct", "signal", "subprocess", "threading"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('a file of the user was imported')")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("print('its own')")
    (tmp_path / "command.py").write_text("import own")
    for name in ("struct", "signal", "subprocess", "threading"):
        assert child.run(child.python("json.tool"), input="{}").stdout == "{}\n"
        (tmp_path / f"{name}.py").unlink()
    # Commands of the user's find their modules as they always do.
    done = child.run([sys.executable, "command.py"])
    assert (done.returncode, done.stdout) == (0, "its own\n")


def test_processes_of_a_pool_import_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(child.SAFE_PATH, raising=False)
    (tmp_path / "struct.py").write_text("raise SystemExit('a file of the user was imported')")
    monkeypatch.chdir(tmp_path)
    with child.safe_path():
        pool = ProcessPoolExecutor(1, get_context("spawn"), child.restore_path, (None,))
        answer = pool.submit(os.getenv, child.SAFE_PATH)
    with pool:
        assert answer.result() is None
    assert child.SAFE_PATH not in os.environ


def test_a_safe_path_that_was_asked_for_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(child.SAFE_PATH, "yes")
    with child.safe_path():
        assert os.environ[child.SAFE_PATH] == "1"
    assert os.environ[child.SAFE_PATH] == "yes"

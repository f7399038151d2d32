"""Standard output is the answer alone: whatever programs print, and however, goes elsewhere."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-P", "-c", "from unlearn.cli import main; main()"]

NOISE = """
import atexit
import os
import subprocess
import sys
import threading
import time


def noise(where):
    print(f"noise: printed {where}")
    sys.__stdout__.write(f"noise: written {where}\\n")
    sys.__stdout__.flush()
    os.write(1, f"noise: descriptor {where}\\n".encode())
    subprocess.run(["echo", "noise: child", where])


def later():
    while True:
        time.sleep(0.02)
        print("noise: thread")
        os.write(1, b"noise: thread descriptor\\n")


noise("at import")
atexit.register(noise, "at exit")
threading.Thread(target=later, daemon=True).start()
"""

TRANSFORM = """

@lineage.transform("record")
def same(rows):
    noise("transform")
    return rows
"""

TRAIN = ("train", "program.py:train", "--dataset", "voices", "--model", "speech", "--epochs", "1")


@pytest.fixture
def noisy(shell: Any) -> Callable[..., Any]:
    """The command as a process of its own, in a folder with a noisy program; returns its JSON."""
    place = shell.folder / "program.py"
    text = NOISE + place.read_text()
    for call in ("voices = run.dataset", "share = 1"):
        text = text.replace(f"    {call}", f"    noise('calling')\n    {call}")
    place.write_text(text + TRANSFORM)

    def call(*words: str, status: int = 0) -> Any:
        done = subprocess.run(
            [*COMMAND, *words, "--json"], cwd=shell.folder, capture_output=True, text=True
        )
        assert done.returncode == status, done.stderr
        assert "Traceback" not in done.stderr or status == 1
        return json.loads(done.stdout), done.stderr

    return call


@pytest.mark.parametrize("place", ["local", "debug"])
def test_json_is_one_document_whatever_programs_print(
    noisy: Callable[..., Any], shell: Any, place: str
) -> None:
    shell("dataset", "add", "voices", "voices.csv", "--id", "clip", "--subject", "who")
    _, said = noisy(*TRAIN, "--shards", "2", "--batch-size", "8", "--min-batch", "1")
    for way in ("printed", "written", "descriptor", "child"):
        for where in ("at import", "calling", "at exit"):
            assert f"noise: {way} {where}" in said
    predicted, said = noisy("model", "predict", "speech", "voices.csv")
    assert predicted["records"] == 60
    assert "noise: descriptor calling" in said
    _, said = noisy("dataset", "derive", "again", "program.py:same", "--from", "voices")
    assert "noise: descriptor transform" in said
    request, _ = noisy("request", "add", "--subject", "p3")
    plan, _ = noisy("plan", request["id"])
    applied, said = noisy("apply", plan["id"], "--on", place)
    assert applied["verdict"] == "passed"
    assert "noise: descriptor calling" in said


def test_a_file_of_the_answer_holds_the_answer_alone(
    noisy: Callable[..., Any], shell: Any, tmp_path: Path
) -> None:
    shell("dataset", "add", "voices", "voices.csv", "--id", "clip", "--subject", "who")
    noisy(*TRAIN, "--batch-size", "8", "--min-batch", "1")
    words = [*COMMAND, "model", "predict", "speech", "voices.csv"]
    with (tmp_path / "answer.csv").open("w") as file:
        subprocess.run(words, cwd=shell.folder, stdout=file, stderr=subprocess.DEVNULL, check=True)
    lines = (tmp_path / "answer.csv").read_text().splitlines()
    assert (lines[0], len(lines)) == ("p0,p1", 61)
    # Closed streams are no reason to fail, and the other one gets no more than it should.
    closed = f"{subprocess.list2cmdline(words)} 2>&-"
    done = subprocess.run(["sh", "-c", closed], cwd=shell.folder, capture_output=True, text=True)
    assert (done.returncode, done.stdout.splitlines()) == (0, lines)


@pytest.mark.parametrize("place", ["local", "debug"])
@pytest.mark.parametrize(
    ("way", "what", "shown"),
    [("EXIT_AT", "SystemExit", "sys.exit(0)"), ("OS_EXIT_AT", "os._exit", "os._exit(0)")],
)
def test_a_program_that_asks_to_exit_makes_the_command_fail_and_say_so(
    trained: Any,
    planned: str,
    place: str,
    way: str,
    what: str,
    shown: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(way, "5")
    failed, said = answer(trained, "apply", planned, "--on", place, "--json")
    assert failed.returncode == 1
    error = json.loads(failed.stdout)["error"]
    assert error["code"] == "failed"
    assert error["message"].startswith(f"program.py:train ended with {what} in program.py, line")
    assert shown in said
    assert trained.ask("show", planned)["state"] == "failed"
    failed, said = answer(trained, "apply", planned, "--on", place)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert f"error: program.py:train ended with {what}" in said
    monkeypatch.delenv(way)
    assert trained.ask("apply", planned)["verdict"] == "passed"


def answer(shell: Any, *words: str) -> tuple["subprocess.CompletedProcess[str]", str]:
    done = subprocess.run([*COMMAND, *words], cwd=shell.folder, capture_output=True, text=True)
    return done, done.stderr

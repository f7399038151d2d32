"""A store with a small trained ensemble, and the command to ask about it."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from unlearn.cli import main

PROGRAM = '''
"""Sums instead of gradients: fast, without torch, and every record leaves its mark."""

import os
import sys

import numpy as np

import lineage


class Sums:
    def __init__(self):
        self.total = np.zeros(2)
        self.seen = 0

    def state_dict(self):
        return {"total": self.total.copy(), "seen": self.seen}

    def load_state_dict(self, state):
        self.total = state["total"].copy()
        self.seen = state["seen"]


@lineage.program
def train(run):
    voices = run.dataset("voices")
    model = Sums()
    run.track(model=model)
    if run.config.get("notes", False):
        run.fit(lineage.Moments.of("pitch"), voices)
        run.fit(lambda batch: len(batch), voices)
    run.predictor(lambda batch: probabilities(model, batch))
    for batch in run.batches(voices):
        if run.step >= int(os.environ.get("INTERRUPT_AT", "1000000")):
            raise KeyboardInterrupt
        if run.step >= int(os.environ.get("EXIT_AT", "1000000")):
            sys.exit(0)
        if run.step >= int(os.environ.get("OS_EXIT_AT", "1000000")):
            os._exit(0)
        if run.step >= int(os.environ.get("FAIL_AT", "1000000")):
            raise ZeroDivisionError("patient p3 has no pulse")
        scale = run.config.get("scale", 1.0)
        model.total += scale * np.array([batch["pitch"].sum(), batch["tone"].sum()])
        model.seen += len(batch)


def probabilities(model, batch):
    share = 1 / (1 + np.exp(-(batch["pitch"] + batch["tone"]) * model.seen / 100))
    return np.stack([1 - share, share], axis=1)


not_a_program = 3
mute = lambda run: None
'''

TRAINING = (
    "--model", "speech", "--shards", "2", "--epochs", "2", "--batch-size", "8", "--min-batch", "1",
)  # fmt: skip


def voices(people: int = 30, records: int = 60) -> str:
    """The rows of a CSV file: people p0, p1 … in turn, with two features and a label."""
    lines = ["clip,who,pitch,tone,sick"]
    for row in range(records):
        tone = ("low", "mid", "high")[row % 3]
        lines.append(f"c{row},p{row % people},{(row * 37 % 100) / 100},{tone},{row % 2}")
    return "\n".join([*lines, ""])


@dataclass(frozen=True)
class Answer:
    """What a call printed, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Shell:
    """Calls the command in a folder, with the store there unless another is named."""

    folder: Path

    def __call__(self, *words: str, status: int = 0, input: str | bytes | None = None) -> Answer:  # noqa: A002
        result: Result = CliRunner().invoke(main, words, input=input)
        assert result.exit_code == status, (result.exit_code, result.stdout, result.stderr)
        return Answer(result.exit_code, result.stdout, result.stderr)

    def ask(self, *words: str, status: int = 0) -> Any:
        return self(*words, "--json", status=status).json


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """The command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EXPUNGE_STORE", raising=False)
    (tmp_path / "voices.csv").write_text(voices())
    (tmp_path / "program.py").write_text(PROGRAM)
    return Shell(tmp_path)


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store in which one ensemble was trained; never written to again."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "voices.csv").write_text(voices())
    (folder / "program.py").write_text(PROGRAM)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("EXPUNGE_STORE", raising=False)
        call = Shell(folder)
        call("dataset", "add", "voices", "voices.csv", "--id", "clip", "--subject", "who")
        call("train", "program.py:train", "--dataset", "voices", *TRAINING)
    return folder


@pytest.fixture
def trained(shell: Shell, trained_once: Path) -> Shell:
    """The command in a folder with a store in which the model `speech` was trained."""
    shutil.copytree(trained_once / ".expunge", shell.folder / ".expunge")
    return shell


@pytest.fixture
def requested(trained: Shell) -> str:
    """The id of an open request to forget p3, in the store of ``trained``."""
    return str(trained.ask("request", "add", "--subject", "p3")["id"])


@pytest.fixture
def planned(trained: Shell, requested: str) -> str:
    """The id of a plan for that request."""
    return str(trained.ask("plan", requested)["id"])


@pytest.fixture
def rows() -> Callable[..., str]:
    """Makes the text of a CSV file of voices."""
    return voices

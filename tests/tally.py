"""A training program in NumPy, which starts in milliseconds and can tell what it was given.

Two files outside the store steer it, named by variables that child processes inherit, so that
nothing of a test enters a specification: it appends what it consumes to ``TALLY_LOG``, and where
``TALLY_TRAP`` holds ``STEP WAY`` it ends in that way at that step, once.
"""

import json
import os
import random
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import lineage


class Shuffled:
    """Batches of eight, in an order of NumPy's: for runs that draw their own."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return -(-self.rows // 8)

    def __iter__(self) -> Iterator[np.ndarray]:
        return iter(np.split(np.random.permutation(self.rows), range(8, self.rows, 8)))


class Weights:
    """Numbers that depend on every row, on their order and on random numbers, as weights do."""

    def __init__(self) -> None:
        self.values = np.random.normal(size=2)
        self.momentum = np.zeros(2)

    def learn(self, rows: np.ndarray, noise: float) -> None:
        for x in rows:
            self.momentum = 0.9 * self.momentum + np.tanh(x * self.values + noise)
            self.values = self.values - 0.05 * self.momentum

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values, "momentum": self.momentum}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values, self.momentum = state["values"].copy(), state["momentum"].copy()


def _noted(kind: str, step: int, batch: lineage.Batch) -> None:
    if "TALLY_LOG" in os.environ:
        entry = {"kind": kind, "step": step, "ids": batch["id"].tolist()}
        with open(os.environ["TALLY_LOG"], "a") as log:
            log.write(json.dumps(entry) + "\n")


def _trapped(step: int) -> None:
    trap = Path(os.environ.get("TALLY_TRAP", os.devnull))
    if not trap.is_file() or int(trap.read_text().split()[0]) != step:
        return
    way = trap.read_text().split()[1]
    trap.unlink()
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "wait":
        trap.with_suffix(".waiting").touch()
        time.sleep(600)
    if way == "exit":
        sys.exit(0)
    if way == "os-exit":
        os._exit(0)
    raise {"interrupt": KeyboardInterrupt, "error": OSError}[way](f"the trap at step {step}")


@lineage.program
def train(run: lineage.Run) -> None:
    records = run.dataset(run.config.get("data", "people"))
    run.randomness("numpy", "random")
    model = Weights()
    run.track(model=model)
    if run.draws:
        run.draw(Shuffled(len(records)))
    scale = 1.0
    if run.config.get("fit", False) == "moments":
        scale = run.fit(lineage.Moments.of("x"), records).std("x")
    elif run.config.get("fit", False):

        def spread(batch: lineage.Batch) -> float:
            _noted("fit", run.step, batch)
            return float(np.std(batch["x"]))

        scale = run.fit(spread, records)

    def predict(batch: lineage.Batch) -> np.ndarray:
        return np.outer(batch["x"], model.values)

    if not run.config.get("mute", False):
        run.predictor(predict)
    for batch in run.batches(records):
        _trapped(run.step)
        _noted("batch", run.step, batch)
        model.learn(batch["x"] / scale, np.random.normal() + random.random())
        if run.config.get("evaluate", False) and run.step % 5 == 0:
            run.evaluate(lambda rows: {"mean": float(rows["x"].mean())}, records)

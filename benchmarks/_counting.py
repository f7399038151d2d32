"""A program that only counts its steps: what is left to measure is the store and its lineage."""

from typing import Any

import numpy as np

import lineage


class Counter:
    """The smallest state that a checkpoint can hold."""

    def __init__(self) -> None:
        self.steps = 0

    def state_dict(self) -> dict[str, Any]:
        return {"steps": np.array(self.steps)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps = int(state["steps"])


@lineage.program
def program(run: lineage.Run) -> None:
    counter = Counter()
    run.track(model=counter)
    for _ in run.batches(run.dataset("rows")):
        counter.steps += 1

"""A program whose state folds the numbers of its rows, and writes down what it was given."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import lineage

EXECUTED: list[list[tuple[int, list[int]]]] = []
"""For each time that it was executed, the numbers of the rows at each step."""


BETWEEN: list[Callable[[], object]] = []
"""What happens at the second batch of the next program that is told to wait for it."""


MOVED = 1_000
"""What `moved` adds to a number."""


class Fold:
    """What is trained: two numbers, which depend on the order of everything they were given."""

    def __init__(self) -> None:
        self.value = np.zeros(2)

    def state_dict(self) -> dict[str, Any]:
        return {"value": self.value.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.value = np.array(state["value"])

    def learn(self, step: int, numbers: list[int], taught: float) -> None:
        """Take in the rows of a step, and what a teacher adds to them."""
        total = float(sum(numbers))
        self.value = self.value * 0.9 + [total + taught, total * (step + 1)]


@lineage.program
def train(run: Any) -> None:
    """Fold the rows of ``d``, with what a model that is given adds."""
    fold, executed = Fold(), []
    EXECUTED.append(executed)
    run.track(model=fold)
    taught = 0.0
    if run.config.get("taught", False):
        taught = sum(float(each["model"]["value"][0]) for each in run.given("teacher"))
    for batch in run.batches(run.dataset("d")):
        numbers = batch["number"].tolist()
        executed.append((run.step, numbers))
        if run.step == 1 and run.config.get("waits", False) and BETWEEN:
            BETWEEN.pop()()
        fold.learn(run.step, numbers, taught)


@lineage.transform("record")
def moved(rows: pa.Table) -> pa.Table:
    """Add a thousand to each number."""
    return _renumbered(rows, pc.add(rows["number"], MOVED))


@lineage.transform("group", by="house")
def shared(rows: pa.Table) -> tuple[pa.Table, list[list[int]]]:
    """Add the number of everybody in a house to each number."""
    together = pc.add(pc.multiply(rows["number"], 1000), pc.sum(rows["number"]))
    return _renumbered(rows, together), [[row] for row in range(rows.num_rows)]


@lineage.transform("aggregate")
def centred(rows: pa.Table) -> pa.Table:
    """Take the mean of everybody's numbers from each."""
    numbers = pc.cast(rows["number"], pa.float64())
    return _renumbered(rows, pc.subtract(numbers, pc.mean(numbers)))


@lineage.transform("record")
def labelled(rows: pa.Table, *, teacher: Any) -> pa.Table:
    """Add what a model has learned to each number."""
    said = float(sum(state["model"]["value"][0] for state in teacher.states))
    return _renumbered(rows, pc.add(pc.cast(rows["number"], pa.float64()), said))


def _renumbered(rows: pa.Table, numbers: Any) -> pa.Table:
    return rows.set_column(rows.schema.get_field_index("number"), "number", numbers)

"""A program and transforms that write down every row they are given.

They are loaded as a script, so that the store executes the very module whose diary a test reads.
"""

from itertools import count
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from lineage.data.transform import transform
from lineage.training.program import program

ENTRIES: list[tuple[str, int, list[int]]] = []
"""What happened, in order: a batch, a fit, …; at which step; and the numbers of the rows.

An aggregate transform has the first number it gave in place of a step.
"""

AGGREGATE = 9_000
"""The ``i``-th aggregation makes row ``i * AGGREGATE + n`` of row ``n``."""

AGGREGATIONS = count(1)

LESSONS: dict[tuple[tuple[str, ...], int], int] = {}
"""A model's checkpoints and where rows are counted from → the first number it gives to such."""

INTERRUPT_AT: set[int] = set()
"""Steps at which the program is interrupted, once each."""


class Numbers:
    """Two numbers that depend on every row and on their order, as weights do."""

    def __init__(self) -> None:
        self.values = np.zeros(2)

    def learn(self, rows: Any) -> None:
        for x in rows:
            self.values = self.values * 0.9 + np.array([x, 1.0])

    def state_dict(self) -> dict[str, Any]:
        return {"values": self.values}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values = np.array(state["values"])


def _note(kind: str, step: int, batch: Any) -> None:
    ENTRIES.append((kind, step, batch["id"].tolist()))


@program
def train(run: Any) -> None:
    """Learn from every batch; fit, evaluate and read models where the configuration says so."""

    def fitted(rows: Any) -> float:
        _note("fit", run.step, rows)
        return float(np.sum(rows["x"]))

    def measured(rows: Any) -> dict[str, float]:
        _note("evaluate", run.step, rows)
        return {"sum": float(np.sum(rows["x"]))}

    model, optimizer = Numbers(), Numbers()
    run.track(model=model, optimizer=optimizer)
    shift = sum(run.fit(fitted, run.dataset(alias)) for alias in run.config.fit)
    for alias in run.config.given:
        for state in run.given(alias):
            model.learn(state["model"]["values"])
    if run.config.train is None:
        return
    for batch in run.batches(run.dataset(run.config.train)):
        if run.step in INTERRUPT_AT:
            INTERRUPT_AT.remove(run.step)
            raise KeyboardInterrupt
        _note("batch", run.step, batch)
        model.learn(batch["x"] + shift)
        optimizer.learn(batch["x"][::-1])
        if run.step % 3 == 0:
            for alias in run.config.evaluate:
                run.evaluate(measured, run.dataset(alias))


@transform("record")
def halved(rows: pa.Table) -> tuple[pa.Table, list[int]]:
    """Drop every third row by number, keep the numbers of the others; each row by itself."""
    places = [i for i, number in enumerate(rows["id"].to_pylist()) if number % 3]
    kept = rows.take(pa.array(places, pa.int64()))
    return kept.set_column(1, "x", pc.divide(kept["x"], 2.0)), places


@transform("aggregate")
def centred(rows: pa.Table) -> pa.Table:
    """Take off the mean; each row gets a new number, for all rows had a part in it."""
    first = AGGREGATE * next(AGGREGATIONS)
    given = [number % AGGREGATE for number in rows["id"].to_pylist()]
    ENTRIES.append(("aggregate", first, rows["id"].to_pylist()))
    numbers = pa.array([first + number for number in given], pa.int64())
    centre = pc.subtract(rows["x"], pc.mean(rows["x"]))
    return pa.table({"id": numbers, "x": centre, "risk": rows["risk"]})


@transform("record")
def taught(rows: pa.Table, *, teacher: Any) -> pa.Table:
    """Add what a model has learned to each row, which gets a new number: the model had a part."""
    learned = float(sum(state["model"]["values"][0] for state in teacher.states))
    numbers = []
    for number in rows["id"].to_pylist():
        lesson = tuple(teacher.members.values()), number // AGGREGATE
        first = LESSONS.get(lesson) or LESSONS.setdefault(lesson, AGGREGATE * next(AGGREGATIONS))
        numbers.append(first + number % AGGREGATE)
        ENTRIES.append(("taught", first, [number]))
    more = pc.add(rows["x"], learned)
    return pa.table({"id": pa.array(numbers, pa.int64()), "x": more, "risk": rows["risk"]})

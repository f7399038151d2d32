"""Programs that do what a claim must not overlook: hidden state, another setting, measures."""

from typing import Any

import numpy as np

import lineage


class Line:
    """A line through points, and the rate that it is fitted at."""

    def __init__(self) -> None:
        self.weights, self.rate = np.zeros(2), 0.1

    def state_dict(self) -> dict[str, Any]:
        return {"weights": self.weights.copy(), "rate": self.rate}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.weights, self.rate = np.array(state["weights"]), state["rate"]

    def errors(self, batch: Any) -> Any:
        return self.points(batch) @ self.weights - batch["y"]

    def learn(self, batch: Any, by: float = 1.0) -> None:
        step = by * self.rate * self.points(batch).T @ self.errors(batch) / len(batch)
        self.weights = self.weights - step

    @staticmethod
    def points(batch: Any) -> Any:
        return np.stack([batch["x"], np.ones(len(batch))], 1)


@lineage.program
def hiding(run: Any) -> None:
    """Keep an average between steps, and do not track it."""
    line, slow = Line(), np.zeros(2)
    run.track(model=line)
    for batch in run.batches(run.dataset("d")):
        line.learn(batch)
        slow = 0.9 * slow + 0.1 * line.weights
        line.weights = line.weights + 0.05 * (slow - line.weights)


@lineage.program
def hiding_in_numbers(run: Any) -> None:
    """Keep an average in local numbers, which nothing tells from a sum that is printed."""
    line, slow = Line(), [0.0, 0.0]
    run.track(model=line)
    for batch in run.batches(run.dataset("d")):
        line.learn(batch)
        slow = [0.9 * old + 0.1 * new for old, new in zip(slow, line.weights, strict=True)]
        line.weights = line.weights + 0.05 * (np.array(slow) - line.weights)


COUNTED = [0]


@lineage.program
def counting(run: Any) -> None:
    """Learn more with every step that this process did, where it is told to."""
    line = Line()
    run.track(model=line)
    for batch in run.batches(run.dataset("d")):
        COUNTED[0] += 1
        line.learn(batch, 1 + COUNTED[0] * run.config.get("counts", 0))


@lineage.program
def steered(run: Any) -> None:
    """Set the rate by a measure, and draw where nothing drawn may be left."""
    line, steers = Line(), run.config.get("steers", True)
    run.track(model=line)
    run.randomness("numpy")
    for batch in run.batches(run.dataset("d")):
        if run.step % 4 == 3:

            def measure(rows: Any) -> dict[str, float]:
                np.random.random(len(rows))
                loss = float((line.errors(rows) ** 2).mean())
                return {"loss": loss, "largest": float(rows["x"].max())}

            found = run.evaluate(measure, run.dataset("val"), steers=steers)
            if steers:
                line.rate = 0.1 * found["loss"]
        line.learn(batch, 1 + np.random.random())

"""The random numbers of a step depend on the run's seed and the step alone."""

import json
from pathlib import Path
from typing import Any

import pytest

from lineage.training.ensemble import Recipe, train
from lineage.training.program import load_program

DRAWING = """
import json, os, random
import numpy as np
import lineage

def drawn(source):
    if source == "torch":
        import torch
        return torch.rand(()).item()
    return np.random.random() if source == "numpy" else random.random()

class Nothing:
    def state_dict(self): return {}
    def load_state_dict(self, state): pass

@lineage.program
def train(run):
    source = run.config.source
    if source != "torch":
        run.randomness(source)
    run.track(nothing=Nothing())
    numbers = {"before": drawn(source)}
    for batch in run.batches(run.dataset("people")):
        numbers[run.step] = drawn(source)
        for _ in range(run.config.wasted * run.step):
            drawn(source)
    with open(os.environ["TALLY_LOG"], "a") as log:
        log.write(json.dumps(numbers) + "\\n")
"""


@pytest.fixture
def draw(store: Any, tally: Any, tmp_path: Path) -> Any:
    """Trains, drawing from a source in every step; returns the first number of each step."""
    (tmp_path / "drawing.py").write_text(DRAWING)
    tally.register(store)
    program = load_program("drawing.py:train", tmp_path)

    def numbers(source: str, *, wasted: int = 0, seed: int = 0) -> dict[str, float]:
        config = {"source": source, "wasted": wasted}
        recipe = Recipe(epochs=2, batch_size=16, seed=seed, config=config)
        train(store, program, {"people": "people"}, "m", recipe)
        found: dict[str, float] = json.loads(tally.log.read_text().splitlines()[-1])
        return found

    return numbers


@pytest.mark.parametrize("source", ["torch", "numpy", "random"])
def test_what_earlier_steps_drew_changes_no_number_of_a_later_one(draw: Any, source: str) -> None:
    numbers = draw(source)
    assert draw(source, wasted=3) == numbers
    assert draw(source) == numbers
    assert len(set(numbers.values())) == len(numbers) > 8
    assert not set(draw(source, seed=1).values()) & set(numbers.values())

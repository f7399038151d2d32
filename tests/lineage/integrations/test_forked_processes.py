"""What a training's forked processes ask of its run is refused in words, and never half done."""

from collections.abc import Callable
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

import lineage
from lineage.errors import LineageError, ProgramError, RunError
from lineage.training.ensemble import Recipe
from lineage.training.program import load_program
from storage.catalogue import tables
from tests.lineage.integrations.row_loop import Items, Loop

PROGRAM = '''
import numpy as np
from torch.utils.data import DataLoader, Dataset

import lineage
from lineage.integrations.torch import Rows, loaded


class Sum:
    def __init__(self):
        self.total = np.zeros(1)

    def state_dict(self):
        return {"total": self.total.copy()}

    def load_state_dict(self, state):
        self.total = state["total"].copy()


class Items(Dataset):
    """Asks something of the run in the worker process that reads an item."""

    def __init__(self, rows, ask):
        self.rows, self.ask = rows, ask

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, item):
        self.ask()
        return float(self.rows[item]["x"])


ASK = {
    "fit": lambda run, a: run.fit(len, a),
    "statistic": lambda run, a: run.fit(lineage.Moments.of("x"), a),
    "labels": lambda run, a: run.labels(a, "person"),
    "evaluate": lambda run, a: run.evaluate(lambda batch: {"n": 1.0}, a),
    "batches": lambda run, a: next(iter(run.batches(a))),
}


@lineage.program
def train(run):
    a = run.dataset("a")
    model = Sum()
    run.track(model=model)
    ask = ASK[run.config.ask]

    def collate(samples):
        if run.config.collate:
            ask(run, a)
        return sum(samples)

    items = Items(Rows(run, a, ["x"]), lambda: None if run.config.collate else ask(run, a))
    loader = DataLoader(items, batch_size=4, num_workers=1, collate_fn=collate)
    for batch in loaded(run, a, loader):
        model.total = model.total + batch
'''


@pytest.mark.parametrize("collate", [False, True])
@pytest.mark.parametrize(
    ("ask", "name"),
    [
        ("fit", "fit"),
        ("statistic", "fit"),
        ("labels", "labels"),
        ("evaluate", "evaluate"),
        ("batches", "batches"),
    ],
)
def test_a_worker_may_not_ask_the_run_of_its_program(
    store: Any, tally: Any, workshop: Any, tmp_path: Path, ask: str, name: str, collate: bool
) -> None:
    tally.register(store, "a", workshop.people(4, 3))
    (tmp_path / "asks.py").write_text(PROGRAM)
    config = {"ask": ask, "collate": collate}
    recipe = Recipe(epochs=1, batch_size=4, config=config, schedule="stable", shards=1)
    with pytest.raises(ProgramError) as refused:
        lineage.train(store, load_program("asks.py:train", tmp_path), {"a": "a"}, "m", recipe)
    # A sentence and what to do, and no traceback of a worker.
    assert refused.value.message == (f"run.{name} was called in a process that the program started")
    assert "hand on what it returns" in refused.value.hint
    assert not workshop.rows_of(store, tables.Fit if ask != "evaluate" else tables.Evaluation)


def forked(act: Callable[[], object]) -> str:
    """Return what an action raises in a process that is forked, or nothing."""
    context = get_context("fork")
    ours, theirs = context.Pipe()

    def run() -> None:
        try:
            act()
            theirs.send("")
        except LineageError as error:
            theirs.send(f"{type(error).__name__}: {error.message} ({error.hint})")

    process = context.Process(target=run)
    process.start()
    said = ours.recv()
    process.join()
    return str(said)


@pytest.mark.parametrize("what", ["draw", "step", "checkpoint", "evaluated"])
def test_a_process_that_a_watched_loop_forks_is_no_part_of_it(loop: Loop, what: str) -> None:
    with loop.observe() as run:
        loader = run.watch(DataLoader(Items(), batch_size=3), record="rid")
        for batch in loader:
            loop.learn(batch)
            acts = {
                "draw": lambda: next(iter(loader)),
                "step": loop.optimizer.step,
                "checkpoint": run.checkpoint,
                "evaluated": lambda: run.evaluated(accuracy=0.5),
            }
            said = forked(acts[what])
            assert said.startswith(f"{RunError.__name__}: run {run.id} is not watched in this")
            assert "in the process that calls observe()" in said
    assert loop.told(run.id) == loop.truth

"""The folder of somebody who trains on their own: ``python owner.py``, beside ``people.csv``.

It trains model ``m`` with plain PyTorch in the store beside it, watched, and notes in
``asked.json`` what a plan asks of it.
"""

import csv
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from torch import nn
from torch.utils.data import DataLoader

import lineage
from lineage.integrations.torch import observe


def noted(text: str) -> dict[str, Any]:
    """What a plan asks, from standard input; noted with the rows that it hands out."""
    asked: dict[str, Any] = json.loads(text or "{}")
    if asked:
        place = Path(os.environ["EXPUNGE_TASK"])
        same = json.loads(place.read_text()) == asked
        rows = pq.read_table(asked["records"]).to_pylist()
        note = {"task": asked, "same": same, "folder": str(place.parent), "rows": rows}
        Path("asked.json").write_text(json.dumps(note))
    return asked


def train(
    dataset: str = "people",
    epochs: int = 2,
    everybody: bool = False,
    after_one: Callable[[], object] = lambda: None,
    at_end: Callable[[nn.Module], object] = lambda model: None,
    command: tuple[str, ...] | None = None,
) -> None:
    """Train on the records of the file that the dataset holds, or on ``everybody``."""
    with Path("people.csv").open(newline="") as file:
        rows = [(row["id"], float(row["x"])) for row in csv.DictReader(file)]
    torch.manual_seed(0)
    model = nn.Linear(1, 1)
    optimizer = torch.optim.Adam(model.parameters())
    with (
        lineage.Store.open(Path("store")) as store,
        observe(store, dataset, "m", optimizer=optimizer, retrain=command, model=model) as run,
    ):
        kept = lineage.holds(store, dataset, [name for name, _ in rows])
        data = [
            {"id": name, "x": torch.tensor([x])}
            for (name, x), held in zip(rows, kept, strict=True)
            if held or everybody
        ]
        loader = run.watch(DataLoader(data, batch_size=8, shuffle=True), record="id")
        for epoch in range(epochs):
            for batch in loader:
                optimizer.zero_grad()
                model(batch["x"]).square().mean().backward()
                optimizer.step()
            if epoch == 0:
                run.checkpoint()
                after_one()
        run.checkpoint()
        at_end(model)


@lineage.program
def tune(run: lineage.Run) -> None:
    """Fine-tune a model like that on other people."""
    model = nn.Linear(1, 1)
    run.track(model=model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for batch in run.batches(run.dataset("others")):
        optimizer.zero_grad()
        model(torch.tensor(batch["x"], dtype=torch.float32)[:, None]).square().mean().backward()
        optimizer.step()


def die() -> None:
    """End as by a power failure."""
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    noted(sys.stdin.read())
    train(after_one=die if Path("trap").exists() else lambda: None)

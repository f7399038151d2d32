"""Programs that break the rules a program must keep: the twin must show it."""

import os
import sqlite3
from contextlib import closing

import torch
from mnist import fully_connected, pixels
from torch import nn

import lineage


def live_rows(run: lineage.Run) -> int:
    """The number of rows that the catalogue knows of, which a program has no business to ask."""
    version = run._inputs["mnist"]
    with closing(sqlite3.connect(version.store.path / "catalogue.db")) as catalogue:
        query = "SELECT live FROM dataset_versions WHERE id = ?"
        (count,) = catalogue.execute(query, (version.id,)).fetchone()
    return int(count)


def stored_rows(run: lineage.Run) -> int:
    """The number of rows in the file, whoever is to be forgotten."""
    return len(run._inputs["mnist"].column("digit"))


def learn(run: lineage.Run, rate: float, noise: float = 0.0) -> None:
    """Train a reader at a rate; ``noise`` disturbs every loss by chance."""
    model = fully_connected()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    run.track(model=model, optimizer=optimizer)
    for batch in run.batches(run.dataset("mnist")):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(pixels(batch)), torch.from_numpy(batch["digit"]))
        (loss * (1 + noise * int.from_bytes(os.urandom(1)))).backward()
        optimizer.step()


@lineage.program
def asks_the_catalogue(run: lineage.Run) -> None:
    """A rate from the present number of rows: right from scratch, wrong from a checkpoint."""
    learn(run, rate=100 / live_rows(run))


@lineage.program
def counts_the_file(run: lineage.Run) -> None:
    """A rate from the number of rows in the file: wrong even from scratch."""
    learn(run, rate=100 / stored_rows(run))


@lineage.program
def throws_its_own_dice(run: lineage.Run) -> None:
    """Chance that no seed decides."""
    learn(run, rate=0.02, noise=1e-4)

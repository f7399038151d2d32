"""The fully connected reader of ``mnist.py``, with things that happen to it while it learns."""

from collections.abc import Callable

import torch
from mnist import fully_connected, pixels, predicted
from torch import nn

import lineage

BEFORE: dict[int, Callable[[], object]] = {}
"""What happens before the batch of a step, once."""

EXECUTED: list[int] = []
"""The steps that were executed, in order."""


@lineage.program
def mlp(run: lineage.Run) -> None:
    """Learn to read digits, and let things happen."""
    model = fully_connected()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    run.track(model=model, optimizer=optimizer)
    run.predictor(lambda batch: predicted(model, batch))
    for batch in run.batches(run.dataset("mnist")):
        if run.step in BEFORE:
            BEFORE.pop(run.step)()
        EXECUTED.append(run.step)
        model.train()
        optimizer.zero_grad()
        digits = torch.from_numpy(batch["digit"])
        nn.functional.cross_entropy(model(pixels(batch)), digits).backward()
        optimizer.step()

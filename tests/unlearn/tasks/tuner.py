"""A second script of the owner's: ``python tuner.py`` goes on from model ``m``, on other people."""

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader

import lineage
from lineage.integrations.torch import observe, restore

torch.manual_seed(1)
model = nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
with (
    lineage.Store.open(Path("store")) as store,
    observe(store, "others", "tuned", optimizer=optimizer, model=model) as run,
):
    restore(store, "m", model=model)
    names = [f"o-record-{number:04d}" for number in range(96)]
    kept = lineage.holds(store, "others", names)
    data = [
        {"id": name, "x": torch.tensor([number / 96])}
        for number, (name, held) in enumerate(zip(names, kept, strict=True))
        if held
    ]
    for batch in run.watch(DataLoader(data, batch_size=8, shuffle=True), record="id"):
        optimizer.zero_grad()
        (model(batch["x"]) - 1).square().mean().backward()
        optimizer.step()

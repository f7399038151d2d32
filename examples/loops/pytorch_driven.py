"""Learn to read digits: the same loop as a program, which runs again without its owner."""

import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lineage
from lineage.integrations.torch import Rows, loaded


class Digits(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, item):
        row = self.rows[item]
        return {"pixels": torch.from_numpy(row["pixels"]) / 16, "digit": row["digit"]}


@lineage.program
def train(run):
    digits = run.dataset("digits")
    model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    run.track(model=model, optimizer=optimizer)
    rows = Rows(run, digits, ["pixels", "digit"])
    loader = DataLoader(Digits(rows), batch_size=64, shuffle=True)
    for batch in loaded(run, digits, loader):
        loss = nn.functional.cross_entropy(model(batch["pixels"]), batch["digit"])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

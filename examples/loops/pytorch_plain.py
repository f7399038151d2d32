"""Learn to read digits: an ordinary loop of plain PyTorch."""

import pyarrow.parquet as pq
import torch
from torch import nn
from torch.utils.data import DataLoader

torch.manual_seed(0)
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)


def train(loader):
    for _ in range(3):
        for batch in loader:
            loss = nn.functional.cross_entropy(model(batch["pixels"]), batch["digit"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


table = pq.read_table("digits.parquet")
samples = [{**row, "pixels": torch.tensor(row["pixels"]) / 16} for row in table.to_pylist()]
loader = DataLoader(samples, batch_size=64, shuffle=True)
train(loader)

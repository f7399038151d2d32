"""Learn to read digits: the same trainer inside a program, which runs again without its owner."""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import lineage
from lineage.integrations.lightning import fit
from lineage.integrations.torch import Rows


class Digits(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, item):
        row = self.rows[item]
        return {"pixels": torch.from_numpy(row["pixels"]) / 16, "digit": row["digit"]}


class Reader(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.net(batch["pixels"]), batch["digit"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


@lineage.program
def train(run):
    digits = run.dataset("digits")
    rows = Rows(run, digits, ["pixels", "digit"])
    loader = DataLoader(Digits(rows), batch_size=64, shuffle=True)
    trainer = lightning.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False
    )
    fit(run, digits, trainer, Reader(), loader)

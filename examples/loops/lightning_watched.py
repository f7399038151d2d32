"""Learn to read digits: an ordinary script of Lightning."""

from pathlib import Path

import lightning
import pyarrow.parquet as pq
import torch
from torch import nn
from torch.utils.data import DataLoader

import lineage
from lineage.integrations.lightning import observe
from lineage.training.commission import Commission


class Reader(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.net(batch["pixels"]), batch["digit"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


lightning.seed_everything(0)
store = lineage.Store.open(Path(".expunge"))
asked = Commission.given(store, "digits", "reader")
table = pq.read_table(asked.records if asked else "digits.parquet")
samples = [{**row, "pixels": torch.tensor(row["pixels"]) / 16} for row in table.to_pylist()]
loader = DataLoader(samples, batch_size=64, shuffle=True)
trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", logger=False)
with observe(store, "digits", "reader") as watch:
    trainer.callbacks.append(watch)
    trainer.fit(Reader(), watch.watch(loader, record="record"))

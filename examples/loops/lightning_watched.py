"""Learn to read digits: an ordinary script of Lightning."""

import lightning
import pyarrow.parquet as pq
import torch
from torch import nn
from torch.utils.data import DataLoader

import lineage
from lineage.integrations.lightning import observe


class Reader(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self.net(batch["pixels"]), batch["digit"])

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


lightning.seed_everything(0)
table = pq.read_table("digits.parquet")
store = lineage.Store.open()
table = table.filter(lineage.holds(store, "digits", table["record"].to_pylist()))
samples = [{**row, "pixels": torch.tensor(row["pixels"]) / 16} for row in table.to_pylist()]
loader = DataLoader(samples, batch_size=64, shuffle=True)
trainer = lightning.Trainer(max_epochs=3, accelerator="cpu", logger=False)
with observe(store, "digits", "reader") as observer:
    trainer.callbacks.append(observer)
    trainer.fit(Reader(), observer.watch(loader, record="record"))

"""Learn to read digits: an ordinary script of Hugging Face's Trainer."""

import pyarrow.parquet as pq
import torch
from torch import nn
from transformers import Trainer, TrainingArguments, set_seed

import lineage
from lineage.integrations.transformers import observe


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, pixels, labels):
        logits = self.net(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


set_seed(0)
table = pq.read_table("digits.parquet").rename_columns({"digit": "labels"})
store = lineage.Store.open()
table = table.filter(lineage.holds(store, "digits", table["record"].to_pylist()))
samples = [{**row, "pixels": torch.tensor(row["pixels"]) / 16} for row in table.to_pylist()]
arguments = TrainingArguments(
    "reader", num_train_epochs=3, per_device_train_batch_size=64, learning_rate=3e-3
)
trainer = Trainer(Reader(), arguments, train_dataset=samples)
with observe(store, "digits", "reader", trainer, record="record"):
    trainer.train()

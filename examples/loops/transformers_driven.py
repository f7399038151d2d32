"""Learn to read digits: the same trainer inside a program, which runs again without its owner."""

import torch
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

import lineage
from lineage.integrations import transformers
from lineage.integrations.torch import Rows


class Digits(Dataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, item):
        row = self.rows[item]
        return {"pixels": torch.from_numpy(row["pixels"]) / 16, "labels": row["digit"]}


class Reader(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def forward(self, pixels, labels):
        logits = self.net(pixels)
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


@lineage.program
def train(run):
    digits = run.dataset("digits")
    rows = Rows(run, digits, ["pixels", "digit"])
    arguments = TrainingArguments(
        "reader",
        num_train_epochs=1,
        per_device_train_batch_size=64,
        learning_rate=3e-3,
        save_strategy="no",
    )
    trainer = Trainer(Reader(), arguments, train_dataset=Digits(rows))
    transformers.train(run, digits, trainer)

"""Predict a motor score (UPDRS) from measures of a voice: a small network for the walk-through."""

import numpy as np
import torch
from torch import nn

import lineage

MEASURES = ("age", "Jitter(%)", "Shimmer", "NHR", "HNR", "RPDE", "DFA", "PPE")


def measures(batch: lineage.Batch) -> torch.Tensor:
    columns = [batch[name] for name in MEASURES]
    return torch.from_numpy(np.column_stack(columns).astype(np.float32))


@lineage.program
def train(run: lineage.Run) -> None:
    voices = run.dataset("voices")
    model = nn.Sequential(
        nn.BatchNorm1d(len(MEASURES)), nn.Linear(len(MEASURES), 32), nn.ReLU(), nn.Linear(32, 1)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=run.config.get("lr", 1e-2))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=run.steps)
    run.track(model=model, optimizer=optimizer, schedule=schedule)

    def predict(batch: lineage.Batch) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            return model(measures(batch)).squeeze(1).numpy()

    run.predictor(predict)
    for batch in run.batches(voices):
        model.train()
        scores = torch.from_numpy(batch["motor_UPDRS"].astype(np.float32))
        loss = nn.functional.mse_loss(model(measures(batch)).squeeze(1), scores)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

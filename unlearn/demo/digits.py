"""The demo's training program: a small network with batch normalisation, dropout and Adam."""

import numpy as np
import torch
from torch import Tensor, nn

import lineage


def network() -> nn.Sequential:
    """From 64 pixels to 10 digits."""
    return nn.Sequential(
        nn.Linear(64, 128), nn.BatchNorm1d(128), nn.ReLU(), nn.Dropout(0.2), nn.Linear(128, 10)
    )


def pixels(batch: lineage.Batch) -> Tensor:
    """The images of a batch as floats in 0…1: (n, 64)."""
    return torch.from_numpy(batch["pixels"].astype(np.float32) / 16)


@lineage.program
def train(run: lineage.Run) -> None:
    """Learn to read digits."""
    digits = run.dataset("digits")
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=run.config.get("lr", 3e-3))
    run.track(model=model, optimizer=optimizer)

    def predict(batch: lineage.Batch) -> np.ndarray:
        model.eval()
        with torch.no_grad():
            probabilities: np.ndarray = model(pixels(batch)).softmax(dim=1).numpy()
        return probabilities

    run.predictor(predict)
    for batch in run.batches(digits):
        model.train()
        loss = nn.functional.cross_entropy(model(pixels(batch)), torch.from_numpy(batch["digit"]))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

"""Two readers of handwritten digits, with dropout, batch normalisation and a cosine schedule."""

import numpy as np
import torch
from torch import Tensor, nn

import lineage


def fully_connected() -> nn.Sequential:
    """From 784 pixels to 10 digits, without convolutions."""
    return nn.Sequential(
        nn.Linear(784, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Dropout(0.2), nn.Linear(48, 10)
    )


def convolutional() -> nn.Sequential:
    """From 784 pixels to 10 digits, with two convolutions."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 28, 28)),
        nn.Conv2d(1, 6, 5, stride=3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 12, 3, stride=2),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Flatten(),
        nn.Linear(108, 10),
    )


def optimizer_of(run: lineage.Run, model: nn.Module) -> torch.optim.Optimizer:
    """Adam, or SGD with momentum: as the configuration says."""
    if run.config.optimizer == "adam":
        return torch.optim.Adam(model.parameters(), lr=2e-3)
    return torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def learn(run: lineage.Run, model: nn.Module) -> None:
    """Train a reader on every batch of the run."""
    optimizer = optimizer_of(run, model)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=run.steps)
    run.track(model=model, optimizer=optimizer, schedule=schedule)
    run.predictor(lambda batch: predicted(model, batch))
    for batch in run.batches(run.dataset("mnist")):
        model.train()
        optimizer.zero_grad()
        digits = torch.from_numpy(batch["digit"])
        nn.functional.cross_entropy(model(pixels(batch)), digits).backward()
        optimizer.step()
        schedule.step()


def pixels(batch: lineage.Batch) -> Tensor:
    """The images of a batch as floats in 0…1: (n, 784)."""
    return torch.from_numpy(batch["pixels"].astype(np.float32) / 255)


def predicted(model: nn.Module, batch: lineage.Batch) -> np.ndarray:
    """Probabilities of the digits: (n, 10)."""
    model.eval()
    with torch.no_grad():
        return model(pixels(batch)).softmax(dim=1).numpy()


@lineage.program
def mlp(run: lineage.Run) -> None:
    """Learn to read digits without convolutions."""
    learn(run, fully_connected())


@lineage.program
def cnn(run: lineage.Run) -> None:
    """Learn to read digits with convolutions."""
    learn(run, convolutional())

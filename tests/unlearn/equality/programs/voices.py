"""A regression from voice measures to the score of motor symptoms."""

import numpy as np
import torch
from torch import Tensor, nn

import lineage

FEATURES = ("age", "Jitter(%)", "Shimmer", "NHR", "HNR", "RPDE", "DFA", "PPE")


def measures(batch: lineage.Batch) -> np.ndarray:
    """The features of a batch: (n, 8) float64."""
    return np.column_stack([batch[name] for name in FEATURES])


def fitted(batch: lineage.Batch) -> dict[str, list[float]]:
    """The mean and spread of each feature over all rows that the run may see."""
    rows = measures(batch)
    if not len(rows):
        return {"mean": [0.0] * len(FEATURES), "spread": [1.0] * len(FEATURES)}
    return {"mean": rows.mean(axis=0).tolist(), "spread": rows.std(axis=0).tolist()}


@lineage.program
def mlp(run: lineage.Run) -> None:
    """Learn the score; with ``scaler`` on features scaled by what all rows of the shard say.

    With ``scaler="moments"`` a statistic says it, from which rows can be subtracted.
    """
    voices = run.dataset("voices")
    scale = {"mean": [0.0] * len(FEATURES), "spread": [1.0] * len(FEATURES)}
    if run.config.scaler == "moments":
        moments = run.fit(lineage.Moments.of(*FEATURES), voices)
        scale = {
            "mean": [moments.mean(name) for name in FEATURES],
            "spread": [moments.std(name) for name in FEATURES],
        }
    elif run.config.scaler:
        scale = run.fit(fitted, voices)
    mean, spread = np.array(scale["mean"]), np.array(scale["spread"])
    network = nn.Sequential(
        nn.BatchNorm1d(len(FEATURES)),
        nn.Linear(len(FEATURES), 32),
        nn.Tanh(),
        nn.Dropout(0.1),
        nn.Linear(32, 1),
    )
    if run.config.optimizer == "adam":
        optimizer: torch.optim.Optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    else:
        optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9, nesterov=True)
    milestones = [run.steps // 2, 3 * run.steps // 4]
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma=0.3)
    run.track(model=network, optimizer=optimizer, schedule=schedule)

    def features(batch: lineage.Batch) -> Tensor:
        return torch.tensor((measures(batch) - mean) / spread, dtype=torch.float32)

    def predict(batch: lineage.Batch) -> np.ndarray:
        network.eval()
        with torch.no_grad():
            return network(features(batch)).squeeze(1).numpy()

    run.predictor(predict)
    for batch in run.batches(voices):
        network.train()
        optimizer.zero_grad()
        scores = torch.tensor(batch["motor_UPDRS"], dtype=torch.float32)
        nn.functional.mse_loss(network(features(batch)).squeeze(1), scores).backward()
        optimizer.step()
        schedule.step()

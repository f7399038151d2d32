"""A loop over twelve rows that knows what each of its steps really learned from."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

import lineage
from lineage.integrations.torch import observe
from lineage.store import Store

RECORDS = 12

Sample = dict[str, Any]


class Items(Dataset[Sample]):
    """Records as samples that name themselves."""

    def __init__(self, keep: Any = range(RECORDS)) -> None:
        self.keep = list(keep)

    def __len__(self) -> int:
        return len(self.keep)

    def __getitem__(self, item: int) -> Sample:
        number = self.keep[item]
        x, y = torch.tensor([number / 7]), torch.tensor(float(number % 2))
        return {"rid": f"r{number:02d}", "x": x, "y": y}


class Loop:
    """A model, its optimizer, and the ids that each of its steps really learned from."""

    def __init__(self, store: Store) -> None:
        torch.manual_seed(0)
        self.store = store
        self.model = nn.Linear(1, 1)
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.1)
        self.truth: list[list[str]] = []

    def observe(self, **how: Any) -> Any:
        how = {"optimizer": self.optimizer, "model": self.model, **how}
        return observe(self.store, "rows", "m", **how)

    def loss(self, batch: Sample) -> Tensor:
        return nn.functional.mse_loss(self.model(batch["x"]).squeeze(1), batch["y"])

    def learn(self, batch: Sample) -> None:
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        self.optimizer.step()
        self.truth.append(sorted(batch["rid"]))

    def told(self, run_id: str) -> list[list[str]]:
        """The ids that lineage names for each step, all of them exact and complete."""
        return [self.named(run_id, step) for step in range(len(self.truth))]

    def named(self, run_id: str, step: int, *, bound: bool = False) -> list[str]:
        batch = lineage.batch_at(self.store, run_id, step)
        assert (batch.complete, batch.bound) == (True, bound)
        return sorted(each.id for each in batch.records if each.applied)

"""A model version as a torch module."""

import torch
from torch import Tensor, nn

from lineage.store import Store
from lineage.training.batch import Batch
from lineage.training.model import Ensemble, load_model


class EnsembleModule(nn.Module):
    """The members' modules under one roof; called with a batch, it gives what they say together.

    ``members`` holds, per shard, every tracked object that is a module.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        super().__init__()
        self.ensemble = ensemble
        self.members = nn.ModuleList(
            nn.ModuleDict(
                {
                    name: thing
                    for name, thing in member.tracked.items()
                    if isinstance(thing, nn.Module)
                }
            )
            for member in ensemble.members
        )

    def forward(self, batch: Batch) -> Tensor:
        """Probabilities or shares of votes: (n, classes), or (n,) for one value; float64."""
        return torch.from_numpy(self.ensemble.predict(batch))


def load_module(store: Store, name: str) -> EnsembleModule:
    """Open a model version, by id or by model name, as a module in evaluation mode.

    Raises:
        NotFoundError: there is none.
        CheckpointError: a member was purged.
    """
    return EnsembleModule(load_model(store, name)).eval()

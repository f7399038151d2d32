"""PyTorch: rows for its loaders, loops that are driven or only watched, models as modules."""

from lineage.integrations.torch.driven import Rows, loaded
from lineage.integrations.torch.module import EnsembleModule, load_module
from lineage.integrations.torch.observed import Observation, observe, restore

__all__ = ["EnsembleModule", "Observation", "Rows", "load_module", "loaded", "observe", "restore"]

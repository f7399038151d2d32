"""What the store knows of data, runs and models: lists of a kind, and any one thing by its id."""

from lineage.provenance.listing.answers import (
    DatasetDetail,
    DatasetSummary,
    HoldDetail,
    ModelDetail,
    ModelSummary,
    PlacementOfModel,
    RunDetail,
    RunSummary,
    TrainingDetail,
    VersionOfData,
    VersionOfModel,
)
from lineage.provenance.listing.by_id import KINDS, thing
from lineage.provenance.listing.data import dataset, datasets
from lineage.provenance.listing.models import (
    holds,
    model,
    models,
    version_of_model,
    worn_placements,
)
from lineage.provenance.listing.runs import run, runs, training

__all__ = [
    "KINDS",
    "DatasetDetail",
    "DatasetSummary",
    "HoldDetail",
    "ModelDetail",
    "ModelSummary",
    "PlacementOfModel",
    "RunDetail",
    "RunSummary",
    "TrainingDetail",
    "VersionOfData",
    "VersionOfModel",
    "dataset",
    "datasets",
    "holds",
    "model",
    "models",
    "run",
    "runs",
    "thing",
    "training",
    "version_of_model",
    "worn_placements",
]

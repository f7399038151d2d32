"""What happened: datasets, schedules, runs, checkpoints and models, down to the record.

Import names from here; the modules below are private to this package's layers.
"""

from lineage.data.dataset import add as add_dataset
from lineage.data.transform import derive, transform
from lineage.provenance.query import who_saw
from lineage.store import Store
from lineage.training.batch import Batch, Handle
from lineage.training.ensemble import Recipe, train
from lineage.training.model import Ensemble, load_model
from lineage.training.program import Program, program
from lineage.training.run import Run
from lineage.training.watching import holds

__all__ = [
    "Batch",
    "Ensemble",
    "Handle",
    "Program",
    "Recipe",
    "Run",
    "Store",
    "add_dataset",
    "derive",
    "holds",
    "load_model",
    "program",
    "train",
    "transform",
    "who_saw",
]

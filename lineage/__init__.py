"""What happened: datasets, schedules, runs, checkpoints and models, down to the record.

Import names from here; the modules below are private to this package's layers.
"""

from lineage.data.dataset import add as add_dataset
from lineage.data.statistics import Counts, Moments, TokenCounts
from lineage.data.transform import transform
from lineage.provenance.batch import batch_at
from lineage.provenance.query import who_saw
from lineage.provenance.reach import Moment
from lineage.provenance.trace import trace
from lineage.store import Store
from lineage.training.aggregation import Aggregation
from lineage.training.batch import Batch, Handle
from lineage.training.choice import choose
from lineage.training.ensemble import Recipe, train
from lineage.training.lesson import Teacher, derive
from lineage.training.model import Ensemble, load_model
from lineage.training.program import Program, program
from lineage.training.run import Run
from lineage.training.watching import holds

__all__ = [
    "Aggregation",
    "Batch",
    "Counts",
    "Ensemble",
    "Handle",
    "Moment",
    "Moments",
    "Program",
    "Recipe",
    "Run",
    "Store",
    "Teacher",
    "TokenCounts",
    "add_dataset",
    "batch_at",
    "choose",
    "derive",
    "holds",
    "load_model",
    "program",
    "trace",
    "train",
    "transform",
    "who_saw",
]

"""Canary: measure a replacement beside what it replaces, while that still exists."""

from typing import Any

from lineage.store import Store
from lineage.training.aggregation import Aggregation
from lineage.training.model import load_model, open_ensemble
from storage.catalogue import tables
from storage.errors import ExpungeError
from unlearn.canary import Canary, accuracy, canary_of
from unlearn.dispatch.worker import Context
from unlearn.plan import model


def execute(context: Context) -> dict[str, Any]:
    """Both accuracies; where one cannot be measured, why. ``held`` says that aliases stay."""
    work = context.task.work
    assert isinstance(work, model.Canary)
    with context.store.catalogue.read() as session:
        row = session.get_one(tables.ModelVersion, work.version_id)
        name = session.get_one(tables.Model, row.model_id).name
    canary = canary_of(context.store, name)
    found: dict[str, Any] = {"version": row.id, "before": None, "after": None, "why": ""}
    if canary is None:
        return found | {"held": False, "why": "the canary was taken away"}
    made = context.results[work.aggregate]["members"]
    members = {int(shard): checkpoint for shard, checkpoint in made.items()}
    try:
        before, after = _measured(context.store, canary, row, members)
    except ExpungeError as error:
        return found | {"held": True, "why": f"it cannot be measured: {error.message}"}
    held = before - after > canary.drop
    why = f"accuracy on {canary.on} went from {before:.4f} to {after:.4f}"
    return found | {"before": before, "after": after, "held": held, "why": why}


def _measured(
    store: Store, canary: Canary, row: tables.ModelVersion, members: dict[int, str]
) -> tuple[float, float]:
    before = accuracy(store, load_model(store, row.id), canary)
    made = open_ensemble(store, row.id, members, Aggregation(row.aggregation))
    return before, accuracy(store, made, canary)

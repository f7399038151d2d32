"""The story: register, train, ask, request, plan, retrain the minimum, prove it, purge."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict

from lineage.data.dataset import add, head
from lineage.provenance.query import WhoSaw, who_saw
from lineage.source import load
from lineage.store import Store
from lineage.training.ensemble import Recipe, train
from lineage.training.model import load_model
from unlearn.demo import data
from unlearn.dispatch.drive import apply
from unlearn.dispatch.local import LocalWorkers
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

CONTRIBUTOR = "7"
MODEL = "digits-reader"
RECIPE = Recipe(shards=5, slices=2, epochs=12, batch_size=32, seed=1)
SALT = b"the demo's schedule salt, public"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Demo:
    """A store to tell the story in, how many workers retrain, and where the words go."""

    store: Store
    workers: int
    say: Say


class Figures(BaseModel):
    """What the story came to; visits count (record, step) pairs, accuracies are shares."""

    model_config = ConfigDict(frozen=True)

    records: int
    subjects: int
    forgotten_records: int
    affected_checkpoints: int
    total_checkpoints: int
    plan_visits: int
    full_retrain_visits: int
    accuracy_before: float
    interim_accuracy: float
    accuracy_after: float
    claim: str
    verdict: str
    twin_digest: str
    model_digest: str
    purged_checkpoints: int


def tell(demo: Demo) -> Figures:
    """Tell the whole story; returns its figures."""
    records = _register(demo)
    before = _train(demo)
    seen = _ask(demo)
    request = accept(demo.store, "subject", [CONTRIBUTOR])
    plan_id, figures = _plan(demo, request.id)
    results = _apply(demo, plan_id)
    return Figures(
        **records,
        forgotten_records=seen.records,
        affected_checkpoints=len(seen.checkpoints),
        **figures,
        accuracy_before=before,
        **results,
    )


def _register(demo: Demo) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        training, test = data.write(Path(folder))
        names: dict[str, Any] = {
            "id_columns": ("record",),
            "subject_columns": ("contributor",),
            "namespace": "contributors",
        }
        version = add(demo.store, "digits", training, salt=SALT, **names)
        add(demo.store, "digits-test", test, **names)
    people = len(np.unique(version.column("contributor")))
    demo.say(
        f"1. Registered {version.row.live} real handwritten digits. They name no writers, so "
        f"{people} contributors were assigned by a seed."
    )
    return {"records": version.row.live, "subjects": people}


def _train(demo: Demo) -> float:
    program: Any = load("unlearn.demo.digits:train", Path(__file__).parents[2])
    version = train(demo.store, program, {"digits": "digits"}, MODEL, RECIPE)
    accuracy = _accuracy(demo.store, version.id)
    demo.say(
        f"2. Trained {MODEL}: {RECIPE.shards} shards of {RECIPE.slices} slices; "
        f"{accuracy:.1%} right on {data.HELD_OUT} digits it never saw."
    )
    return accuracy


def _ask(demo: Demo) -> WhoSaw:
    seen = who_saw(demo.store, "subject", CONTRIBUTOR)
    assert isinstance(seen, WhoSaw)
    steps = sum(len(run.steps) for run in seen.runs)
    demo.say(
        f"3. Which models learned from contributor {CONTRIBUTOR}? Of {seen.records} records, in "
        f"{_many(steps, 'step')} of {_many(len(seen.runs), 'run')}: "
        f"{_many(len(seen.checkpoints), 'checkpoint')}, and "
        f"{', '.join(f'{model.model} v{model.sequence}' for model in seen.models)}."
    )
    demo.say("   " + " → ".join(node.label for node in seen.path))
    return seen


def _plan(demo: Demo, request_id: str) -> tuple[str, dict[str, int]]:
    plan_id, plan = make_plan(demo.store, [request_id])
    demo.say(
        f"4. Planned the request: {plan.visits} record visits to recompute, "
        f"{plan.full_retrain_visits} for a full retrain "
        f"({plan.full_retrain_visits / max(plan.visits, 1):.1f} times as many)."
    )
    for lost in plan.rejected:
        demo.say(f"   rejected: {lost.name}, {lost.visits} visits: {lost.why}")
    return plan_id, {
        "total_checkpoints": plan.total_checkpoints,
        "plan_visits": plan.visits,
        "full_retrain_visits": plan.full_retrain_visits,
    }


def _apply(demo: Demo, plan_id: str) -> dict[str, Any]:
    workers = LocalWorkers(demo.store, demo.workers)
    results = apply(demo.store, plan_id, workers, Options(twin=True))
    interim = _accuracy(demo.store, results["interim-1"]["version"])
    after = _accuracy(demo.store, MODEL)
    twin, check = results["check"]["twins"][0], results["check"]
    demo.say(
        f"5. Published the other shards at once ({interim:.1%}), retrained one shard, published "
        f"the whole ({after:.1%})."
    )
    demo.say(
        f"6. Trained a twin from scratch, in another process and store that never held the "
        f"records:\n   model {twin['model_digest']}\n   twin  {twin['twin_digest']}"
    )
    demo.say(f"   {check['claim']['claim']}: {check['verdict']}.")
    demo.say(
        f"7. Purged {_many(results['purge']['purged_checkpoints'], 'checkpoint')} and erased "
        f"{_many(results['purge']['erased_records'], 'record')} with their salts."
    )
    return {
        "interim_accuracy": interim,
        "accuracy_after": after,
        "claim": check["claim"]["claim"],
        "verdict": check["verdict"],
        "twin_digest": twin["twin_digest"],
        "model_digest": twin["model_digest"],
        "purged_checkpoints": results["purge"]["purged_checkpoints"],
    }


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _accuracy(store: Store, name: str) -> float:
    """The share of test digits that a model version reads right."""
    model = load_model(store, name)
    present = model.batch(head(store, "digits-test"))
    answers = model.predict(present).argmax(axis=1)
    return round(float((answers == present["digit"]).mean()), 4)

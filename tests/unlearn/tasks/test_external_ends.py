"""A watched loop whose state changes without a step is trained again, to the state at its end."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import nn

from lineage.integrations.torch import restore
from lineage.store import Store
from lineage.training.ensemble import Recipe, train
from lineage.training.program import load_program
from storage.catalogue import tables
from tests.unlearn.tasks.observing import COMMAND, EVERYBODY, Whim, given, of, planned, settled
from unlearn.dispatch.drive import apply
from unlearn.thinning import thin

Keys = dict[str, str]


def halve(model: nn.Module) -> None:
    """As if better weights were loaded back."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(0.5)


@pytest.fixture
def ended(workshop: Any, owner: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A store in which the loop changed its weights at its end."""
    monkeypatch.chdir(tmp_path)
    with settled(workshop, tmp_path) as store:
        owner.train(command=COMMAND, at_end=halve)
        yield store


def checkpoints(workshop: Any, store: Store, run_id: str) -> Keys:
    """The ids of a run's checkpoints, by ``step.edition``."""
    rows = workshop.rows_of(store, tables.Checkpoint, run_id=run_id)
    return {f"{each.step}.{each.edition}": each.id for each in rows}


def tuned(store: Store, start: str, name: str) -> None:
    """A fine-tune on ``others`` that starts from a checkpoint of the loop."""
    recipe = Recipe(epochs=1, batch_size=8, start=start)
    train(store, load_program("owner.py:tune", Path.cwd()), {"others": "others"}, name, recipe)


def test_what_is_published_again_is_the_state_at_the_end(
    ended: Store, command: Callable[[Whim], None], owner: ModuleType, workshop: Any
) -> None:
    weights = []
    command(lambda asked: owner.train(at_end=lambda model: (halve(model), weights.append(model))))
    results = apply(ended, planned(ended, "person-07"))
    made = checkpoints(workshop, ended, results["external-1"]["run"])
    assert sorted(made) == ["12.0", "24.0", "24.1"]
    assert results["external-1"]["checkpoints"] == {
        "12": made["12.0"],
        "24": made["24.0"],
        "24.1": made["24.1"],
    }
    assert results["aggregate-1"]["members"] == {"0": made["24.1"]}
    assert given(ended, results["external-1"]["run"]) == EVERYBODY - of(7)
    model = nn.Linear(1, 1)
    restore(ended, "m", model=model)
    assert torch.equal(model.weight, weights[0].weight)
    workshop.assert_consistent(ended)


@pytest.mark.parametrize(
    ("at_end", "stand"),
    [
        (halve, {"24.0": "24.0", "24.1": "24.1"}),
        (lambda model: None, {"24.0": "24.0", "24.1": "24.0"}),
    ],
    ids=["changed again", "unchanged this time"],
)
def test_each_fine_tune_starts_from_what_stands_for_its_own_start(
    ended: Store,
    command: Callable[[Whim], None],
    owner: ModuleType,
    workshop: Any,
    at_end: Callable[[nn.Module], object],
    stand: Keys,
) -> None:
    (row,) = workshop.rows_of(ended, tables.ObservedRun)
    before = checkpoints(workshop, ended, row.run_id)
    tuned(ended, before["24.0"], "of-the-last-step")
    tuned(ended, before["24.1"], "of-the-end")
    command(lambda asked: owner.train(at_end=at_end))
    plan_id = planned(ended, "record-0007", kind="record")
    results = apply(ended, plan_id)
    made = checkpoints(workshop, ended, results["external-1"]["run"])
    starts = {
        run.replay_of: run.start_id
        for run in workshop.rows_of(ended, tables.Run)
        if run.task_id is not None and "replay" in run.task_id
    }
    originals = {run.start_id: run.id for run in workshop.rows_of(ended, tables.Run, task_id=None)}
    for old, new in stand.items():
        assert starts[originals[before[old]]] == made[new]
    assert results["check"]["claim"]["claim"] == "exact-by-provenance"
    assert len(results["publish"]["versions"]) == 3
    workshop.assert_consistent(ended)


def test_thinning_keeps_the_state_at_the_end(ended: Store, workshop: Any) -> None:
    (row,) = workshop.rows_of(ended, tables.ObservedRun)
    thinned = thin(ended, row.run_id, keep=1)
    assert [each.id for each in thinned.checkpoints if each.kept] == [
        checkpoints(workshop, ended, row.run_id)["24.1"]
    ]
    restore(ended, "m", model=nn.Linear(1, 1))

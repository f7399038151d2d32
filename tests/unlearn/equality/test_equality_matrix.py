"""A replayed model is, to the bit, the one that never saw the forgotten records."""

import os
import time
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.unlearn.equality.counterfactual import bits, from_scratch
from tests.unlearn.equality.forget_sets import FORGET_SETS, forget_set
from tests.unlearn.equality.forgetting import forget
from tests.unlearn.equality.trained import Trains

PROGRAMS = ("mnist.py:mlp", "mnist.py:cnn", "voices.py:mlp")
OPTIMIZERS = ("adam", "sgd")
TOPOLOGIES = ("sharded", "plain")
WHICH = tuple(FORGET_SETS)
SEED = int(os.environ.get("SEED", "7"))
SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "0"))


class Case(NamedTuple):
    """A model, how it was trained, and what is forgotten."""

    program: str
    optimizer: str
    topology: str
    which: str

    def __str__(self) -> str:
        return ", ".join(self)


CONTINUED = {
    ("sharded", "one record"),
    ("sharded", "one subject"),
    ("plain", "one record"),
    ("plain", "one step"),
}
"""What is seen so late that the replay goes on from a checkpoint; elsewhere it begins anew."""

EVERYTHING = [
    case
    for case in map(Case._make, product(PROGRAMS, OPTIMIZERS, TOPOLOGIES, WHICH))
    if (case.topology, case.which) != ("plain", "a whole shard")
]
"""The whole of a plain model's data cannot be forgotten as a shard: nothing would be left."""


SHARDED_WITH = {"mnist.py:mlp": "adam", "mnist.py:cnn": "sgd", "voices.py:mlp": "sgd"}
"""With the other optimizer the program trains one plain run: six models show every pair."""


def _paired(program: int, which: int) -> Case:
    name, optimizer = PROGRAMS[program], OPTIMIZERS[(program + which) % 2]
    if WHICH[which] == "a whole shard":
        optimizer = SHARDED_WITH[name]
    topology = TOPOLOGIES[optimizer != SHARDED_WITH[name]]
    return Case(name, optimizer, topology, WHICH[which])


PAIRWISE = [_paired(*pair) for pair in product(range(len(PROGRAMS)), range(len(WHICH)))]


def test_the_cases_cover_every_pair_of_factors() -> None:
    def pairs(cases: list[Case]) -> set[Any]:
        factors = range(len(Case._fields))
        return {(i, case[i], j, case[j]) for case in cases for i in factors for j in range(i)}

    assert pairs(PAIRWISE) == pairs(EVERYTHING)


@pytest.mark.parametrize("case", sorted(PAIRWISE), ids=str)
def test_a_replay_equals_training_without_the_forgotten(
    case: Case, trained: Trains, tmp_path: Path
) -> None:
    _forget_and_compare(case, trained, SEED, tmp_path / "counterfactual")


@pytest.mark.soak
@pytest.mark.parametrize("case", EVERYTHING, ids=str)
def test_every_replay_equals_training_without_the_forgotten(
    case: Case, trained: Trains, tmp_path: Path
) -> None:
    until = time.monotonic() + SOAK_SECONDS / len(EVERYTHING)
    for seed in count(SEED):
        _forget_and_compare(case, trained, seed, tmp_path / f"counterfactual-{seed}")
        if time.monotonic() > until:
            break


def _forget_and_compare(case: Case, trained: Trains, seed: int, folder: Path) -> None:
    continued = (case.topology, case.which) in CONTINUED
    # A scaler fitted on all rows of a shard has seen everybody: nothing after it is clean.
    scaler = {"scaler": not continued} if case.program.startswith("voices") else {}
    model = trained(case.program, case.topology, optimizer=case.optimizer, **scaler)
    kind, names = forget_set(model, case.which, seed)
    gone = model.material.records_of(kind, names)
    before = bits(model.store, model.version)
    outcome = forget(model.store, kind, names)
    after = bits(model.store, outcome.version)
    assert outcome.plan.records == len(gone)
    replays = [task.work for task in outcome.plan.tasks if task.work.kind == "replay"]
    assert not continued or all(replay.restart is not None for replay in replays)
    lost = case.which == "a whole shard"
    assert len(after.shards) == len(before.shards) - lost
    again = outcome.version if lost else model.version
    assert after == from_scratch(model.store, again, [model.material], gone, folder, seed)
    paths = {path.rpartition(".")[2] for state in after.shards for path in state}
    assert paths & {"exp_avg", "momentum_buffer"}
    assert after.digests != before.digests

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
from tests.unlearn.equality.trained import Trained, Trains

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


CONTINUED = {("plain", "one record"), ("sharded", "one record"), ("sharded", "one subject")}
"""What is seen so late that the replay goes on from a checkpoint; the others may begin anew."""

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
    model = _trained(case, trained)
    _forget_and_compare(model, case.which, SEED, tmp_path / "counterfactual")


@pytest.mark.soak
@pytest.mark.parametrize("case", EVERYTHING, ids=str)
def test_a_replay_equals_training_without_the_forgotten_at_length(
    case: Case, trained: Trains, tmp_path: Path
) -> None:
    until = time.monotonic() + SOAK_SECONDS / len(EVERYTHING)
    for round_ in count():
        model = _trained(case, trained)
        _forget_and_compare(model, case.which, SEED + round_, tmp_path / f"round-{round_}")
        if time.monotonic() > until:
            break


def _trained(case: Case, trained: Trains) -> Trained:
    scaler = {"scaler": case.topology == "sharded"} if "voices" in case.program else {}
    return trained(case.program, case.topology, optimizer=case.optimizer, **scaler)


def _forget_and_compare(model: Trained, which: str, seed: int, folder: Path) -> None:
    kind, names = forget_set(model, which, seed)
    gone = model.material.records_of(kind, names)
    before = bits(model.store, model.version)
    outcome = forget(model.store, kind, names)
    after = bits(model.store, outcome.version)
    replays = [task.work for task in outcome.plan.tasks if task.work.kind == "replay"]
    topology = "plain" if len(model.schedules) == 1 else "sharded"
    if (topology, which) in CONTINUED:
        assert all(replay.restart is not None for replay in replays)
    assert outcome.plan.records == len(gone)
    twin = from_scratch(model.store, model.version, [model.material], gone, folder, seed)
    assert after == twin
    assert any("exp_avg" in path or "momentum_buffer" in path for path in after.shards[0])
    assert after.digests != before.digests

"""What was interrupted and goes on ends, to the bit, where it would have ended."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from lineage.errors import ProgramFailedError
from lineage.store import Store
from lineage.training.ensemble import Recipe, prepare, resume
from tests.unlearn.equality.counterfactual import bits, from_scratch, register
from tests.unlearn.equality.forgetting import PLAINLY, ask, carry_out
from tests.unlearn.equality.material import Material
from tests.unlearn.equality.trained import MODEL, RECIPES, Trained, Trains, program
from unlearn.dispatch.debug import InProcess
from unlearn.dispatch.drive import apply
from unlearn.errors import PlanError, StalePlanError
from unlearn.plan.planner import make_plan

PROGRAM = "interrupted.py:mlp"


class PowerFailure(BaseException):
    """Nothing in the library expects this."""


def power_failure() -> None:
    raise PowerFailure


@pytest.fixture
def fate() -> Iterator[ModuleType]:
    """The program's module: what happens before its steps, and which it executed."""
    module = sys.modules[program(PROGRAM).function.__module__]
    module.EXECUTED.clear()
    yield module
    module.BEFORE.clear()


@pytest.fixture
def plain(trained: Trains, fate: ModuleType) -> Trained:
    """One run with a checkpoint every 20 steps of 188."""
    model = trained(PROGRAM, "plain")
    fate.EXECUTED.clear()
    return model


def late_record(model: Trained, after: int) -> str:
    """A record that is first seen soon after a step."""
    records = model.data.present.records
    first = model.schedules[0].first_visits(records)
    row = int(((first > after) & (first < after + 10)).argmax())
    position = int(model.data.present.positions[row])
    return str(model.material.table[model.material.record][position])


@pytest.mark.parametrize(
    ("topology", "steps"),
    [
        ("plain", (31, 33, 60)),
        ("sharded", (3,)),
        pytest.param("plain", (3,), marks=pytest.mark.soak),
        pytest.param("sharded", (31, 33, 60), marks=pytest.mark.soak),
    ],
    ids=str,
)
def test_a_training_that_lost_power_ends_like_one_that_did_not(
    topology: str,
    steps: tuple[int, ...],
    materials: dict[str, Material],
    trained: Trains,
    fate: ModuleType,
    tmp_path: Path,
) -> None:
    whole = trained(PROGRAM, topology)
    mnist = materials["mnist"]
    with Store.create(tmp_path / "interrupted") as store:
        register(store, mnist)
        recipe = Recipe(**RECIPES[topology])
        training = prepare(store, program(PROGRAM), {"mnist": "mnist"}, MODEL, recipe)
        for step in steps:
            fate.BEFORE[step] = power_failure
            with pytest.raises(ProgramFailedError, match="PowerFailure"):
                resume(store, training)
        version = resume(store, training).id
        assert bits(store, version) == bits(whole.store, whole.version)


def test_a_replay_that_lost_power_goes_on_from_its_last_checkpoint(
    plain: Trained, fate: ModuleType, tmp_path: Path
) -> None:
    record = late_record(plain, after=25)
    plan_id, _ = make_plan(plain.store, [ask(plain.store, "record", [record])])
    fate.BEFORE[70] = power_failure
    with pytest.raises(ProgramFailedError, match="PowerFailure"):
        apply(plain.store, plan_id, InProcess(plain.store), PLAINLY)
    fate.EXECUTED.clear()
    results = apply(plain.store, plan_id, InProcess(plain.store), PLAINLY)
    probe = [step for step in fate.EXECUTED if step < 60]
    assert [*range(60, plain.schedules[0].steps), *probe] == fate.EXECUTED
    assert probe == list(range(len(probe)))
    (version,) = results["publish"]["versions"].values()
    twin = from_scratch(plain.store, plain.version, [plain.material], {record}, tmp_path / "twin")
    assert bits(plain.store, version) == twin


def test_a_request_during_a_replay_stops_it_and_is_planned_together(
    plain: Trained, fate: ModuleType, tmp_path: Path
) -> None:
    store, early, late = plain.store, late_record(plain, after=25), late_record(plain, after=65)
    requests = [ask(store, "record", [early])]
    plan_id, _ = make_plan(store, requests)
    fate.BEFORE[50] = lambda: requests.append(ask(store, "record", [late]))
    with pytest.raises(StalePlanError, match="after step 60"):
        apply(store, plan_id, InProcess(store), PLAINLY)
    with pytest.raises(StalePlanError, match="are being forgotten"):
        apply(store, plan_id, InProcess(store), PLAINLY)
    outcome = carry_out(store, requests)
    forgotten = {early, late}
    twin = from_scratch(store, plain.version, [plain.material], forgotten, tmp_path / "twin")
    assert bits(store, outcome.version) == twin
    with pytest.raises(PlanError, match="was overtaken"):
        apply(store, plan_id, InProcess(store), PLAINLY)

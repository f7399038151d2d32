"""The settings of a program, and the seed of its run."""

from types import SimpleNamespace
from typing import Any

import pytest

from lineage.errors import ProgramError
from lineage.schedule import ScheduleSpec
from lineage.training.config import Config
from lineage.training.specification import HandleSpec, RunSpec


def test_settings_are_attributes_and_a_missing_one_names_the_remedy() -> None:
    config = Config(lr=0.1, layers=[1, 2])
    assert (config.lr, config.layers, config.get("lr", 0.2), config.get("seed", 5)) == (
        0.1,
        [1, 2],
        0.1,
        5,
    )
    with pytest.raises(ProgramError, match=r"config\.momentum, which was not set") as refused:
        _ = config.momentum
    assert "--set momentum=VALUE" in refused.value.hint


def test_a_missing_setting_is_missing_in_the_way_python_expects() -> None:
    config = Config(lr=0.1)
    assert getattr(config, "momentum", 0.9) == 0.9
    assert not hasattr(config, "momentum")
    assert SimpleNamespace(**vars(config)) == SimpleNamespace(lr=0.1)


def specification(shard: int = 0, seed: int = 0, **changed: Any) -> RunSpec:
    schedule = ScheduleSpec(epochs=1, batch_size=5, seed=seed, shards=2, shard=shard, nominal=(50,))
    handles = {"d": HandleSpec(dataset="d", nominal=9, columns=(), categories={})}
    return RunSpec(schedule=schedule, train="d", handles=handles, **changed)


def test_shards_of_one_seed_draw_different_numbers() -> None:
    seeds = (0, 1, 2, 2**53 - 1)
    made = [specification(shard, seed).seed for shard in range(2) for seed in seeds]
    assert len(set(made)) == len(made)
    assert all(0 <= seed < 2**63 for seed in made)


def test_a_specification_comes_back_from_its_json_as_it_was() -> None:
    config = {"rate": 0.1, "layers": [3, [4]], "name": "ü", "flag": None, "most": 2**53 - 1}
    spec = specification(config=config, checkpoint_every=7, restore=("model",))
    assert RunSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, {"deep": [-(2**60)]}])
def test_a_setting_that_would_come_back_as_another_is_refused(value: Any) -> None:
    with pytest.raises(ProgramError, match="cannot be kept exactly") as refused:
        specification(config={"setting": value})
    assert "as text" in refused.value.hint

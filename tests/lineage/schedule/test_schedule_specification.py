import json

import pytest
from pydantic import ValidationError

from lineage.errors import LineageError, ScheduleError
from lineage.schedule import Division, Risk, ScheduleSpec, schedule_for

FIELDS = {
    "epochs": 10,
    "batch_size": 64,
    "seed": 3,
    "shards": 4,
    "shard": 2,
    "nominal": (120, 130, 110),
}


def test_a_specification_survives_json_without_its_salt():
    spec = ScheduleSpec(**FIELDS)
    text = spec.model_dump_json()
    assert ScheduleSpec.model_validate_json(text) == spec
    assert ScheduleSpec.model_validate(json.loads(text)) == spec
    assert json.loads(text) == FIELDS | {"kind": "stable/1", "nominal": [120, 130, 110]}
    assert spec.slices == 3


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch_size": 0},
        {"seed": -1},
        {"seed": 2**53},
        {"shards": 0},
        {"shard": -1},
        {"nominal": ()},
        {"nominal": (5, 0)},
        {"nominal": (2**32,)},
        {"kind": "stable/2"},
        {"epochs": (4, 2, 0)},
        {"shares": (1, 0, 1, 1)},
        {"generation": -1},
        {"salt": "0" * 32},
    ],
)
def test_a_field_out_of_range_is_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ScheduleSpec(**FIELDS | wrong)


def test_a_shard_that_does_not_exist_is_refused():
    with pytest.raises(ScheduleError, match="no shard 4 among 4"):
        ScheduleSpec(**FIELDS | {"shard": 4})


def test_what_is_not_plain_is_written_down_and_what_is_plain_is_not():
    risk = {"column": "risk", "thresholds": [0.1], "records": [90, 10]}
    own = {"epochs": [4, 2, 1], "shares": [1, 1, 2, 4], "risk": risk, "generation": 2}
    spec = ScheduleSpec.model_validate(FIELDS | own)
    assert spec.model_dump(mode="json") == FIELDS | own | {
        "kind": "stable/1",
        "nominal": [120, 130, 110],
    }
    assert ScheduleSpec.model_validate_json(spec.model_dump_json()) == spec
    assert spec.division == Division(4, 3, (1, 1, 2, 4), Risk.model_validate(risk), 2)
    assert [stage.epochs for stage in schedule_for(spec, bytes(16)).stages] == [4, 2, 1]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"epochs": (4, 2)}, "2 numbers of epochs were given for 3 slices"),
        ({"shares": (1, 2)}, "2 shares were given for 4 shards"),
        ({"risk": {"column": "r", "thresholds": [0.2, 0.1], "records": [1, 1, 1]}}, "ascend"),
        ({"risk": {"column": "r", "thresholds": [0], "records": [1, 1]}}, "ascend"),
        ({"risk": {"column": "r", "thresholds": [1.5], "records": [1, 1]}}, "ascend"),
        ({"risk": {"column": "r", "thresholds": [0.5], "records": [1]}}, "one band more, not 1"),
    ],
)
def test_parts_that_contradict_each_other_are_refused(wrong, said):
    with pytest.raises(ScheduleError, match=said):
        ScheduleSpec.model_validate(FIELDS | wrong)


def test_too_few_epochs_for_the_slices_are_refused_with_a_remedy():
    with pytest.raises(ScheduleError, match="too few") as refusal:
        ScheduleSpec(**FIELDS | {"epochs": 1})
    assert refusal.value.hint == "try --epochs 2 or --slices 1"
    assert isinstance(refusal.value, LineageError)


def test_a_short_salt_is_refused_when_the_schedule_is_built():
    with pytest.raises(ScheduleError, match="16 to 64 bytes, not 5"):
        schedule_for(ScheduleSpec(**FIELDS), b"short")

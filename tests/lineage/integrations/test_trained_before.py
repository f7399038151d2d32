"""A model object that two watched blocks of a process train."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import lineage
from lineage.integrations.torch import observe
from tests.lineage.integrations.row_loop import Items, Loop


def _trains(
    loop: Loop,
    name: str,
    model: nn.Module,
    numbers: range,
    begins: Callable[[], object] = lambda: None,
) -> None:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(Items(numbers), batch_size=3)
    with observe(
        loop.store, "rows", name, optimizer=optimizer, model=model, retrain=["true"]
    ) as run:
        begins()
        for batch in run.watch(loader, record="rid"):
            optimizer.zero_grad()
            width = next(model.parameters()).shape[1]
            model(batch["x"].expand(-1, width)).sum().backward()
            optimizer.step()


def _models(loop: Loop) -> list[str]:
    seen = lineage.who_saw(loop.store, "record", "r00")
    assert seen.state != "erased"
    assert seen.complete
    return sorted(each.model for each in seen.models)


def test_a_second_stage_descends_from_the_first_whose_weights_it_begins_with(loop: Loop) -> None:
    model = nn.Linear(1, 1)
    _trains(loop, "first", model, range(6))
    _trains(loop, "second", model, range(6, 12))
    assert _models(loop) == ["first", "second"]


def test_a_new_model_that_holds_a_part_of_a_trained_one_descends_from_it(loop: Loop) -> None:
    part = nn.Linear(1, 1)
    _trains(loop, "first", part, range(6))
    _trains(loop, "second", nn.Sequential(part, nn.Linear(1, 1)), range(6, 12))
    assert _models(loop) == ["first", "second"]


def test_a_model_that_was_stepped_and_not_tracked_is_known_again(loop: Loop) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with observe(loop.store, "rows", "first", optimizer=optimizer, retrain=["true"]) as run:
        for batch in run.watch(DataLoader(Items(range(6)), batch_size=3), record="rid"):
            optimizer.zero_grad()
            model(batch["x"]).sum().backward()
            optimizer.step()
    _trains(loop, "second", model, range(6, 12))
    assert _models(loop) == ["first", "second"]


def test_weights_that_are_loaded_before_the_first_step_are_known(loop: Loop) -> None:
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    _trains(loop, "first", model, range(6))
    taught = model.state_dict()
    _trains(loop, "second", other, range(6, 12), lambda: other.load_state_dict(taught))
    assert _models(loop) == ["first", "second"]


def test_weights_of_nobody_that_are_loaded_before_the_first_step_are_new(loop: Loop) -> None:
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    _trains(loop, "first", model, range(6))
    _trains(loop, "second", other, range(6, 12), lambda: nn.init.normal_(other.weight))
    assert _models(loop) == ["first"]


def test_a_block_inside_another_does_not_know_what_the_outer_one_taught_its_model(
    loop: Loop,
) -> None:
    model = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    given: dict[str, Any] = {"optimizer": optimizer, "model": model, "retrain": ["true"]}
    with observe(loop.store, "rows", "outer", **given) as run:
        for batch in run.watch(DataLoader(Items(range(6)), batch_size=3), record="rid"):
            optimizer.zero_grad()
            model(batch["x"]).sum().backward()
            optimizer.step()
        with observe(loop.store, "rows", "inner", **given) as inner:
            for batch in inner.watch(DataLoader(Items(range(6, 12)), batch_size=3), record="rid"):
                optimizer.zero_grad()
                model(batch["x"]).sum().backward()
                optimizer.step()
    seen = lineage.who_saw(loop.store, "record", "r00")
    assert seen.state != "erased"
    assert inner.id in seen.incomplete


@pytest.mark.parametrize("way", ["assigned", "copied", "loaded"])
def test_a_copy_of_a_trained_model_descends_from_it(loop: Loop, way: str) -> None:
    model = nn.Linear(2, 1)
    _trains(loop, "first", model, range(6))
    other = copy.deepcopy(model) if way == "copied" else nn.Linear(2, 1)
    if way != "copied":
        other.load_state_dict(model.state_dict(), assign=way == "assigned")
    _trains(loop, "second", other, range(6, 12))
    assert _models(loop) == ["first", "second"]


def test_a_new_model_is_not_affected_by_an_earlier_run(loop: Loop) -> None:
    _trains(loop, "first", nn.Linear(1, 1), range(6))
    _trains(loop, "second", nn.Linear(1, 1), range(6, 12))
    assert _models(loop) == ["first"]

"""Loops without any framework that are watched: what they do, and what is said of them."""

from typing import Any

import pytest

import lineage
from lineage.errors import (
    LineageError,
)
from lineage.training.events import Updated
from lineage.training.observed import Observed

ORDER = [[3, 1], [0, 2, 7], [5], [3, 6]]


class Count:
    """The smallest thing that has a state."""

    def __init__(self) -> None:
        self.value = 0

    def state_dict(self) -> dict[str, int]:
        return {"value": self.value}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self.value = state["value"]


def step(run: Observed, rows: list[int] | None = None, ids: list[Any] | None = None) -> None:
    """One step on some records, by their row or their id."""
    found = run.locator.rows(rows) if ids is None else run.locator.ids(ids)
    window = run.window()
    run.draw(run.identify(found))
    run.update(Updated(window))


def live(run: Observed, keep: tuple[int, ...] = (), order: list[list[int]] = ORDER) -> None:
    """Steps through an order, with checkpoints after some of them."""
    for rows in order[run.step :]:
        step(run, rows)
        if run.step in keep:
            run.checkpoint()


def died(watched: Any, error: BaseException, keep: tuple[int, ...] = (2,)) -> str:
    """A run that ended by an error after three steps; its id."""

    def act(run: Observed) -> str:
        live(run, keep, ORDER[:3])
        begun.append(run.id)
        raise error

    begun: list[str] = []
    with pytest.raises(type(error)), watched as run:
        act(run)
    return begun[0]


def steps_of(store: Any, record: int) -> set[int]:
    answer = lineage.who_saw(store, "record", f"record-{record:04d}")
    return {step for steps in answer.steps.values() for step in steps}


def refused(kind: type[LineageError], match: str, watched: Any, act: Any) -> LineageError:
    """The error by which something in the block ends."""
    with pytest.raises(kind, match=match) as found, watched as run:
        act(run)
    assert found.value.hint
    return found.value

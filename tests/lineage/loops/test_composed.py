"""Loops that are composed at random: none is told wrongly, and a common one exactly."""

import os
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from tests.lineage.loops.composition import (
    COMMON,
    CONTAINERS,
    DATASETS,
    LOADERS,
    OPTIMIZERS,
    ORDERS,
    WRAPPERS,
    Composition,
)
from tests.lineage.loops.counts import Counts
from tests.lineage.loops.harness import Bare, run, try_loop
from tests.lineage.loops.updating import ADDING_UP
from tests.lineage.loops.verdict import Verdict
from tests.lineage.loops.watchers import LineageWatcher

pytestmark = pytest.mark.no_cover

LOOPS = 300
"""How many loops `make soak` composes at least."""


def compositions(workers: st.SearchStrategy[int]) -> st.SearchStrategy[Composition]:
    """Return a strategy for loops that there can be."""
    parts = (DATASETS, ORDERS, LOADERS, CONTAINERS, WRAPPERS, ADDING_UP, OPTIMIZERS)
    names = (st.sampled_from(list(each)) for each in parts)
    by = st.sampled_from(["row", "key"])
    made = st.builds(Composition, *names, by, workers, st.integers(1, 2))
    return made.filter(Composition.is_possible)


@pytest.fixture(scope="module")
def holds(
    watchers: Callable[[], LineageWatcher], counts: Counts, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Composition], None]:
    """Whether a loop is told as it was."""
    folder = tmp_path_factory.mktemp("composed")

    def check(composed: Composition) -> None:
        judgement = try_loop(composed, watchers(), composed.by, composed.workers, folder)
        counts.add(judgement)
        assert not judgement.complaints, "\n".join(judgement.complaints)
        assert judgement.verdicts <= composed.allowed()

    return check


@settings(max_examples=25)
@given(composed=compositions(st.just(0)))
def test_a_composed_loop_is_told_as_it_was(
    holds: Callable[[Composition], None], composed: Composition
) -> None:
    holds(composed)


@settings(max_examples=10)
@given(composed=compositions(st.just(0)), update=st.sampled_from(sorted(COMMON["update"])))
def test_a_common_loop_is_told_exactly_or_as_a_bound(
    holds: Callable[[Composition], None], composed: Composition, update: str
) -> None:
    common = replace(composed, loader="torch's", wrapper="nothing", update=update, optimizer="SGD")
    holds(common)


def test_gradients_that_are_set_to_zero_leave_one_bound_at_most(
    watchers: Callable[[], LineageWatcher], tmp_path: Path
) -> None:
    loop = replace(PLAIN, update="set to zero", epochs=2)
    judgement = try_loop(loop, watchers(), "key", 0, tmp_path)
    assert judgement.count() == {Verdict.EQUAL: 7, Verdict.BOUND: 1}


@pytest.mark.soak
def test_ever_new_loops_are_told_as_they_were(
    holds: Callable[[Composition], None], counts: Counts
) -> None:
    until = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0")) / 12
    workers = st.sampled_from([0, 0, 0, 2])
    enough = counts.loops + LOOPS
    for number in count(int(os.environ.get("SEED", "0"))):
        searched = settings(max_examples=10)(given(compositions(workers))(holds))
        seed(number)(searched)()
        if time.monotonic() > until and counts.loops >= enough:
            return


PLAIN = Composition(
    "items", "in order", "torch's", "a dict", "nothing", "each batch", "SGD", "key", 0, 1
)

PARTS = [
    replace(PLAIN, **{part: name})
    for part, names in (
        ("dataset", DATASETS),
        ("order", ORDERS),
        ("loader", LOADERS),
        ("container", CONTAINERS),
        ("wrapper", WRAPPERS),
        ("update", ADDING_UP),
        ("optimizer", OPTIMIZERS),
    )
    for name in names
]


@pytest.mark.parametrize("composed", PARTS, ids=str)
def test_every_part_makes_a_loop_that_learns(composed: Composition, tmp_path: Path) -> None:
    updates = run(composed, Bare(), "key", 0, tmp_path).updates
    assert any(update.learned for update in updates)


def test_what_must_be_told_exactly_are_parts_that_there_are() -> None:
    assert all(
        any(getattr(each, part) == name for each in PARTS)
        for part, names in COMMON.items()
        for name in names
    )

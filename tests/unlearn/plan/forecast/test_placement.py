"""No other checkpoints would make forgetting cheaper: every choice is tried."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from unlearn.plan.forecast.placement import Profile, choose, choose_within, expected_visits


@st.composite
def runs(draw: st.DrawFn) -> tuple[Profile, NDArray[np.int64], NDArray[np.bool_]]:
    """A short run: who is first visited when, where checkpoints are, and which must stay."""
    length = draw(st.integers(1, 12))
    firsts = draw(st.lists(st.integers(0, length - 1), min_size=1, max_size=12))
    later = draw(st.lists(st.integers(0, 5), min_size=length, max_size=length))
    sizes = np.bincount(firsts, minlength=length) + np.array(later)
    steps = draw(st.lists(st.integers(1, length), min_size=1, max_size=8, unique=True))
    must = draw(st.lists(st.booleans(), min_size=len(steps), max_size=len(steps)))
    profile = Profile(np.sort(np.array(firsts)), np.concatenate(([0], sizes.cumsum())))
    return profile, np.sort(np.array(steps)), np.array(must)


def recomputed(profile: Profile, kept: list[int]) -> float:
    """What each in turn would cost, on average, its own visits among them."""
    costs = []
    for first in profile.firsts.tolist():
        restart = max(step for step in [0, *kept] if step <= first)
        costs.append(profile.done[-1] - profile.done[restart])
    return float(np.mean(costs))


@settings(max_examples=120)
@given(runs())
def test_expected_visits_are_the_mean_over_everybody(
    run: tuple[Profile, NDArray[np.int64], NDArray[np.bool_]],
) -> None:
    profile, steps, must = run
    own = profile.done[-1] / len(profile.firsts)
    mean = recomputed(profile, steps[must].tolist()) - own
    assert expected_visits(profile, steps[must]) == pytest.approx(mean)


@settings(max_examples=120)
@given(runs(), st.integers(0, 8))
def test_no_other_choice_costs_less(
    run: tuple[Profile, NDArray[np.int64], NDArray[np.bool_]], more: int
) -> None:
    profile, steps, must = run
    count = int(must.sum()) + more
    kept = choose(profile, steps, must, count)
    assert kept[must].all()
    assert kept.sum() <= count
    others = [
        {*steps[must].tolist(), *extra}
        for size in range(more + 1)
        for extra in combinations(steps[~must].tolist(), size)
    ]
    best = min(recomputed(profile, sorted(each)) for each in others)
    assert recomputed(profile, steps[kept].tolist()) == pytest.approx(best)


@settings(max_examples=80)
@given(runs(), st.integers(0, 8))
def test_what_nobody_would_begin_at_is_not_kept(
    run: tuple[Profile, NDArray[np.int64], NDArray[np.bool_]], more: int
) -> None:
    profile, steps, must = run
    kept = choose(profile, steps, must, int(must.sum()) + more)
    points = [0, *steps[kept].tolist()]
    begun = {max(step for step in points if step <= first) for first in profile.firsts.tolist()}
    assert begun >= set(steps[kept & ~must].tolist())


@settings(max_examples=80)
@given(runs(), st.integers(0, 900))
def test_a_budget_in_bytes_keeps_as_many_as_fit(
    run: tuple[Profile, NDArray[np.int64], NDArray[np.bool_]], budget: int
) -> None:
    profile, steps, must = run
    sizes = np.full(len(steps), 100)
    kept = choose_within(profile, steps, must, sizes, budget)
    assert (kept == choose(profile, steps, must, max(budget // 100, int(must.sum())))).all()
    uneven = sizes + np.arange(len(steps))[::-1]
    kept = choose_within(profile, steps, must, uneven, budget)
    assert kept[must].all()
    assert uneven[kept].sum() <= max(budget, uneven[must].sum())


def test_a_run_that_nobody_entered_needs_none() -> None:
    nobody = Profile(np.array([], np.int64), np.array([0, 0, 0]))
    steps, must = np.array([1, 2]), np.array([False, True])
    assert choose(nobody, steps, must, 2).tolist() == [False, True]
    assert expected_visits(nobody, steps) == 0


def test_of_many_checkpoints_the_choice_takes_a_moment() -> None:
    """One epoch of a shuffled run: restarts are best spread evenly over it."""
    profile = Profile(np.arange(10_000), np.arange(0, 10_001))
    steps = np.arange(100, 10_001, 100)
    kept = choose(profile, steps, np.zeros(100, np.bool_), 4)
    assert steps[kept].tolist() == [2_000, 4_000, 6_000, 8_000]

"""Waiting together: deadlines are met, equal replays are as few as can be, dear ones may wait."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unlearn.plan.coalescing import (
    AtOnce,
    LatestStart,
    MaximumBatch,
    Pending,
    Rule,
    Work,
    due,
    duration,
    merged,
    needs,
)
from unlearn.plan.forecast.serving import Start, least_visits, serve
from unlearn.plan.planner import draft
from unlearn.request.lifecycle import accept

SHORT = 2**-10
"""Seconds of a replay that is short beside windows of whole seconds."""


def pending(
    name: str, arrived: float, deadline: float, *, chain: str = "a", visits: float = 1.0
) -> Pending:
    return Pending(name, arrived, deadline, {chain: Work(visits, SHORT)})


@st.composite
def streams(draw: st.DrawFn, most: int = 6, depths: int = 1, chains: int = 2) -> list[Pending]:
    """A few requests of one chain each, with whole moments and any windows."""
    asked = []
    for number in range(draw(st.integers(1, most))):
        arrived = draw(st.integers(0, 12))
        asked.append(
            pending(
                f"r{number}",
                arrived,
                arrived + draw(st.integers(1, 8)),
                chain=draw(st.sampled_from("abc"[:chains])),
                visits=float(draw(st.integers(1, depths))),
            )
        )
    return asked


def partitions(things: Sequence[Pending]) -> Iterator[list[list[Pending]]]:
    """Every way to divide some things into groups."""
    if not things:
        yield []
        return
    first, rest = things[0], things[1:]
    for groups in partitions(rest):
        yield [[first], *groups]
        for number, group in enumerate(groups):
            yield [*groups[:number], [first, *group], *groups[number + 1 :]]


def fewest_visits(requests: Sequence[Pending], safety: float) -> float:
    """The cheapest division into groups that some moment serves; every division is tried."""

    def price(group: list[Pending]) -> float:
        last = min(each.deadline - safety * SHORT for each in group)
        if len({*group[0].chains, *(c for each in group for c in each.chains)}) > 1:
            return inf
        return max(each.visits for each in group) if group_begins(group) <= last else inf

    def group_begins(group: list[Pending]) -> float:
        return max(each.arrived for each in group)

    return min(sum(map(price, groups)) for groups in partitions(requests))


def visits(starts: Sequence[Start]) -> float:
    return sum(each.visits for each in starts)


@settings(max_examples=150)
@given(streams(), st.sampled_from([0.0, 0.75, 1.0]))
def test_where_replays_cost_the_same_merging_until_the_latest_start_is_optimal(
    stream: list[Pending], pull: float
) -> None:
    served = visits(serve(stream, LatestStart(safety=2, pull=pull), workers=3))
    assert served == fewest_visits(stream, safety=2)


@settings(max_examples=150)
@given(streams(depths=4))
def test_hindsight_finds_the_cheapest_of_all_divisions(stream: list[Pending]) -> None:
    assert least_visits(stream, safety=2) == fewest_visits(stream, safety=2)


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[Pending], int]:
    """Requests of several chains, with windows of four times what replaying everything takes."""
    workers = draw(st.integers(1, 3))
    works = st.builds(Work, st.integers(1, 9).map(float), st.integers(1, 20).map(float))
    needs = st.sampled_from(
        draw(st.lists(st.dictionaries(st.sampled_from("abcd"), works, min_size=1), min_size=1))
    )
    asked = [
        Pending(f"r{n}", float(draw(st.integers(0, 400))), 0.0, chains)
        for n, chains in enumerate(draw(st.lists(needs, min_size=1, max_size=12)))
    ]
    all_of_it = duration(merged(asked).values(), workers)
    due_by = [each.arrived + 4 * all_of_it + draw(st.integers(0, 200)) for each in asked]
    return [
        Pending(each.id, each.arrived, by, each.chains)
        for each, by in zip(asked, due_by, strict=True)
    ], workers


POLICIES: tuple[Rule, ...] = (
    AtOnce(),
    MaximumBatch(3),
    MaximumBatch(1_000),
    LatestStart(pull=0),
    LatestStart(),
    LatestStart(pull=1),
)


def assert_served_in_time(crowd: tuple[list[Pending], int], policy: Rule) -> None:
    stream, workers = crowd
    starts = serve(stream, policy, workers)
    done = [each.id for start in starts for each in start.requests]
    assert sorted(done) == sorted(each.id for each in stream)
    for before, after in pairwise(starts):
        assert before.end <= after.at
    for start in starts:
        assert all(each.arrived <= start.at for each in start.requests)
        works = merged(start.requests).values()
        assert start.visits == sum(work.visits for work in works)
        assert start.end - start.at == pytest.approx(duration(works, workers))
        assert all(start.end <= each.deadline for each in start.requests)


@settings(max_examples=120)
@given(crowds(), st.sampled_from(POLICIES))
def test_every_request_is_served_once_and_before_its_deadline(
    crowd: tuple[list[Pending], int], policy: Rule
) -> None:
    assert_served_in_time(crowd, policy)


@pytest.mark.soak
@settings(max_examples=5_000)
@given(crowds(), st.sampled_from(POLICIES))
def test_every_request_of_many_crowds_is_served_once_and_before_its_deadline(
    crowd: tuple[list[Pending], int], policy: Rule
) -> None:
    assert_served_in_time(crowd, policy)


def asked_at_every_moment(
    requests: Sequence[Pending], policy: Rule, workers: int
) -> list[tuple[float, set[str]]]:
    """Serve by asking at every arrival, every end and every moment that an answer named."""
    left, now, starts = {each.id: each for each in requests}, -inf, []
    while left:
        here = [each for each in left.values() if each.arrived <= now]
        decision = due(here, now, policy, workers)
        if decision.start:
            starts.append((now, set(decision.start)))
            batch = [left.pop(each) for each in decision.start]
            now += duration(merged(batch).values(), workers)
        else:
            later = [each.arrived for each in left.values() if each.arrived > now]
            now = min([*later, inf if decision.at is None else decision.at])
    return starts


@settings(max_examples=80)
@given(crowds(), st.sampled_from(POLICIES))
def test_moments_that_cannot_matter_are_passed_over(
    crowd: tuple[list[Pending], int], policy: Rule
) -> None:
    stream, workers = crowd
    served = serve(stream, policy, workers)
    asked = asked_at_every_moment(stream, policy, workers)
    assert [{each.id for each in start.requests} for start in served] == [ids for _, ids in asked]
    assert [start.at for start in served] == pytest.approx([at for at, _ in asked])


def test_nothing_starts_before_the_answer_said() -> None:
    waiting = [pending("late", 0, 90), pending("soon", 0, 50, chain="b")]
    policy = LatestStart(safety=2)
    first = due(waiting, 10, policy)
    assert (first.start, first.at) == ((), 50 - 2 * 2 * SHORT)
    assert first.why == "everything pending can wait for soon"
    assert first.at is not None
    assert due(waiting, first.at - 1e-6, policy).start == ()
    then = due(waiting, first.at, policy)
    assert (then.start, then.at) == (("soon",), 90 - 2 * SHORT)
    assert then.why == "soon can wait no longer"


def test_a_dear_request_that_is_due_later_stays_pending_and_a_near_one_joins() -> None:
    cheap, near, dear = (
        pending("cheap", 0, 10),
        *[pending(name, 0, 90, visits=v) for name, v in (("near", 2.0), ("dear", 20.0))],
    )
    assert due([cheap, near, dear], 10, LatestStart()).start == ("cheap", "near")
    assert due([cheap, near, dear], 10, LatestStart(pull=0)).start == ("cheap",)
    assert due([cheap, near, dear], 10, LatestStart(pull=1)).start == ("cheap", "dear", "near")


def test_drafted_plans_say_what_pending_requests_need(trained: Any) -> None:
    """Two people of different shards, one of whom must be forgotten by tomorrow."""
    plans = {}
    for number in range(24):
        request = accept(trained, "subject", [f"person-{number:02d}"])
        plans[request.id] = draft(trained, [request.id])
        if len({run for plan in plans.values() for run in needs(plan)}) == 2:
            break
    day = 86_400.0
    urgent, *_ = plans
    waiting = [
        Pending(each, 0, day if each == urgent else 30 * day, needs(plan))
        for each, plan in plans.items()
    ]
    for each in waiting:
        assert each.visits == plans[each.id].visits
    assert due(waiting, 0, LatestStart()).start == ()
    decision = due(waiting, day, LatestStart())
    assert decision.start[0] == urgent
    *others, elsewhere = plans
    assert set(decision.start) <= set(others)
    assert decision.at is not None
    plan = draft(trained, decision.start)
    together = needs(plan)
    assert together.keys() == needs(plans[urgent]).keys() != needs(plans[elsewhere]).keys()


def test_other_policies_start_all_that_wait() -> None:
    waiting = [pending("x", 0, 90), pending("y", 1, 60, chain="b")]
    assert due(waiting, 2, AtOnce()).start == ("y", "x")
    assert due(waiting, 2, MaximumBatch(3)).start == ()
    assert due(waiting, 2, MaximumBatch(2)).start == ("y", "x")
    assert due(waiting, 60 - 1.5 * 2 * SHORT, MaximumBatch(3)).start == ("y", "x")
    assert due([], 0, AtOnce()).at is None


@pytest.mark.parametrize("policy", [LatestStart(pull=1), MaximumBatch(2)])
def test_nobody_joins_who_would_make_the_most_urgent_late(policy: Rule) -> None:
    """Something long arrives just before the latest start, or when it is too late already."""
    urgent = Pending("urgent", 0, 100, {"a": Work(1, 10)})
    long = Pending("long", 84, 900, {"a": Work(1, 90)})
    decision = due([urgent, long], 84, policy)
    assert (decision.start, decision.at) == (("urgent",), 900 - 1.5 * 90)
    assert due([urgent, long], 120, policy).start == ("urgent",)
    quick = Pending("quick", 84, 900, {"a": Work(1, 5)})
    assert due([urgent, long, quick], 120, policy).start == ("urgent", "quick")


def test_a_duration_is_what_no_order_of_the_chains_exceeds() -> None:
    works = [Work(1, seconds) for seconds in (3.0, 1.0, 2.0)]
    assert [duration(works, workers) for workers in (1, 2, 3, 9)] == [6.0, 4.5, 3.0, 3.0]


def ratios(traces: int, depths: Sequence[float], pull: float) -> list[float]:
    """What the policy costs over what hindsight would have, of so many arrival traces."""
    generator = np.random.default_rng(4)
    found = []
    for _ in range(traces):
        count, window = generator.integers(2, 30), generator.choice([3, 10, 30])
        arrivals = generator.uniform(0, 60, count)
        windows = window * generator.uniform(0.5, 1.5, count)
        stream = [
            pending(str(n), a, a + w, visits=float(generator.choice(depths)))
            for n, (a, w) in enumerate(zip(arrivals, windows, strict=True))
        ]
        served = visits(serve(stream, LatestStart(safety=2, pull=pull)))
        found.append(served / least_visits(stream, safety=2))
    return found


def assert_near_hindsight(traces: int) -> None:
    """Depths are those of four slices, and far apart."""
    for depths in ((4.0, 7.0, 9.0, 10.0), (1.0, 2.0, 3.0, 4.0), (1.0, 10.0, 100.0)):
        ours, everything = (ratios(traces, depths, pull) for pull in (0.75, 1.0))
        assert min(ours) >= 1 - 1e-9
        assert np.mean(ours) <= min(1.07, np.mean(everything) + 0.01)
        assert max(ours) <= 1.8
    assert max(everything) > 1.9


def test_waiting_costs_little_more_than_hindsight_where_replays_cost_unequally() -> None:
    assert_near_hindsight(100)


@pytest.mark.soak
def test_waiting_costs_little_more_than_hindsight_over_a_thousand_traces_of_each_kind() -> None:
    assert_near_hindsight(1_000)

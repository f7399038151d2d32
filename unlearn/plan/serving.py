"""Serving a whole stream of requests: as a policy does, and as hindsight would have."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from math import inf

from unlearn.plan.coalescing import AtOnce, MaximumBatch, Pending, Policy, due, duration, merged


@dataclass(frozen=True, slots=True)
class Start:
    """Requests that were started together at ``at``, and done at ``end``."""

    at: float
    end: float
    requests: tuple[Pending, ...]
    visits: float


def serve(requests: Sequence[Pending], policy: Policy, workers: int = 1) -> tuple[Start, ...]:
    """Let a policy serve requests, each from its arrival on, until none is left.

    Replays take as long as their chains say they do.
    """
    coming = sorted(requests, key=lambda each: -each.arrived)
    longest = duration(merged(requests).values(), workers) if requests else 0.0
    waiting: dict[str, Pending] = {}
    starts: list[Start] = []
    now = -inf
    while coming or waiting:
        now = _admit(coming, waiting, now, policy, longest)
        decision = due(tuple(waiting.values()), now, policy, workers)
        if decision.start:
            starts.append(_started([waiting.pop(each) for each in decision.start], now, workers))
            now = starts[-1].end
        else:
            assert decision.at is not None
            now = min(decision.at, coming[-1].arrived if coming else inf)
    return tuple(starts)


def _admit(
    coming: list[Pending], waiting: dict[str, Pending], now: float, policy: Policy, longest: float
) -> float:
    """Take in what has arrived by now, and what will arrive before anything can be due."""
    if not waiting:
        now = max(now, coming[-1].arrived)
    earliest = min((each.deadline for each in waiting.values()), default=inf)
    while coming:
        arrival = coming[-1]
        earliest = min(earliest, arrival.deadline)
        if arrival.arrived > now and not _quiet(policy, earliest, arrival, waiting, longest):
            break
        waiting[arrival.id] = coming.pop()
        now = max(now, arrival.arrived)
    return now


def _quiet(
    policy: Policy, earliest: float, arrival: Pending, waiting: dict[str, Pending], longest: float
) -> bool:
    """Whether nothing is due when this arrives, however much of everything waits."""
    if isinstance(policy, AtOnce):
        return False
    if isinstance(policy, MaximumBatch) and len(waiting) + 1 >= policy.size:
        return False
    return earliest - policy.safety * longest > arrival.arrived


def _started(batch: list[Pending], now: float, workers: int) -> Start:
    chains = merged(batch).values()
    visits = sum(work.visits for work in chains)
    return Start(now, now + duration(chains, workers), tuple(batch), visits)


def least_visits(requests: Sequence[Pending], safety: float) -> float:
    """The fewest visits that meet every deadline, had all arrivals been known; one chain each.

    Chains are independent, then. A replay at ``t`` from depth ``h`` serves every request that has
    come, is not too late, and needs no more than ``h``. Among those whose windows lie between two
    moments the dearest must be served at its own depth, at some moment; that serves all whose
    windows hold it, and divides the rest in two: dynamic programming over pairs of moments, of
    which only ends of windows need be tried, O(n³).
    """
    by_chain: dict[str, list[tuple[float, float, float]]] = {}
    for request in requests:
        ((chain, work),) = request.chains.items()
        window = (request.arrived, request.deadline - safety * work.seconds, work.visits)
        by_chain.setdefault(chain, []).append(window)
    return sum(map(_least, by_chain.values()))


def _least(windows: list[tuple[float, float, float]]) -> float:
    dearest_first = sorted(windows, key=lambda each: -each[2])
    moments = [-inf, *sorted({end for _, end, _ in windows}), inf]

    @cache
    def least(low: int, high: int) -> float:
        within = (
            each for each in dearest_first if moments[low] < each[0] and each[1] < moments[high]
        )
        dearest = next(within, None)
        if dearest is None:
            return 0.0
        begin, end, visits = dearest
        tried = (t for t in range(low + 1, high) if begin <= moments[t] <= end)
        return visits + min(least(low, t) + least(t, high) for t in tried)

    return least(0, len(moments) - 1)

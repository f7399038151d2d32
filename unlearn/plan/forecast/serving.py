"""Serving a whole stream of requests: as a rule does, and as hindsight would have."""

from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from math import inf

from unlearn.plan.coalescing import AtOnce, MaximumBatch, Pending, Rule, due, duration, merged


@dataclass(frozen=True, slots=True)
class Start:
    """Requests that were started together at ``at``, and done at ``end``."""

    at: float
    end: float
    requests: tuple[Pending, ...]
    visits: float


def serve(requests: Sequence[Pending], rule: Rule, workers: int = 1) -> tuple[Start, ...]:
    """Let a rule serve requests, each from its arrival on, until none is left.

    Replays take as long as their chains say they do.
    """
    coming = sorted(requests, key=lambda each: -each.arrived)
    longest = duration(merged(requests).values(), workers) if requests else 0.0
    queue = _Queue(rule)
    starts: list[Start] = []
    now = -inf
    while coming or queue.alike:
        now = _admit(coming, queue, now, rule, longest)
        decision = due(queue.first, now, rule, workers)
        if decision.start:
            starts.append(_started(queue.take(decision.start), now, workers))
            now = starts[-1].end
        else:
            assert decision.at is not None
            now = min(decision.at, coming[-1].arrived if coming else inf)
    return tuple(starts)


class _Queue:
    """What waits. Requests that need the same are served together, so the most urgent speaks."""

    def __init__(self, rule: Rule) -> None:
        self.alike: dict[object, list[Pending]] = {}
        self._counts = isinstance(rule, MaximumBatch)

    @property
    def first(self) -> list[Pending]:
        """The most urgent of each kind."""
        return [kind[0] for kind in self.alike.values()]

    def add(self, request: Pending) -> None:
        """Let a request wait; where the rule counts them, each is of its own kind."""
        need = request.id if self._counts else frozenset(request.chains.items())
        insort(self.alike.setdefault(need, []), request, key=lambda each: (each.deadline, each.id))

    def take(self, ids: Iterable[str]) -> list[Pending]:
        """The requests of these kinds, which wait no more."""
        kinds = {kind[0].id: need for need, kind in self.alike.items()}
        return [each for name in ids for each in self.alike.pop(kinds[name])]


def _admit(coming: list[Pending], queue: _Queue, now: float, rule: Rule, longest: float) -> float:
    """Take in what has arrived by now, and what will arrive before anything can be due."""
    if not queue.alike:
        now = max(now, coming[-1].arrived)
    earliest = min((each.deadline for each in queue.first), default=inf)
    while coming:
        arrival = coming[-1]
        earliest = min(earliest, arrival.deadline)
        if arrival.arrived > now:
            if not _quiet(rule, earliest, arrival.arrived, len(queue.alike) + 1, longest):
                break
            now = arrival.arrived
        queue.add(coming.pop())
    return now


def _quiet(rule: Rule, earliest: float, now: float, waiting: int, longest: float) -> bool:
    """Whether nothing can be due now, however much of everything waits."""
    match rule:
        case AtOnce():
            return False
        case MaximumBatch(size=size) if waiting >= size:
            return False
    return earliest - rule.safety * longest > now


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

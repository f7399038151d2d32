"""When to start what is pending, so that one replay of a chain serves many requests.

Pure functions of what is known now: `due` is asked when nothing runs, by a clock or when a request
arrives. What is started together is done together, and before anything else is started. Times are
seconds of one clock. ``docs/explanation/waiting-together.md`` has the proofs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from operator import itemgetter

from unlearn.plan.model import External, Plan, Replay

MOMENT = 1e-6
"""Seconds that are no delay: sums of times are rounded."""


@dataclass(frozen=True, slots=True)
class Work:
    """What replaying a chain for a request takes: record visits, and seconds as measured."""

    visits: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Pending:
    """A request that waits: by when it must be done, and the chains that its replay needs."""

    id: str
    arrived: float
    deadline: float
    chains: Mapping[str, Work]

    @property
    def visits(self) -> float:
        """What it costs alone."""
        return sum(work.visits for work in self.chains.values())


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Start whatever there is."""


@dataclass(frozen=True, slots=True)
class LatestStart:
    """Wait for the latest start that meets every deadline, ``safety`` times the measured duration.

    A request that is not due joins where that adds nothing, or less than ``pull`` times its own
    visits: at 0 the former alone, at 1 all that share a chain. The others stay pending.
    """

    safety: float = 1.5
    pull: float = 0.75


@dataclass(frozen=True, slots=True)
class MaximumBatch:
    """Start all that wait once there are ``size`` of them, or at the latest start."""

    size: int
    safety: float = 1.5


Rule = AtOnce | LatestStart | MaximumBatch


@dataclass(frozen=True, slots=True)
class Decision:
    """The ids to ``start`` now, earliest deadline first, and why.

    ``at`` is when to ask again if nothing arrives before: the latest start of those that stay
    pending, None where nothing does.
    """

    start: tuple[str, ...]
    at: float | None
    why: str


def due(pending: Sequence[Pending], now: float, rule: Rule, workers: int = 1) -> Decision:
    """What to start now, on so many workers, and when to ask again.

    What is started is done by the earliest deadline, with the rule's safety, if anything can be.
    """
    waiting = sorted(pending, key=lambda each: (each.deadline, each.id))
    if not waiting:
        return Decision((), None, "nothing is pending")
    if isinstance(rule, AtOnce):
        return Decision(tuple(each.id for each in waiting), None, "pending requests start at once")
    first = waiting[0]
    span = rule.safety * duration(merged(waiting).values(), workers)
    if isinstance(rule, MaximumBatch) and len(waiting) >= rule.size:
        why = f"a batch of {rule.size} is full"
    elif now < first.deadline - span:
        why = f"everything pending can wait for {first.id}"
        return Decision((), first.deadline - span, why)
    else:
        why = f"{first.id} can wait no longer"
    chosen = _chosen(waiting, now, rule, span, workers)
    left = [each for each in waiting if each.id not in chosen]
    again = None
    if left:
        rest = rule.safety * duration(merged(left).values(), workers)
        again = left[0].deadline - rest
    return Decision(tuple(each.id for each in waiting if each.id in chosen), again, why)


def needs(plan: Plan) -> dict[str, Work]:
    """What carrying out a plan replays, a run a chain: for a `Pending` whose plan was drafted."""
    chains: dict[str, Work] = {}
    for task in plan.tasks:
        if isinstance(task.work, Replay | External):
            known = chains.get(task.work.run_id, Work(0, 0))
            work = Work(known.visits + task.visits, known.seconds + task.seconds)
            chains[task.work.run_id] = work
    return chains


def merged(requests: Iterable[Pending]) -> dict[str, Work]:
    """What serves all of these at once: each chain from the earliest restart that one needs."""
    chains: dict[str, Work] = {}
    for request in requests:
        _merge(chains, request)
    return chains


def duration(works: Iterable[Work], workers: int) -> float:
    """Seconds that no list schedule of these chains exceeds on so many workers (Graham 1966)."""
    seconds = [work.seconds for work in works]
    return _longest(len(seconds), sum(seconds), max(seconds, default=0.0), workers)


def _longest(chains: int, total: float, longest: float, workers: int) -> float:
    if chains <= workers:
        return longest
    return total / workers + (1 - 1 / workers) * longest


def _chosen(
    waiting: Sequence[Pending],
    now: float,
    rule: LatestStart | MaximumBatch,
    span: float,
    workers: int,
) -> set[str]:
    """The most urgent, those that are due or counted, and those that join at a low price.

    Nobody joins who would make the most urgent late.
    """
    batch = _Batch(workers, (waiting[0].deadline - now + MOMENT) / rule.safety)
    batch.add(waiting[0])
    until = now + 2 * span if isinstance(rule, LatestStart) else inf
    others = []
    for each in waiting[1:]:
        if each.deadline <= until and batch.has_time_for(each):
            batch.add(each)
        else:
            others.append((each.visits, each))
    if isinstance(rule, LatestStart):
        for visits, each in sorted(others, key=itemgetter(0)):
            added = batch.visits_added(each)
            if (not added or added < rule.pull * visits) and batch.has_time_for(each):
                batch.add(each)
    return batch.ids


class _Batch:
    """What is started together: its chains, and how long they may take on so many workers."""

    def __init__(self, workers: int, time: float) -> None:
        self.ids: set[str] = set()
        self._workers, self._time = workers, time
        self._chains: dict[str, Work] = {}
        self._total = self._longest = 0.0

    def add(self, request: Pending) -> None:
        """Replay for this request too."""
        _, self._total, self._longest = self._seconds_with(request)
        _merge(self._chains, request)
        self.ids.add(request.id)

    def visits_added(self, request: Pending) -> float:
        """The visits that a request adds to what is replayed anyway."""
        added = 0.0
        for chain, work in request.chains.items():
            replayed = self._chains[chain].visits if chain in self._chains else 0.0
            added += max(work.visits - replayed, 0.0)
        return added

    def has_time_for(self, request: Pending) -> bool:
        """Whether all is done in time with this request, or no later than without."""
        present = _longest(len(self._chains), self._total, self._longest, self._workers)
        return _longest(*self._seconds_with(request), self._workers) <= max(self._time, present)

    def _seconds_with(self, request: Pending) -> tuple[int, float, float]:
        """How many chains there are with a request, their seconds in all, and the longest's."""
        chains, total, longest = len(self._chains), self._total, self._longest
        for chain, work in request.chains.items():
            replayed = self._chains.get(chain)
            chains += replayed is None
            total += max(work.seconds - (replayed.seconds if replayed else 0.0), 0.0)
            longest = max(longest, work.seconds)
        return chains, total, longest


def _merge(chains: dict[str, Work], request: Pending) -> None:
    for chain, work in request.chains.items():
        known = chains.setdefault(chain, work)
        if work.visits > known.visits or work.seconds > known.seconds:
            chains[chain] = Work(max(known.visits, work.visits), max(known.seconds, work.seconds))

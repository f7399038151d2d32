"""When to start what is pending, so that one replay of a chain serves many requests.

Pure functions of what is known now: `due` is asked when nothing runs, by a clock or when a request
arrives. What is started together is done together, and before anything else is started. Times are
seconds of one clock. ``docs/explanation/waiting-together.md`` has the proofs.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter

from unlearn.plan.model import External, Plan, Replay


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


Policy = AtOnce | LatestStart | MaximumBatch


@dataclass(frozen=True, slots=True)
class Decision:
    """The ids to ``start`` now, earliest deadline first, and why.

    ``at`` is when to ask again if nothing arrives before: the latest start of those that stay
    pending, None where nothing does.
    """

    start: tuple[str, ...]
    at: float | None
    why: str


def due(pending: Sequence[Pending], now: float, policy: Policy, workers: int = 1) -> Decision:
    """What to start now, on so many workers, and when to ask again.

    While nothing arrives, no start is later than its policy's safety allows.
    """
    waiting = sorted(pending, key=lambda each: (each.deadline, each.id))
    if not waiting:
        return Decision((), None, "nothing is pending")
    match policy:
        case AtOnce():
            return _everything(waiting, "nothing waits")
        case MaximumBatch(size=size) if len(waiting) >= size:
            return _everything(waiting, f"{len(waiting)} requests make a batch of {size}")
    span = policy.safety * duration(merged(waiting).values(), workers)
    latest = waiting[0].deadline - span
    if now < latest:
        return Decision((), latest, f"everything pending can wait for {waiting[0].id}")
    why = f"{waiting[0].id} can wait no longer"
    if isinstance(policy, MaximumBatch):
        return _everything(waiting, why)
    chosen = _joined(waiting, now + 2 * span, policy.pull)
    left = [each for each in waiting if each.id not in chosen]
    again = None
    if left:
        rest = policy.safety * duration(merged(left).values(), workers)
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
    longest = max(seconds, default=0.0)
    if len(seconds) <= workers:
        return longest
    return sum(seconds) / workers + (1 - 1 / workers) * longest


def _everything(waiting: Sequence[Pending], why: str) -> Decision:
    return Decision(tuple(each.id for each in waiting), None, why)


def _joined(waiting: Sequence[Pending], until: float, pull: float) -> set[str]:
    """Those that are due by then, and those that join them, cheapest first, at a low price."""
    must = [each for each in waiting if each.deadline <= until]
    chosen = {each.id for each in must}
    chains = merged(must)
    priced = [(each.visits, each) for each in waiting[len(must) :]]
    for visits, each in sorted(priced, key=itemgetter(0)):
        added = _added(chains, each)
        if not added or added < pull * visits:
            chosen.add(each.id)
            _merge(chains, each)
    return chosen


def _added(chains: Mapping[str, Work], request: Pending) -> float:
    """The visits that a request adds to what is replayed anyway."""
    added = 0.0
    for chain, work in request.chains.items():
        replayed = chains[chain].visits if chain in chains else 0.0
        added += max(work.visits - replayed, 0.0)
    return added


def _merge(chains: dict[str, Work], request: Pending) -> None:
    for chain, work in request.chains.items():
        known = chains.setdefault(chain, work)
        if work.visits > known.visits or work.seconds > known.seconds:
            chains[chain] = Work(max(known.visits, work.visits), max(known.seconds, work.seconds))

"""Planning: the cheapest exact way to forget, as a frozen plan, which is all that it writes."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.closure import closure
from lineage.data.fences import forgotten
from lineage.data.identity import Positions, union
from lineage.provenance.query import live_versions
from lineage.provenance.selection import steered
from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from unlearn.impact import Impact, impact
from unlearn.plan.model import Accuracy, Affected, Plan, Task
from unlearn.plan.passes.alternatives import (
    exactly_selected,
    full_retrain,
    giving_up,
    later_restarts,
    retrained,
)
from unlearn.plan.passes.emptied import without_emptied
from unlearn.plan.passes.finish import finish
from unlearn.plan.passes.interim import interims
from unlearn.plan.passes.needed import needed, needed_checkpoints, needed_models
from unlearn.plan.passes.order import in_order
from unlearn.plan.passes.probes import probes
from unlearn.plan.passes.replays import replays
from unlearn.plan.passes.restarts import Chain, restarts
from unlearn.plan.passes.timetable import critical_path, timetable
from unlearn.plan.passes.transforms import makers, transforms
from unlearn.plan.prospects import adaptive, notes, possible_claim
from unlearn.plan.retained import retained_visits
from unlearn.plan.settled import settled
from unlearn.plan.stored import encoded, leased
from unlearn.plan.withdrawn import behind, left_out, without
from unlearn.plan.world import VersionFacts, World, laps_of, world
from unlearn.policy import Policy, policy_of
from unlearn.request.reading import forget_sets, open_requests

Measure = Callable[[World, Sequence[VersionFacts]], dict[str, Accuracy]]
"""What measures the accuracy of versions, by their ids."""


def make_plan(
    store: Store,
    request_ids: Sequence[str],
    workers: int | None = None,
    measured: Measure | None = None,
    *,
    exact_selection: bool = False,
) -> tuple[str, Plan]:
    """Plan some open requests together and record the plan; returns its id and what it says.

    See `draft` for ``workers``, ``measured`` and ``exact_selection``.

    Raises:
        NotFoundError: a request does not exist.
        RequestError: a request is done or cancelled.
    """
    plan = draft(store, request_ids, workers, measured, exact_selection=exact_selection)
    with store.catalogue.write() as session:
        content = plan.model_dump(mode="json")
        row = tables.Plan(
            id=new_id("plan"),
            state="ready",
            graph_revision=plan.graph_revision,
            body=content,
            digest=ledger.json_digest(content),
            fence=0,
            created_at=store.clock(),
        )
        session.add(row)
        session.flush()
        session.add_all(
            tables.PlanRequest(plan_id=row.id, request_id=each) for each in plan.requests
        )
        session.add_all(tables.Lease(plan_id=row.id, checkpoint_id=each) for each in leased(plan))
        ledger.commit(session, "plan", row.id, {"digest": row.digest}, store.clock())
    return row.id, plan


def draft(
    store: Store,
    request_ids: Sequence[str],
    workers: int | None = None,
    measured: Measure | None = None,
    *,
    exact_selection: bool = False,
) -> Plan:
    """The plan for some requests as the store is now; nothing is written.

    ``workers`` are as many as the policy says, unless given. With ``measured``, accuracies of the
    versions to be replaced stand beside the alternatives. With ``exact_selection``, what measures
    on the forgotten records may have steered counts as having learned from them.
    """
    with store.catalogue.read() as session:
        requests, policy = open_requests(session, request_ids), policy_of(session)
        asked = _Asked(
            {request.id: request.received_at for request in requests},
            min((request.due_at for request in requests if request.due_at), default=None),
            ledger.revision(session),
            workers or policy.workers,
            policy,
            forget_sets(session, request_ids),
            _all_forgotten(session),
            exact_selection,
        )
    usable = _usable(store)
    work = _settled(store, asked, usable)
    plan = _assemble(store, work, usable, measured)
    if exact_selection or not work.steered:
        return plan
    other = _settled(store, replace(asked, exact_selection=True), usable).work
    return plan.model_copy(update={"rejected": (*plan.rejected, exactly_selected(other.visits))})


def _settled(store: Store, asked: "_Asked", usable: Callable[[str], bool]) -> "_Settled":
    """Find what is recomputed, where all is left out that was left out of what is gone on with."""
    found = impact(store, asked.wanted)
    with store.catalogue.read() as session:
        segments = steered(session, found.closure.everything)
    also = segments if asked.exact_selection else ()
    found = impact(store, asked.wanted, also=also) if also else found
    while True:
        fenced = _fenced(store, asked, found, also)
        snapshot = _snapshot(store, found, fenced, asked.gone)
        work = _work(snapshot, found, usable)
        with store.catalogue.read() as session:
            more = behind(snapshot, work.chains, left_out(session, asked.gone))
        if not more:
            return _Settled(asked, found, segments, snapshot, work)
        asked = replace(asked, gone=union(asked.gone, more))


def _fenced(store: Store, asked: "_Asked", found: Impact, also: Sequence[str]) -> Impact:
    """The impact of all that is left out: what a replay may not begin with.

    What measures on the records of other requests may have steered is among it: a replay measures
    without them, and would not go on as what came before.
    """
    if asked.gone == asked.wanted:
        return found
    others = closure(store, without(asked.gone, asked.wanted)).everything
    with store.catalogue.read() as session:
        segments = steered(session, others)
    return impact(store, asked.gone, also=(*also, *segments))


def _snapshot(store: Store, found: Impact, fenced: Impact, gone: Positions) -> World:
    """What planning looks at, where what is ``gone`` is left out, whose impact is ``fenced``."""
    with store.catalogue.read() as session:
        laps = laps_of(session)
        left = retained_visits(store, session, laps, fenced.segments, gone)
        stale = _stale(store, session, found, gone)
        snapshot = world(session, laps, found, left, stale, fenced)
        return replace(snapshot, settled=settled(store, session, snapshot, gone))


@dataclass(frozen=True)
class _Asked:
    """What is to be planned: requests and when they came, by when, and how.

    ``wanted`` is to be forgotten, and no replay may see what is ``gone``.
    """

    received: Mapping[str, datetime]
    deadline: datetime | None
    revision: int
    workers: int
    policy: Policy
    wanted: Positions
    gone: Positions
    exact_selection: bool


@dataclass(frozen=True)
class _Work:
    """The versions to replace, and what is recomputed for them: chains, the tasks that replay
    them, and these among all tasks.
    """

    affected: tuple[VersionFacts, ...]
    chains: tuple[Chain, ...]
    replayed: tuple[Task, ...]
    tasks: tuple[Task, ...]

    @property
    def visits(self) -> int:
        """The visits of all replays."""
        return sum(task.visits for task in self.replayed)


@dataclass(frozen=True)
class _Settled:
    """What is planned: the impact of what is asked, and what is recomputed in the world as it is.

    ``steered`` are the segments that measures on the forgotten records, or on rows made of them,
    may have steered.
    """

    asked: _Asked
    found: Impact
    steered: tuple[str, ...]
    snapshot: World
    work: _Work


def _work(world: World, found: Impact, usable: Callable[[str], bool]) -> _Work:
    affected = without_emptied(world, needed(world))
    wanted = dict.fromkeys((*needed_checkpoints(affected), *needed_models(world)))
    chains = restarts(world, wanted, usable)
    remade = transforms(world, chains)
    made_by = makers(world, remade)
    replayed = replays(world, chains, made_by)
    early = (
        *interims(world, affected, usable),
        *remade,
        *probes(world, chains, made_by, usable),
    )
    tasks = finish(world, found, affected, in_order((*early, *replayed)))
    return _Work(affected, chains, replayed, tasks)


def _assemble(
    store: Store, settled: _Settled, usable: Callable[[str], bool], measured: Measure | None
) -> Plan:
    asked, found, snapshot, work = settled.asked, settled.found, settled.snapshot, settled.work
    affected, workers = work.affected, asked.workers
    accuracy = measured(snapshot, affected) if measured else {}
    with store.catalogue.read() as session:
        duration = round(timetable(work.tasks, workers).duration, 3)
        full_visits, full_seconds = full_retrain(snapshot, affected)
        late = adaptive(session, asked.received, affected)
        names = [task.id for task in work.replayed]
        return Plan(
            requests=tuple(asked.received),
            graph_revision=asked.revision,
            forget=encoded(asked.gone),
            records=sum(map(len, found.closure.forgotten.values())),
            affected=_affected(found, snapshot),
            total_checkpoints=sum(each.kept for each in snapshot.checkpoints.values()),
            tasks=work.tasks,
            visits=work.visits,
            seconds=round(sum(task.seconds for task in work.tasks), 3),
            full_retrain_visits=full_visits,
            full_retrain_seconds=full_seconds,
            deadline=asked.deadline,
            workers=workers,
            duration=duration,
            critical=critical_path(work.tasks),
            latest_start=asked.deadline and asked.policy.latest_start(asked.deadline, duration),
            adaptive=late,
            claim_possible=possible_claim(
                session, found, asked.gone, work.replayed, settled.steered
            ),
            notes=notes(session, found, affected, asked.gone, late, work.tasks),
            accuracy=accuracy,
            exact_selection=asked.exact_selection,
            rejected=(
                *later_restarts(snapshot, work.chains, names, work.visits),
                *giving_up(snapshot, affected, usable, work.visits, accuracy),
                *retrained(work.visits, full_visits),
            ),
        )


def _affected(found: Impact, snapshot: World) -> Affected:
    return Affected(
        runs=tuple(sorted({snapshot.checkpoints[each].run_id for each in found.checkpoints})),
        segments=tuple(sorted(found.segments)),
        checkpoints=tuple(sorted(found.checkpoints)),
        versions=tuple(sorted(found.versions)),
    )


def _all_forgotten(session: Session) -> Positions:
    """Every position that any request names which was not cancelled."""
    found = {each: forgotten(session, each) for each in session.scalars(select(tables.Dataset.id))}
    return {dataset: positions for dataset, positions in found.items() if positions}


def _usable(store: Store) -> Callable[[str], bool]:
    """Whether a checkpoint's bytes are there and sound; each is read once."""

    @cache
    def usable(checkpoint_id: str) -> bool:
        with store.catalogue.read() as session:
            blob = session.get_one(tables.Checkpoint, checkpoint_id).object
        return store.objects.verify(blob)

    return usable


def _stale(store: Store, session: Session, found: Impact, gone: Positions) -> tuple[str, ...]:
    """The transforms to execute again; where something is replayed, without all that is gone.

    Models of others than these requests' records teach what they taught until their own plan.
    """
    if live_versions(session).isdisjoint(found.versions) and not found.closure.taught:
        return found.closure.stale
    return closure(store, gone, found.closure.taught).stale

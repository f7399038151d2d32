"""Planning: the cheapest exact way to forget, as a frozen plan, which is all that it writes."""

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.fences import forgotten
from lineage.data.identity import Positions
from lineage.provenance.exposure import incomplete_runs
from lineage.store import Store
from lineage.training.reshard import cap_of_placements, due, wear
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError
from storage.manifests import dump_bitmap, load_bitmap
from unlearn.claim import Claim
from unlearn.impact import Impact, impact
from unlearn.plan.cost import retained_visits
from unlearn.plan.model import Affected, Plan, Task, Transform
from unlearn.plan.passes.alternatives import full_retrain, rejected
from unlearn.plan.passes.emptied import without_emptied
from unlearn.plan.passes.finish import finish
from unlearn.plan.passes.interim import interims
from unlearn.plan.passes.needed import needed, needed_checkpoints
from unlearn.plan.passes.probes import probes
from unlearn.plan.passes.replays import replays
from unlearn.plan.passes.restarts import restarts
from unlearn.plan.world import VersionFacts, World, world
from unlearn.request.lifecycle import forget_sets, open_requests


def make_plan(store: Store, request_ids: Sequence[str]) -> tuple[str, Plan]:
    """Plan some open requests together and record the plan; returns its id and what it says.

    Raises:
        NotFoundError: a request does not exist.
        RequestError: a request is done or cancelled.
    """
    plan = draft(store, request_ids)
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


def draft(store: Store, request_ids: Sequence[str]) -> Plan:
    """The plan for some requests as the store is now; nothing is written."""
    with store.catalogue.read() as session:
        requests = open_requests(session, request_ids)
        revision = ledger.revision(session)
        wanted = forget_sets(session, [request.id for request in requests])
        gone = _all_forgotten(session)
    found = impact(store, wanted)
    fenced = found if gone == wanted else impact(store, gone)
    with store.catalogue.read() as session:
        snapshot = world(session, found, retained_visits(store, session, fenced.segments, gone))
        return _assemble(
            store,
            session,
            tuple(request.id for request in requests),
            revision,
            gone,
            found,
            fenced,
            snapshot,
        )


def load_plan(session: Session, plan_id: str) -> tuple[tables.Plan, Plan]:
    """A recorded plan: its row and what it says.

    Raises:
        NotFoundError: there is none.
    """
    row = session.get(tables.Plan, plan_id)
    if row is None:
        raise NotFoundError(f"there is no plan {plan_id}", hint="see `expunge status`")
    return row, Plan.model_validate(row.body)


def decoded(forget: Mapping[str, str]) -> Positions:
    """A plan's forgotten positions: dataset id → positions."""
    return {dataset: load_bitmap(base64.b64decode(data)) for dataset, data in forget.items()}


def leased(plan: Plan) -> tuple[str, ...]:
    """The checkpoints a plan needs until it is applied."""
    restarted = (
        task.work.restart
        for task in plan.tasks
        if task.work.kind == "replay" and (task.work.restart or "").startswith("ckpt-")
    )
    return tuple(dict.fromkeys(each for each in restarted if each is not None))


def _assemble(
    store: Store,
    session: Session,
    requests: tuple[str, ...],
    revision: int,
    gone: Positions,
    found: Impact,
    fenced: Impact,
    snapshot: World,
) -> Plan:
    _, remade = _transforms(session, fenced.closure.stale, snapshot)
    affected = without_emptied(
        snapshot, needed(snapshot), {run for run, tasks in remade.items() if tasks}
    )
    usable = _usable(store, session)
    chains = restarts(snapshot, needed_checkpoints(affected), usable)
    stale = (fenced if chains else found).closure.stale
    transforms, makers = _transforms(session, stale, snapshot)
    replayed = replays(snapshot, chains, makers)
    visits = sum(task.visits for task in replayed)
    full_visits, full_seconds = full_retrain(snapshot, affected)
    early = (
        *interims(snapshot, affected, usable),
        *transforms,
        *probes(snapshot, chains, makers, usable),
    )
    tasks = finish(snapshot, found, affected, (*early, *replayed))
    return Plan(
        requests=requests,
        graph_revision=revision,
        forget={each: base64.b64encode(dump_bitmap(gone[each])).decode() for each in sorted(gone)},
        records=sum(map(len, found.closure.forgotten.values())),
        affected=Affected(
            runs=tuple(sorted({snapshot.checkpoints[c].run_id for c in found.checkpoints})),
            segments=tuple(sorted(found.segments)),
            checkpoints=tuple(sorted(found.checkpoints)),
            versions=tuple(sorted(found.versions)),
        ),
        total_checkpoints=sum(each.kept for each in snapshot.checkpoints.values()),
        tasks=tasks,
        visits=visits,
        seconds=round(sum(task.seconds for task in tasks), 3),
        full_retrain_visits=full_visits,
        full_retrain_seconds=full_seconds,
        claim_possible=_possible(session, found, gone, replayed),
        notes=_notes(session, found, affected, gone),
        rejected=rejected(snapshot, chains, visits, full_visits),
    )


def _all_forgotten(session: Session) -> Positions:
    """Every position that any request names which was not cancelled."""
    found = {each: forgotten(session, each) for each in session.scalars(select(tables.Dataset.id))}
    return {dataset: positions for dataset, positions in found.items() if positions}


def _usable(store: Store, session: Session) -> Callable[[str], bool]:
    """Whether a checkpoint's bytes are there and sound."""

    @cache
    def usable(checkpoint_id: str) -> bool:
        return store.objects.verify(session.get_one(tables.Checkpoint, checkpoint_id).object)

    return usable


def _transforms(
    session: Session, stale: Sequence[str], snapshot: World
) -> tuple[tuple[Task, ...], dict[str, tuple[str, ...]]]:
    """A task for each transform to execute again, and, per run, those that make its inputs."""
    tasks: list[Task] = []
    outputs: dict[str, list[str]] = {}
    for number, transform_id in enumerate(stale, 1):
        row = session.get_one(tables.Transform, transform_id)
        task = Task(
            id=f"transform-{number}",
            depends_on=tuple(each.id for each in tasks),
            work=Transform(transform_id=transform_id),
            visits=0,
            seconds=0.0,
            reason=f"{row.ref} had forgotten rows in sight: what it made with them is made anew",
        )
        tasks.append(task)
        made = session.get_one(tables.DatasetVersion, row.output_id).dataset_id
        outputs.setdefault(made, []).append(task.id)
    makers = {
        run.id: tuple(task for given in run.datasets for task in outputs.get(given, ()))
        for run in snapshot.runs.values()
    }
    return tuple(tasks), makers


def _held(session: Session, found: Impact) -> bool:
    holds = session.scalars(
        select(tables.Hold.artefact_id).where(tables.Hold.released_at.is_(None))
    )
    return any(each in found.checkpoints | found.versions for each in holds)


def _possible(session: Session, found: Impact, gone: Positions, replayed: Sequence[Task]) -> Claim:
    """The strongest claim that a twin could bear."""
    if incomplete_runs(session, gone):
        return Claim.NONE
    if _held(session, found) or any(task.work.kind == "external" for task in replayed):
        return Claim.EXACT_BY_PROVENANCE
    return Claim.REPLAY_VERIFIED


def _notes(
    session: Session, found: Impact, affected: Sequence[VersionFacts], gone: Positions
) -> tuple[str, ...]:
    notes = [
        f"{run} was given records that no dataset holds: whether it saw these cannot be told"
        for run in incomplete_runs(session, gone)
    ]
    if not found.exposures:
        notes.append("no recorded run trained on these records: nothing learned from them")
    elif not affected:
        notes.append("no model in use learned from these records: what did is only purged")
    notes += (left for version in affected if (left := _left(version)))
    notes += (worn for version in affected if version.members and (worn := _worn(session, version)))
    if _held(session, found):
        notes.append("a hold keeps something that descends from these records: it lowers the claim")
    return tuple(notes)


def _left(version: VersionFacts) -> str:
    """What becomes of a version some of whose shards would learn from no record any more."""
    name = f"{version.model} v{version.sequence}"
    if not version.members:
        return f"{name} has no record left to learn from: it ends, and nothing replaces it"
    shards = ", ".join(map(str, sorted(version.left_out)))
    return shards and f"{name} goes on without shard {shards}: no record is left to learn from"


def _worn(session: Session, version: VersionFacts) -> str:
    """Whether the placement of a version has borne more deletions than it should."""
    found = wear(session, version.id)
    if found is None or not due(found.deleted, found.records, cap_of_placements()):
        return ""
    return (
        f"{found.deleted} of the {found.records} records that {version.model} was placed with have "
        f"been deleted: draw a new placement with `expunge reshard {version.model}`"
    )

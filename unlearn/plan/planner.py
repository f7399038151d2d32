"""Planning: the cheapest exact way to forget, as a frozen plan, which is all that it writes."""

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.closure import closure
from lineage.data.fences import forgotten
from lineage.data.identity import Positions
from lineage.provenance.exposure import incomplete_runs
from lineage.provenance.query import live_versions
from lineage.provenance.selection import Chosen, chosen
from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError
from storage.manifests import dump_bitmap, load_bitmap
from unlearn.claim import Claim
from unlearn.impact import Impact, impact
from unlearn.plan.cost import retained_visits
from unlearn.plan.model import Affected, Plan, Task
from unlearn.plan.passes.alternatives import full_retrain, rejected
from unlearn.plan.passes.finish import finish
from unlearn.plan.passes.interim import interims
from unlearn.plan.passes.needed import needed, needed_checkpoints, needed_models
from unlearn.plan.passes.order import in_order
from unlearn.plan.passes.probes import probes
from unlearn.plan.passes.replays import replays
from unlearn.plan.passes.restarts import restarts
from unlearn.plan.passes.transforms import makers, transforms
from unlearn.plan.world import World, world
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
        visits = retained_visits(store, session, fenced.segments, gone)
        snapshot = world(session, found, visits, _stale(store, session, found, gone))
        return _assemble(
            store,
            session,
            tuple(request.id for request in requests),
            revision,
            gone,
            found,
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
    snapshot: World,
) -> Plan:
    affected = needed(snapshot)
    usable = _usable(store, session)
    wanted = dict.fromkeys((*needed_checkpoints(affected), *needed_models(snapshot)))
    chains = restarts(snapshot, wanted, usable)
    remade = transforms(snapshot, chains)
    made_by = makers(snapshot, remade)
    replayed = replays(snapshot, chains, made_by)
    visits = sum(task.visits for task in replayed)
    full_visits, full_seconds = full_retrain(snapshot, affected)
    early = (
        *interims(snapshot, affected, usable),
        *remade,
        *probes(snapshot, chains, made_by, usable),
    )
    tasks = finish(snapshot, found, affected, in_order((*early, *replayed)))
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


def _stale(store: Store, session: Session, found: Impact, gone: Positions) -> tuple[str, ...]:
    """The transforms to execute again; where something is replayed, without all that is gone.

    Models of others than these requests' records teach what they taught until their own plan.
    """
    if live_versions(session).isdisjoint(found.versions) and not found.closure.taught:
        return found.closure.stale
    return closure(store, gone, found.closure.taught).stale


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
    session: Session, found: Impact, affected: Sequence[object], gone: Positions
) -> tuple[str, ...]:
    notes = [
        f"{run} was given records that no dataset holds: whether it saw these cannot be told"
        for run in incomplete_runs(session, gone)
    ]
    if not found.exposures:
        notes.append("no recorded run trained on these records: nothing learned from them")
    elif not affected:
        notes.append("no model in use learned from these records: what did is only purged")
    if _held(session, found):
        notes.append("a hold keeps something that descends from these records: it lowers the claim")
    notes += map(_choice, chosen(session, found.closure.everything, found.versions))
    return tuple(notes)


def _choice(each: Chosen) -> str:
    how = [f"by looking at {', '.join(each.by)}, which has these records"] if each.by else []
    how += [f"over {', '.join(each.over)}, which learned from them"] if each.over else []
    return f"{each.version} was chosen {' and '.join(how)}: that choice is not made again"

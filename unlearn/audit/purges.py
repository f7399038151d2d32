"""What was purged, and by what: marks on rows, the objects behind them, and what was erased."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.store import Store
from storage.catalogue import tables
from unlearn.plan.model import Plan, Purge
from unlearn.request.reading import forget_sets

_NO_PURGE = "is marked as purged, and nothing has purged it"


def faults_of_purges(store: Store, session: Session) -> Iterator[str]:
    """Yield a sentence for each mark, redaction or count that does not fit what was purged."""
    began = _purges(session)
    yield from _artefacts(store, session, began)
    yield from _versions(session, began)
    yield from _erased(session, began)
    yield from _chunks(session)


@dataclass(frozen=True, slots=True)
class _Purges:
    """The purges that have begun: those under way, those done, and what they are to destroy."""

    under_way: tuple[tables.Task, ...]
    done: tuple[tables.Task, ...]
    named: frozenset[str]


def _purges(session: Session) -> _Purges:
    task = tables.Task
    begun = select(task).where(task.kind == "purge", task.state != "pending").order_by(task.id)
    rows = session.scalars(begun).all()
    named: set[str] = set()
    for row in rows:
        work = (
            Plan.model_validate(session.get_one(tables.Plan, row.plan_id).body).task("purge").work
        )
        assert isinstance(work, Purge)
        named |= {*work.checkpoints, *work.fits, *work.versions}
    return _Purges(
        tuple(each for each in rows if each.state != "done"),
        tuple(each for each in rows if each.state == "done"),
        frozenset(named),
    )


def _artefacts(store: Store, session: Session, purges: _Purges) -> Iterator[str]:
    """What is marked was evicted, or a purge has destroyed its object.

    A purge also takes what came to descend from the forgotten since its plan, so a plan need not
    name it. While a purge is under way, what it has marked may still be there. What was held may
    stay until the next sweep.
    """
    if purges.under_way:
        return
    rows: list[tables.Checkpoint | tables.Fit] = []
    rows += session.scalars(select(tables.Checkpoint))
    rows += session.scalars(select(tables.Fit))
    spared = _evicted(session) | _ever_held(session) | purges.named
    shared = {each.object for each in rows if each.purged_at is None or each.id in spared}
    for row in rows:
        if row.purged_at is None or row.id in spared:
            continue
        if not purges.done or (row.object in store.objects and row.object not in shared):
            yield f"{row.id} {_NO_PURGE}"


def _evicted(session: Session) -> set[str]:
    stated = select(tables.Commitment.row_id).where(tables.Commitment.kind == "eviction")
    return set(session.scalars(stated))


def _ever_held(session: Session) -> set[str]:
    """What a hold has named, in force or not, and the members of such versions."""
    named = set(session.scalars(select(tables.Hold.artefact_id)))
    member = tables.ModelMember
    pairs = session.execute(select(member.version_id, member.checkpoint_id))
    return named | {checkpoint for version, checkpoint in pairs if version in named}


def _versions(session: Session, purges: _Purges) -> Iterator[str]:
    """A version is purged where a purge names it or has taken a member, and only there."""
    evicted = _evicted(session)
    made, member = tables.Checkpoint, tables.ModelMember
    gone = select(made.id).where(made.purged_at.is_not(None))
    lost = set(session.scalars(gone)) - evicted
    members: dict[str, set[str]] = defaultdict(set)
    for version_id, checkpoint in session.execute(select(member.version_id, member.checkpoint_id)):
        members[version_id].add(checkpoint)
    for row in session.scalars(select(tables.ModelVersion)):
        taken = sorted(members[row.id] & lost)
        if row.purged_at is None and taken:
            yield f"{row.id} is in use, and {taken[0]}, a member of it, is purged"
        if row.purged_at is not None and not taken and row.id not in purges.named:
            yield f"{row.id} {_NO_PURGE}"


def _erased(session: Session, purges: _Purges) -> Iterator[str]:
    """As many rows were erased as the requests name, in as many chunks as were redacted."""
    chunks: dict[str, set[str]] = defaultdict(set)
    for each in session.scalars(select(tables.Redaction)):
        chunks[each.plan_id].add(each.chunk_id)
    for task in purges.done:
        requests = session.get_one(tables.Plan, task.plan_id).body["requests"]
        rows = sum(map(len, forget_sets(session, requests).values()))
        if task.result.get("erased_records") != rows:
            yield f"{task.plan_id} erased other rows than its requests name"
        if task.result.get("redacted_chunks") != len(chunks[task.plan_id]):
            yield f"{task.plan_id} redacted other chunks than its redactions name"
    known = {task.plan_id for task in (*purges.under_way, *purges.done)}
    for plan_id in sorted(chunks.keys() - known):
        yield f"redactions are of {plan_id}, which has purged nothing"


def _chunks(session: Session) -> Iterator[str]:
    """The redactions of a chunk, each of its two objects, follow each other up to what it is."""
    found: dict[str, dict[str, list[tables.Redaction]]] = defaultdict(lambda: defaultdict(list))
    for each in session.scalars(select(tables.Redaction)):
        found[each.chunk_id][each.kind].append(each)
    for chunk_id, kinds in sorted(found.items()):
        chunk = session.get_one(tables.Chunk, chunk_id)
        fit = (
            kinds.keys() == {"manifest", "data"}
            and len(kinds["manifest"]) == len(kinds["data"])
            and _lead_to(chunk.manifest, kinds["manifest"])
            and _lead_to(chunk.data, kinds["data"])
        )
        if not fit:
            yield f"{chunk_id} is not what its redactions made of it"


def _lead_to(last: str, redactions: Sequence[tables.Redaction]) -> bool:
    """Return True if the redactions are one chain that ends with an object; some change nothing."""
    changed = [each for each in redactions if each.old != each.new]
    if not changed:
        return {each.new for each in redactions} == {last}
    olds, news = {each.old for each in changed}, {each.new for each in changed}
    return news - olds == {last} and len(olds - news) == 1

"""Rows that other rows presuppose: what must be there, and what it must say beside them.

The ledger states most rows and no count of them. A row that it has no entry of is missed here by
what refers to it, or by the gap that it leaves.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from hashlib import blake2b

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.fences import forgotten
from lineage.data.identity import scope_of
from lineage.data.retained import live
from storage.catalogue import tables
from storage.manifests import load_bitmap
from unlearn.plan.stored import decoded
from unlearn.request.reading import forget_sets


def missing_rows(session: Session) -> Iterator[str]:
    """Yield a sentence for each row that is missing or does not fit the rows beside it."""
    yield from _segments(session)
    yield from _inputs(session)
    yield from _evaluations(session)
    yield from _datasets(session)
    yield from _transforms(session)
    yield from _targets(session)
    yield from _positions(session)
    yield from _plans(session)


def _segments(session: Session) -> Iterator[str]:
    """The segments of a run follow each other, and each ends with a checkpoint."""
    segments = {each.checkpoint_id: each for each in session.scalars(select(tables.Segment))}
    made = tables.Checkpoint
    reached = dict(session.execute(select(tables.Run.id, tables.Run.first_step)).all())
    for row in session.scalars(select(made).order_by(made.run_id, made.step, made.edition)):
        segment = segments.get(row.id)
        first = row.step if row.edition else reached[row.run_id]
        if segment is None or segment.run_id != row.run_id:
            yield f"{row.id} of {row.run_id} has no segment"
        elif segment.first_step != first:
            yield f"{segment.id} of {row.run_id} does not begin at step {first}"
        reached[row.run_id] = row.step


def _inputs(session: Session) -> Iterator[str]:
    """A run trains on the input that its specification names, and on no other."""
    given, run = tables.RunInput, tables.Run
    rows = select(given, run.specification).join(run, run.id == given.run_id)
    for row, specification in session.execute(rows):
        if row.trains != (row.alias == specification["train"]):
            yield f"the input {row.alias!r} of {row.run_id} is not what its specification says"


def _evaluations(session: Session) -> Iterator[str]:
    """A measure is one on an input of its run, after a step that the run took."""
    given = set(session.execute(select(tables.RunInput.run_id, tables.RunInput.alias)))
    first = dict(session.execute(select(tables.Run.id, tables.Run.first_step)).all())
    for row in session.scalars(select(tables.Evaluation)):
        if (row.run_id, row.alias) not in given:
            yield f"{row.id} of {row.run_id} is on {row.alias!r}, which the run was not given"
        if row.step < first[row.run_id]:
            yield f"{row.id} of {row.run_id} is of step {row.step}, where the run had not begun"


def _datasets(session: Session) -> Iterator[str]:
    """The head of a dataset has all its parts, and no row that a request has taken out."""
    for row in session.scalars(select(tables.Dataset)):
        head = session.get(tables.DatasetVersion, row.head_id) if row.head_id else None
        if head is None or head.dataset_id != row.id:
            yield f"{row.id} has a head that is no version of it"
            continue
        parts = session.scalars(select(tables.Part.rows).where(tables.Part.dataset_id == row.id))
        if head.rows != sum(parts):
            yield f"the head of {row.id} has other rows than its parts"
        if live(head) & forgotten(session, row.id):
            yield f"the head of {row.id} has rows that requests have taken out"
        columns = {each["name"] for each in row.columns}
        if not {*row.id_columns, *row.subject_columns} <= columns:
            yield f"{row.id} has ids or subjects in columns that it has not"


def _transforms(session: Session) -> Iterator[str]:
    """What a transform wrote is a part of its output."""
    part, version = tables.Part, tables.DatasetVersion
    parts = set(session.execute(select(part.dataset_id, part.first_position, part.rows)))
    of = dict(session.execute(select(version.id, version.dataset_id)).all())
    for row in session.scalars(select(tables.Transform)):
        if (of[row.output_id], row.first_position, row.rows) not in parts:
            yield f"{row.id} wrote rows that are no part of its output"


def _targets(session: Session) -> Iterator[str]:
    """Each fence of a request has a target, under a pseudonym while its key is there."""
    targets: dict[str, list[tables.RequestTarget]] = defaultdict(list)
    for target in session.scalars(select(tables.RequestTarget)):
        targets[target.request_id].append(target)
    fences: dict[str, list[tables.Suppression]] = defaultdict(list)
    for fence in session.scalars(select(tables.Suppression)):
        fences[fence.request_id].append(fence)
    secret = tables.Secret
    keys = dict(session.execute(select(secret.fingerprint, secret.key)).all())
    for request in session.scalars(select(tables.Request)):
        mine, marks = targets[request.id], fences[request.id]
        if Counter((t.kind, t.scope) for t in mine) != Counter((f.kind, f.scope) for f in marks):
            yield f"{request.id} has other targets than fences"
        names = {each.pseudonym for each in mine}
        known = [keys[each.fingerprint] for each in marks if each.fingerprint in keys]
        if request.state == "open" and len(known) < len(marks):
            yield f"{request.id} is open, and keys of its subjects are missing"
        if not {_pseudonym(request.id, key) for key in known} <= names:
            yield f"{request.id} has targets under other pseudonyms than its keys give"


def _pseudonym(request_id: str, key: bytes) -> str:
    return blake2b(request_id.encode(), digest_size=16, key=key).hexdigest()


def _positions(session: Session) -> Iterator[str]:
    """A request names rows of datasets in which its ids are unique, and takes them out."""
    sets: dict[str, dict[str, BitMap]] = defaultdict(dict)
    for row in session.scalars(select(tables.ForgetSet)):
        sets[row.request_id][row.dataset_id] = load_bitmap(row.positions)
    datasets = {each.id: each for each in session.scalars(select(tables.Dataset))}
    for request_id in session.scalars(select(tables.Request.id)):
        if not any(sets[request_id].values()):
            yield f"{request_id} names no rows"
    for target in session.scalars(select(tables.RequestTarget)):
        named = (datasets[each] for each in sets[target.request_id])
        if sets[target.request_id] and target.scope not in {
            scope_of(each, target.kind) for each in named
        }:
            yield f"{target.request_id} is about {target.kind}s in none of the datasets it names"
    yield from _taken_out(session, sets)


def _taken_out(session: Session, sets: dict[str, dict[str, BitMap]]) -> Iterator[str]:
    """A version that was made for one request is without rows that this request names."""
    rows = {each.id: each for each in session.scalars(select(tables.DatasetVersion))}
    for row in rows.values():
        request = row.reason.removeprefix("request ")
        if request not in sets or row.reason == request or row.parent_id is None:
            continue
        out = load_bitmap(row.deleted) - load_bitmap(rows[row.parent_id].deleted)
        if out - sets[request].get(row.dataset_id, BitMap()):
            yield f"{row.id} is without rows that {request} does not name"


def _plans(session: Session) -> Iterator[str]:
    """A plan has the requests and tasks that it says, and leaves out the rows of its requests."""
    requests: dict[str, set[str]] = defaultdict(set)
    for each in session.scalars(select(tables.PlanRequest)):
        requests[each.plan_id].add(each.request_id)
    tasks: dict[str, set[str]] = defaultdict(set)
    for plan_id, task_id in session.execute(select(tables.Task.plan_id, tables.Task.id)):
        tasks[plan_id].add(task_id.rpartition("/")[2])
    for row in session.scalars(select(tables.Plan)):
        if requests[row.id] != set(row.body["requests"]):
            yield f"{row.id} has other requests than it says"
            continue
        begun = row.state in ("applying", "failed", "applied")
        if (begun or tasks[row.id]) and tasks[row.id] != {t["id"] for t in row.body["tasks"]}:
            yield f"{row.id} has other tasks than it says"
        left = decoded(row.body["forget"])
        named = forget_sets(session, row.body["requests"])
        if any(rows - left.get(dataset, BitMap()) for dataset, rows in named.items()):
            yield f"{row.id} keeps rows that its requests name"

"""Requests: accepted, served by a plan, done; or cancelled before that.

Accepting raises the fence at once: the heads of the datasets move to versions without the rows, so
no new run sees them, and nobody can register them again. Requests keep pseudonyms and positions.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime
from hashlib import blake2b

from pyroaring import BitMap
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from lineage.data.closure import closure
from lineage.data.dataset import new_version, without
from lineage.data.fences import fingerprint, forgotten, suppressions
from lineage.data.identity import (
    Erased,
    Positions,
    erasures,
    require_known,
    resolve,
    scope_of,
)
from lineage.data.mapping import recorded_into
from lineage.data.part import superseded
from lineage.data.version import Version, chunks_of
from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.manifests import dump_bitmap, load_bitmap
from unlearn.errors import RequestError
from unlearn.request.accepted import Accepted
from unlearn.request.deadline import month_after
from unlearn.request.reading import batches, open_requests

KINDS = ("subject", "record")
"""What a request may name."""


def accept(
    store: Store,
    kind: str,
    names: Sequence[str],
    within: str | None = None,
    due: datetime | None = None,
) -> Accepted:
    """Take a request to forget ``subject`` or ``record`` ids; the same request twice is one.

    It must be done by ``due``, a month from now unless another time is given; of two times, by the
    earlier. Ids that an earlier request covers are left to it; if all are, that erasure is the
    answer.

    Raises:
        RequestError: the kind is another.
        UnknownIdError: an id is in no dataset and never was; its number is named, not the id.
        AmbiguousIdError: an id is in several namespaces or datasets.
    """
    if kind not in KINDS:
        raise RequestError(
            f"a request names subjects or records, and not {kind!r}",
            hint=f"give one of: {', '.join(KINDS)}",
        )
    wanted = list(dict.fromkeys(names))
    while True:
        revision = _revision(store)
        new, earlier = _divided(store, kind, resolve(store, kind, wanted, within), within)
        require_known(kind, names, {name for name in wanted if new[name] or name in earlier})
        if not any(new.values()):
            return _known(store, list(earlier.values()), due)
        request = _accept(store, kind, new, revision, due)
        if request is not None:
            return Accepted.waiting(request)


def cancel(store: Store, request_id: str) -> tuple[str, ...]:
    """Withdraw a request that no plan has carried out: the fence falls, the rows come back.

    Plans made for it and not begun are cancelled with it. Returns the names of the datasets whose
    rows come back only when they are derived again. Replays that other plans carried out meanwhile
    stay without the rows, as these plans say.

    Raises:
        NotFoundError: there is no such request.
        RequestError: it is done, cancelled, or being carried out.
    """
    with store.catalogue.write() as session:
        open_requests(session, [request_id])
        request = session.get_one(tables.Request, request_id)
        busy = session.scalar(
            select(tables.Plan.id)
            .join(tables.PlanRequest, tables.PlanRequest.plan_id == tables.Plan.id)
            .where(
                tables.PlanRequest.request_id == request_id,
                tables.Plan.state.in_(["applying", "failed"]),
            )
        )
        if busy is not None:
            raise RequestError(
                f"request {request_id} is being carried out by {busy}",
                hint=f"finish it: expunge apply {busy}",
            )
        for plan in session.scalars(_ready_plans(request_id)):
            plan.state = "cancelled"
        request.state = "cancelled"
        request.closed_at = store.clock()
        fences = select(tables.Suppression).where(tables.Suppression.request_id == request_id)
        for fence in session.scalars(fences):
            fence.lifted_at = store.clock()
        session.flush()
        lifted = select(tables.ForgetSet).where(tables.ForgetSet.request_id == request_id)
        left = [_restore(session, store, each) for each in session.scalars(lifted).all()]
        ledger.commit(session, "request", request.id, {"state": "cancelled"}, store.clock())
    return tuple(sorted(name for name in left if name is not None))


def _ready_plans(request_id: str) -> Select[tables.Plan]:
    return (
        select(tables.Plan)
        .join(tables.PlanRequest, tables.PlanRequest.plan_id == tables.Plan.id)
        .where(tables.PlanRequest.request_id == request_id, tables.Plan.state == "ready")
    )


def _revision(store: Store) -> int:
    """Rises with what decides where an id is, and which request covers it."""
    with store.catalogue.read() as session:
        return ledger.revision(session, "dataset-version", "request")


def _divided(
    store: Store, kind: str, found: Mapping[str, Positions], within: str | None
) -> tuple[dict[str, Positions], dict[str, Erased]]:
    """Per id: the positions that no request covers yet, and the request that covers others.

    A namesake in another namespace may be somebody else, whose erasure covers nothing here.
    """
    with store.catalogue.read() as session:
        fences = suppressions(session)
        scopes = {
            dataset.id: scope_of(dataset, kind)
            for dataset in session.scalars(select(tables.Dataset))
        }
    new = {
        name: {
            dataset_id: rows
            for dataset_id, rows in positions.items()
            if fingerprint(store, kind, scopes[dataset_id], name) not in fences
        }
        for name, positions in found.items()
    }
    return new, erasures(store, kind, found, within)


def _known(store: Store, covering: Sequence[Erased], due: datetime | None) -> Accepted:
    """What already covers all ids of a request: the open request, or the finished erasure."""
    newest = max(covering, key=lambda each: each.date)
    if newest.state == "done":
        return Accepted.erased(newest)
    with store.catalogue.write() as session:
        waiting = _hastened(session.get_one(tables.Request, newest.request_id), due)
        return Accepted.waiting(waiting)


def _hastened(request: tables.Request, due: datetime | None) -> tables.Request:
    """A request that is there already, now due by the earlier of two times."""
    if due is not None:
        request.due_at = min(due, request.due_at or due)
    return request


def _accept(
    store: Store,
    kind: str,
    found: Mapping[str, Positions],
    revision: int,
    due: datetime | None,
) -> tables.Request | None:
    """Write a request down, unless something changed since ``revision``."""
    positions: Positions = {}
    for each in found.values():
        for dataset_id, rows in each.items():
            positions[dataset_id] = positions.get(dataset_id, BitMap()) | rows
    affected = closure(store, positions).forgotten
    now = store.clock()
    with store.catalogue.write() as session:
        if ledger.revision(session, "dataset-version", "request") != revision:
            return None
        request = tables.Request(
            id=new_id("req"),
            state="open",
            identity="",
            received_at=now,
            due_at=due or month_after(now),
        )
        marks = _marks(session, store, kind, found)
        request.identity = ledger.json_digest({"kind": kind, "marks": sorted(marks)})
        same = select(tables.Request).where(
            tables.Request.identity == request.identity, tables.Request.state == "open"
        )
        already = session.scalar(same)
        if already is not None:
            return _hastened(already, due)
        session.add(request)
        session.flush()
        keys = _keys(session, list(marks))
        for mark, scope in marks.items():
            _raise_fence(session, store, request.id, kind, mark, scope, keys[mark])
        for dataset_id, rows in affected.items():
            session.add(
                tables.ForgetSet(
                    request_id=request.id, dataset_id=dataset_id, positions=dump_bitmap(rows)
                )
            )
            dataset = session.get_one(tables.Dataset, dataset_id)
            head = session.get_one(tables.DatasetVersion, dataset.head_id)
            dataset.head_id = without(session, store, head, rows, f"request {request.id}").id
        content = {"state": "open", "identity": request.identity}
        ledger.commit(session, "request", request.id, content, now)
    return request


def _marks(
    session: Session, store: Store, kind: str, found: Mapping[str, Positions]
) -> dict[str, str]:
    """Fingerprint → scope of every id, in each scope where it was found."""
    marks = {}
    for name, positions in found.items():
        for dataset_id in positions:
            scope = scope_of(session.get_one(tables.Dataset, dataset_id), kind)
            marks[fingerprint(store, kind, scope, name)] = scope
    return marks


def _keys(session: Session, marks: Sequence[str]) -> dict[str, bytes]:
    """The secret key of each fingerprint, made now where there is none; few queries for many."""
    known: dict[str, bytes] = {}
    secret = tables.Secret
    for some in batches(marks):
        found = select(secret.fingerprint, secret.key).where(secret.fingerprint.in_(some))
        known.update(session.execute(found).all())
    made = {mark: secrets.token_bytes(32) for mark in marks if mark not in known}
    session.add_all(secret(fingerprint=mark, key=key) for mark, key in made.items())
    return known | made


def _raise_fence(
    session: Session, store: Store, request_id: str, kind: str, mark: str, scope: str, key: bytes
) -> None:
    pseudonym = blake2b(request_id.encode(), digest_size=16, key=key).hexdigest()
    session.add(
        tables.RequestTarget(request_id=request_id, pseudonym=pseudonym, kind=kind, scope=scope)
    )
    session.add(
        tables.Suppression(
            id=new_id("fence"),
            kind=kind,
            scope=scope,
            fingerprint=mark,
            request_id=request_id,
            created_at=store.clock(),
        )
    )


def _restore(session: Session, store: Store, lifted: tables.ForgetSet) -> str | None:
    """Take rows back into the head; what is made of others with them is for ``derive`` to say.

    Then the name of the dataset is returned.
    """
    dataset = session.get_one(tables.Dataset, lifted.dataset_id)
    into = recorded_into(session, dataset.id)
    if any(made.scope != "record" or made.models for made in into):
        return dataset.name
    head = session.get_one(tables.DatasetVersion, dataset.head_id)
    back = load_bitmap(lifted.positions) - forgotten(session, dataset.id)
    back -= superseded(
        Version(store, head, dataset, chunks_of(session, dataset.id, head.rows)), back
    )
    dataset.head_id = new_version(
        session,
        store,
        dataset.id,
        head.rows,
        load_bitmap(head.deleted) - back,
        head.root,
        head.id,
        f"cancel {lifted.request_id}",
    ).id
    return None

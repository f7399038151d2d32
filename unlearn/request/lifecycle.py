"""Requests: accepted, served by a plan, done; or cancelled before that.

Accepting raises the fence at once: the heads of the datasets move to versions without the rows, so
no new run sees them, and nobody can register them again in the same namespace or dataset. Requests
keep pseudonyms and positions.
"""

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b

from pyroaring import BitMap
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from lineage.data.closure import closure
from lineage.data.dataset import without
from lineage.data.fences import fingerprint, suppressions
from lineage.data.identity import (
    Erased,
    Positions,
    erasures,
    require_known,
    resolve,
    scope_of,
)
from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.manifests import dump_bitmap
from unlearn.errors import RequestError
from unlearn.request.accepted import Accepted, Receipt, Withdrawal
from unlearn.request.deadline import month_after, require_sensible
from unlearn.request.interims import settle_interims
from unlearn.request.reading import batches, forget_sets, open_requests
from unlearn.request.restoring import restore

KINDS = ("subject", "record")
"""What a request may name."""


def accept(
    store: Store,
    kind: str,
    names: str | Sequence[str],
    within: str | None = None,
    due: datetime | None = None,
) -> Receipt:
    """Take a request to forget for each ``subject``, or one for all of some ``record`` ids.

    All are taken, or none. The same request twice is one. Each must be done by ``due``, a month
    from now unless another time is given; of two times, by the earlier. Ids that an earlier request
    covers are left to it; if it is done, that erasure is the answer.

    Raises:
        RequestError: the kind is another, or there is no id.
        InvalidInputError: ``due`` is of another age.
        UnknownIdError: an id is in no dataset and never was; its number is named, not the id.
        AmbiguousIdError: an id is in several namespaces or datasets.
    """
    names = [names] if isinstance(names, str) else list(names)
    _require_request(kind, names)
    if due is not None:
        require_sensible(due)
    wanted = list(dict.fromkeys(names))
    together = [[name] for name in wanted] if kind == "subject" else [wanted]
    while True:
        revision = _revision(store)
        new, earlier = _divided(store, kind, resolve(store, kind, names, within), within)
        require_known(kind, names, {name for name in wanted if new[name] or name in earlier})
        asked = [_asked(store, some, new, earlier) for some in together]
        accepted = _accept(store, kind, asked, revision, due)
        if accepted is not None:
            return Receipt(tuple(accepted.values()))


def _require_request(kind: str, names: Sequence[str]) -> None:
    if kind not in KINDS:
        raise RequestError(
            f"a request names subjects or records, and not {kind!r}",
            hint=f"give one of: {', '.join(KINDS)}",
        )
    if not names:
        raise RequestError(f"the request names no {kind}", hint="give at least one id")


def cancel(store: Store, request_id: str) -> Withdrawal:
    """Withdraw a request that no plan has carried out: the fence falls, the rows come back.

    Plans made for it and not begun are cancelled with it. What interim versions of cancelled plans
    stand in for is published again, unless another open request reaches it. The answer names the
    datasets whose rows come back only when they are derived again, in the order to do so. Replays
    that other plans carried out meanwhile stay without the rows, as these plans say.

    Raises:
        NotFoundError: there is no such request.
        RequestError: it is done, cancelled, or being carried out.
    """
    with store.catalogue.read() as session:
        rows = forget_sets(session, [request_id])
    stale = closure(store, rows).stale
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
                hint=f"finish it: expunge apply {busy}, or give it up first: expunge cancel {busy}",
            )
        for plan in session.scalars(_ready_plans(request_id)):
            plan.state = "cancelled"
        request.state = "cancelled"
        request.closed_at = store.clock()
        fences = select(tables.Suppression).where(tables.Suppression.request_id == request_id)
        for fence in session.scalars(fences):
            fence.lifted_at = store.clock()
        session.flush()
        derive = restore(session, store, request_id, stale)
        ledger.commit(session, "request", request.id, {"state": "cancelled"}, store.clock())
        settled = settle_interims(session, store)
    return Withdrawal(derive, settled.restored, settled.interim)


def _ready_plans(request_id: str) -> Select[tables.Plan]:
    return (
        select(tables.Plan)
        .join(tables.PlanRequest, tables.PlanRequest.plan_id == tables.Plan.id)
        .where(tables.PlanRequest.request_id == request_id, tables.Plan.state == "ready")
    )


def _revision(store: Store) -> int:
    with store.catalogue.read() as session:
        return _revision_in(session)


def _revision_in(session: Session) -> int:
    """Rises with what decides where an id is, and which request covers it."""
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


@dataclass(frozen=True)
class _Asked:
    """What is to be one request: new ids and where they are, and what covers the others.

    ``affected`` are the rows of the new ids, and those made of them.
    """

    new: Mapping[str, Positions]
    affected: Positions
    earlier: Sequence[Erased]


def _asked(
    store: Store,
    names: Sequence[str],
    new: Mapping[str, Positions],
    earlier: Mapping[str, Erased],
) -> _Asked:
    found = {name: new[name] for name in names if new[name]}
    affected = closure(store, _union(found.values())).forgotten if found else {}
    return _Asked(found, affected, [earlier[name] for name in names if not new[name]])


def _union(several: Iterable[Positions]) -> Positions:
    together: Positions = {}
    for positions in several:
        for dataset_id, rows in positions.items():
            together[dataset_id] = together.get(dataset_id, BitMap()) | rows
    return together


def _accept(
    store: Store,
    kind: str,
    asked: Sequence[_Asked],
    revision: int,
    due: datetime | None,
) -> dict[str, Accepted] | None:
    """Write requests down, unless something changed since ``revision``; return all by their ids."""
    found: dict[str, Accepted] = {}
    made: list[str] = []
    with store.catalogue.write() as session:
        if _revision_in(session) != revision:
            return None
        for each in asked:
            for covering in each.earlier:
                found.setdefault(covering.request_id, _known(session, covering, due))
            if each.new:
                request = _written(session, store, kind, each, due)
                found[request.id] = Accepted.waiting(request)
                made.append(request.id)
        _take_out(session, store, _union(each.affected for each in asked), made)
    return found


def _known(session: Session, covering: Erased, due: datetime | None) -> Accepted:
    """What covers an id already: an open request, now due by the earlier time, or an erasure."""
    if covering.state == "done":
        return Accepted.erased(covering)
    request = session.get_one(tables.Request, covering.request_id)
    if due is not None:
        request.due_at = min(due, request.due_at or due)
    return Accepted.waiting(request)


def _written(
    session: Session, store: Store, kind: str, asked: _Asked, due: datetime | None
) -> tables.Request:
    """Write one request down, and raise its fences."""
    now = store.clock()
    marks = _marks(session, store, kind, asked.new)
    request = tables.Request(
        id=new_id("req"),
        state="open",
        identity=ledger.json_digest({"kind": kind, "marks": sorted(marks)}),
        received_at=now,
        due_at=due or month_after(now),
    )
    session.add(request)
    session.flush()
    keys = _keys(session, list(marks))
    for mark, scope in marks.items():
        _raise_fence(session, store, request.id, kind, mark, scope, keys[mark])
    session.add_all(
        tables.ForgetSet(request_id=request.id, dataset_id=dataset_id, positions=dump_bitmap(rows))
        for dataset_id, rows in asked.affected.items()
    )
    content = {"state": "open", "identity": request.identity}
    ledger.commit(session, "request", request.id, content, now)
    return request


def _take_out(session: Session, store: Store, gone: Positions, requests: Sequence[str]) -> None:
    """Move the heads of the datasets to versions without these rows."""
    reason = f"request {requests[0]}" if len(requests) == 1 else f"{len(requests)} requests"
    for dataset_id, rows in gone.items():
        dataset = session.get_one(tables.Dataset, dataset_id)
        head = session.get_one(tables.DatasetVersion, dataset.head_id)
        dataset.head_id = without(session, store, head, rows, reason).id


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

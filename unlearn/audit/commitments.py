"""What the ledger states, worked out again from the rows it is about.

A commitment is written in the transaction of its row, so a row that says something else has been
changed since, by damage or by hand.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.training.given import given_to
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import Commitment
from unlearn.dispatch.journal import results_of
from unlearn.withheld import deleted_aliases, ended_unnoted

Content = Mapping[str, object]
Rebuilt = Callable[[Session, Any], Iterator[Content]]


@dataclass(frozen=True, slots=True)
class _Kind:
    """What entries of a kind are about, and what the newest one of a row may say.

    ``key`` is the column that entries name. Where a row is in a state that ``needs`` an entry, it
    has one. Nothing can be compared where what an entry says is ``lost``.
    """

    table: type[Any]
    contents: Rebuilt
    needs: Callable[[Any], bool] = lambda row: True
    key: str = "id"
    lost: Callable[[Session, Any], bool] = lambda session, row: False


def differences(session: Session) -> Iterator[str]:
    """Yield a sentence for each row that is not as its newest commitment of a kind says."""
    newest: dict[str, dict[str, str]] = defaultdict(dict)
    last = 0
    for entry in session.scalars(select(Commitment).order_by(Commitment.sequence)):
        newest[entry.kind][entry.row_id] = entry.digest
        if entry.sequence != last + 1:
            yield f"entries {last + 1} to {entry.sequence - 1} of the ledger are missing"
        last = entry.sequence
    for kind in sorted(newest.keys() - KINDS.keys()):
        yield f"the ledger has entries of the unknown kind {kind!r}"
    for kind, about in KINDS.items():
        yield from _of_kind(session, kind, about, newest.get(kind, {}))


def _of_kind(session: Session, kind: str, about: _Kind, stated: Mapping[str, str]) -> Iterator[str]:
    rows = {str(getattr(row, about.key)): row for row in session.scalars(select(about.table))}
    name = about.table.__tablename__
    for row_id in sorted(stated.keys() - rows.keys()):
        yield f"the ledger has a {kind} of {row_id}, which is not among the {name}"
    for row_id, row in sorted(rows.items()):
        if row_id not in stated:
            if about.needs(row):
                yield f"{row_id} of the {name} has no {kind} in the ledger"
            continue
        made = (
            {"kind": kind, "id": row_id, "content": dict(c)} for c in about.contents(session, row)
        )
        if stated[row_id] in map(ledger.json_digest, made):
            continue
        if not about.lost(session, row):
            yield f"{row_id} of the {name} is not what the ledger says of its {kind}"


def _fields(**names: str) -> Rebuilt:
    """Contents that are columns of the row: field → column."""

    def contents(_session: Session, row: Any) -> Iterator[Content]:
        yield {field: getattr(row, column) for field, column in names.items()}

    return contents


def _verification(_session: Session, row: tables.Verification) -> Iterator[Content]:
    """What was found; entries of earlier stores leave the evidence out."""
    content = {"plan": row.plan_id, "claim": row.claim, "verdict": row.verdict}
    yield content | {"evidence": row.evidence}
    yield content


def _checkpoint(_session: Session, row: tables.Checkpoint) -> Iterator[Content]:
    content = {"run": row.run_id, "step": row.step, "digest": row.digest, "consumed": row.consumed}
    yield content | ({"edition": row.edition} if row.edition else {})


def _run(session: Session, row: tables.Run) -> Iterator[Content]:
    """A run that is watched reads further models later, which its entry does not name."""
    inputs = select(tables.RunInput).where(tables.RunInput.run_id == row.id)
    content: dict[str, object] = {
        "specification": row.specification,
        "program": row.program_id,
        "inputs": {each.alias: each.version_id for each in session.scalars(inputs)},
        "start": row.start_id,
        "first_step": row.first_step,
    }
    recording = session.get(tables.RunRecording, row.id)
    if recording is not None and not recording.draws:
        content["follows"] = recording.recording_id
    yield content
    if given := _listed(given_to(session, row.id)):
        yield content | {"given": given}


def _listed(given: Mapping[str, Mapping[int, str]]) -> dict[str, list[str]]:
    return {alias: [of[shard] for shard in sorted(of)] for alias, of in given.items()}


def _plan(_session: Session, row: tables.Plan) -> Iterator[Content]:
    yield {"state": "cancelled"} if row.state == "cancelled" else {"digest": row.digest}
    if row.state == "cancelled":  # with its only request, which has the entry
        yield {"digest": row.digest}


def _request(_session: Session, row: tables.Request) -> Iterator[Content]:
    if row.state == "cancelled":
        yield {"state": "cancelled"}
    elif row.state in ("open", "done"):
        yield {"state": "open", "identity": row.identity}


def _outcome(session: Session, row: tables.Plan) -> Iterator[Content]:
    yield {"results": results_of(session, row.id)}


def _promotion(session: Session, row: tables.ModelVersion) -> Iterator[Content]:
    """An alias moves on, or is deleted, without an entry where a plan replaces the version."""
    aliases = select(tables.Alias.alias).where(tables.Alias.model_id == row.model_id)
    for alias in session.scalars(aliases):
        yield {"model": row.model_id, "alias": alias}
    name = session.get_one(tables.Model, row.model_id).name
    for alias in deleted_aliases(session, name):
        yield {"model": row.model_id, "alias": alias}


def _transform(_session: Session, row: tables.Transform) -> Iterator[Content]:
    content: dict[str, object] = {
        "function": row.ref,
        "source": row.source,
        "scope": row.scope,
        "by": row.by,
        "inputs": [
            {"version": each.version_id, "seen": sha256(each.seen).hexdigest()}
            for each in row.inputs
        ],
        "output": row.output_id,
        "mapping": row.mapping,
    }
    yield content | ({"given": _listed(row.given)} if row.models else {})


def _choice(_session: Session, row: tables.Choice) -> Iterator[Content]:
    yield {"version": row.version_id, "over": list(row.over), "by": row.by}


def _policy(_session: Session, row: tables.Policy) -> Iterator[Content]:
    yield row.body


_NOTHING = _fields()

KINDS: dict[str, _Kind] = {
    "approval": _Kind(
        tables.Approval, _fields(objections="objections", reason="reason"), key="plan_id"
    ),
    "canary": _Kind(
        tables.Canary,
        _fields(model="model_id", dataset="dataset_id", label="label", drop="drop"),
        key="model_id",
    ),
    "checkpoint": _Kind(tables.Checkpoint, _checkpoint),
    "choice": _Kind(tables.Choice, _choice),
    "dataset-version": _Kind(tables.DatasetVersion, _fields(digest="digest")),
    "eviction": _Kind(
        tables.Checkpoint, _fields(run="run_id", step="step"), needs=lambda row: False
    ),
    "hold": _Kind(tables.Hold, _fields(artefact="artefact_id", reason="reason")),
    "model-version": _Kind(tables.ModelVersion, _fields(digest="digest")),
    "outcome": _Kind(tables.Plan, _outcome, needs=lambda row: row.state == "applied"),
    "plan": _Kind(tables.Plan, _plan),
    "policy": _Kind(tables.Policy, _policy, key="number"),
    "program": _Kind(tables.Program, _fields(source="source")),
    "promotion": _Kind(
        tables.ModelVersion,
        _promotion,
        needs=lambda row: False,
        lost=lambda session, row: ended_unnoted(session, row.model_id),
    ),
    "publication": _Kind(tables.Publication, _fields(version="version_id", recipient="recipient")),
    "release": _Kind(tables.Hold, _NOTHING, needs=lambda row: row.released_at is not None),
    "request": _Kind(tables.Request, _request),
    "retirement": _Kind(tables.Model, _NOTHING, needs=lambda row: row.retired_at is not None),
    "schedule": _Kind(tables.Run, _run),
    "transform": _Kind(tables.Transform, _transform),
    "verification": _Kind(tables.Verification, _verification),
    "withdrawal": _Kind(
        tables.Publication, _NOTHING, needs=lambda row: row.withdrawn_at is not None
    ),
}
"""What the ledger has entries of."""

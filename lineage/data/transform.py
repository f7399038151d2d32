"""Deriving a dataset from another, and deriving it again without what was forgotten.

A version of a derived dataset is f(a version of its input), whatever grew, changed or was deleted
in between. A ``record`` function is executed once over each row of its input: a row keeps what was
made of it in every version. A ``group`` is executed anew where other rows are in it, an
``aggregate`` over every other set of rows, and all of them where the function's source has changed
or it is given other models.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data import fences
from lineage.data.dataset import head, publish
from lineage.data.derived import colliding, make
from lineage.data.function import TransformFunction, transform
from lineage.data.given import NO_MODELS, NOTHING_ELSE, Members, Models, bound, members_of
from lineage.data.identity import Positions
from lineage.data.mapping import (
    Seen,
    datasets_of_versions,
    depth_of,
    maker,
    recorded_into,
    write_mapping,
    written,
)
from lineage.data.part import Draft, drafted, same_records
from lineage.data.prepared import Part, prepared
from lineage.data.retained import (
    executions,
    image,
    input_of,
    inputs_of,
    live,
    needed,
    remade,
    retained,
    version_of,
)
from lineage.data.version import Version, open_version
from lineage.errors import DatasetError, TransformError
from lineage.names import check_said
from lineage.source import load, require_there
from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError
from storage.intake import Column, ColumnKind
from storage.manifests import dump_bitmap

__all__ = ["TransformFunction", "derive", "rederive", "retained", "transform"]


def derive(
    store: Store,
    function: TransformFunction,
    input_names: str | Sequence[str],
    output_name: str,
    models: Models = NO_MODELS,
) -> Version:
    """Make the head of dataset ``output_name`` what a function makes of the heads of others.

    The output inherits namespace and schedule salt of the first input, and subjects of the rows
    that a row was made from. Its columns are declared by its first rows, unless a dataset of this
    name was declared with columns and no version. The function is handed ``models`` by keyword; all
    it makes descends from them.

    Raises:
        FencedError: an input, or what is made of it, holds rows that are being forgotten.
        TransformError: the function breaks its declared scope or makes rows that cannot be kept,
            asks for other models, or the output is something else than this function's of these
            inputs.
    """
    function, members = bound(function, models), members_of(models)
    names = (input_names,) if isinstance(input_names, str) else tuple(input_names)
    given = tuple(head(store, name) for name in names)
    _check_joinable(function, given)
    fences.check_versions(store, given)
    with store.catalogue.read() as session:
        output = _output(session, store, function, given, output_name)
        barriers = fences.suppressions(session)
        forgotten = fences.forgotten(session, output.id)
        known = executions(session, output.id, function.source.digest, members)[::-1]
        inputs = [input_of(session, version.dataset) for version in given]
    made = image(store, known, function, inputs, tuple(live(each.row) for each in given))
    before = None if output.head_id is None else open_version(store, output.head_id)
    if before is not None and made.complete and live(before.row) == made.outputs - forgotten:
        return before
    if before is None and made.complete:
        raise DatasetError(
            f"dataset {' and '.join(map(repr, names))} has no rows", hint="add rows to it first"
        )
    with _executed(store, function, given, output, made.missing) as (part, draft, row):
        fences.check_rows(store, barriers, part.rows(), output.name, output.namespace)
        if clashes := same_records(store, draft) & made.outputs:
            raise colliding(function, len(clashes))
        end = draft.first_position + draft.rows
        deleted = BitMap(range(end)) - ((made.outputs | written(row)) - forgotten)
        with store.catalogue.write() as session:
            fences.check_unchanged(session, barriers)
            reason = f"transform {function.source.ref}"
            version = publish(session, store, draft, deleted, function.source.ref, reason)
            _record(session, store, row, [each.id for each in given], version.id, members)
            return version


def rederive(
    store: Store,
    transform_id: str,
    gone: Positions,
    made: Mapping[str, str] = NOTHING_ELSE,
    models: Models = NO_MODELS,
) -> Version:
    """Execute a transform again over its input version without ``gone`` (dataset id → positions).

    Its input has what was itself executed again in place of what it was, and its ``models`` have
    the checkpoints ``made`` in place of those it was given (id → id). The rows made are a new part.
    Where the transform made the head of its output, the head moves to them; nothing happens a
    second time.

    Raises:
        NotFoundError: there is no such transform.
        ProgramError: the function cannot be imported.
        TransformError: its source has changed, or a transform before it has to come first.
    """
    with store.catalogue.read() as session:
        recorded = session.get(tables.Transform, transform_id)
        if recorded is None:
            raise NotFoundError(
                f"there is no transform {transform_id}", hint="see `expunge dataset list`"
            )
        output = session.get_one(tables.DatasetVersion, recorded.output_id)
        known = executions(session, output.dataset_id, recorded.source, members_of(models))
        inputs = inputs_of(session, recorded)
        wanted = needed(session, store, recorded, gone, made)
        found = image(store, known, recorded, inputs, wanted)
    again = f"transform {recorded.ref} again"
    if not found.complete:
        _execute_again(store, recorded, found.missing, gone, made, models, again)
    with store.catalogue.write() as session:
        version = retained(session, store, output, gone, again, made)
        dataset = session.get_one(tables.Dataset, output.dataset_id)
        newest = session.get_one(tables.DatasetVersion, dataset.head_id)
        made_by = maker(session, newest)
        if made_by is not None and made_by.id == recorded.id:
            dataset.head_id = retained(session, store, newest, gone, again, made).id
    return open_version(store, version.id)


def _execute_again(
    store: Store,
    recorded: tables.Transform,
    missing: Seen,
    gone: Positions,
    made: Mapping[str, str],
    models: Models,
    reason: str,
) -> None:
    with store.catalogue.read() as session:
        earlier = [_version(session, each.version_id) for each in recorded.inputs]
        earlier_output = _version(session, recorded.output_id)
        heads = [session.get_one(tables.Dataset, each.dataset_id).head_id for each in earlier]
        output = session.get_one(tables.Dataset, earlier_output.dataset_id)
        kept = live(session.get_one(tables.DatasetVersion, output.head_id))
    function = bound(_pinned(recorded), models)
    given = [open_version(store, each) for each in heads if each is not None]
    with _executed(store, function, given, output, missing) as (_, draft, row):
        with store.catalogue.read() as session:
            positions = remade(session, store, earlier_output, gone, made, (row,))
        deleted = BitMap(range(draft.first_position + draft.rows)) - kept
        with store.catalogue.write() as session:
            publish(session, store, draft, deleted, recorded.ref, reason)
            source = [retained(session, store, each, gone, reason, made).id for each in earlier]
            version = version_of(session, store, earlier_output, positions, reason)
            _record(session, store, row, source, version.id, members_of(models))


def _version(session: Session, version_id: str) -> tables.DatasetVersion:
    return session.get_one(tables.DatasetVersion, version_id)


def _check_joinable(function: TransformFunction, given: Sequence[Version]) -> None:
    """Refuse inputs that a function of this scope cannot be given together."""
    ref = function.source.ref
    if not given:
        raise TransformError(f"{ref} is given no dataset", hint="name at least one to read")
    if len(given) > 1 and not function.by:
        raise TransformError(
            f"{ref} has no key columns to join {len(given)} datasets by",
            hint='declare them: @transform(scope="record", by="household")',
        )
    if len(given) == 1 and function.by and function.scope == "record":
        raise TransformError(
            f"{ref} of scope 'record' has key columns, and one dataset to read",
            hint='name two datasets to join, or declare @transform(scope="group", by=…)',
        )
    namespaces = sorted({version.dataset.namespace for version in given})
    if len(namespaces) > 1:
        raise TransformError(
            f"subjects of the inputs are in different namespaces: {', '.join(namespaces)}",
            hint="register both with one --namespace, if an id means the same person in both",
        )


def _output(
    session: Session,
    store: Store,
    function: TransformFunction,
    given: Sequence[Version],
    name: str,
) -> tables.Dataset:
    """The dataset to write to, or a new one; refused where its rows are something else's."""
    found = session.scalar(select(tables.Dataset).where(tables.Dataset.name == name))
    if found is None:
        check_said(name, "the name of the dataset")
        return tables.Dataset(
            id=new_id("ds"),
            name=name,
            namespace=given[0].dataset.namespace,
            columns=[],
            id_columns=[],
            subject_columns=[],
            created_at=store.clock(),
        )
    earlier = recorded_into(session, found.id)
    dataset_of = datasets_of_versions(session)
    origins = {
        (each.ref, *(dataset_of[given.version_id] for given in each.inputs)) for each in earlier
    }
    foreign = found.head_id is not None and not earlier
    if foreign or origins - {(function.source.ref, *(each.dataset.id for each in given))}:
        names = " and ".join(repr(each.dataset.name) for each in given)
        raise TransformError(
            f"dataset {name!r} is not what {function.source.ref} makes of {names}",
            hint="choose another name for the output",
        )
    return found


@contextmanager
def _executed(
    store: Store,
    function: TransformFunction,
    given: Sequence[Version],
    output: tables.Dataset,
    positions: Seen,
) -> Iterator[tuple[Part, Draft, tables.Transform]]:
    """Execute over positions of the inputs: the rows, their draft, and what to record of it."""
    with store.catalogue.read() as session:
        depth = 1 + max(depth_of(session, each.dataset.id) for each in given)
        inputs = [input_of(session, each.dataset) for each in given]
    salt = given[0].salt
    made = make(store.objects, function, inputs, positions, salt=salt, depth=depth)
    texts = {c.name for each in inputs for c in each.columns if c.kind is ColumnKind.TEXT}
    declared = tuple(Column.model_validate(column) for column in output.columns)
    with prepared(store, function, made, texts, declared) as part:
        output.columns = [column.model_dump(mode="json") for column in part.columns]
        with drafted(store, output, part.rows(), salt) as draft:
            mapping = made.mapping.shifted(draft.first_position)
            row = tables.Transform(
                id=new_id("tf"),
                ref=function.source.ref,
                root=str(function.source.root),
                source=function.source.digest,
                scope=function.scope,
                by=list(function.by),
                first_position=draft.first_position,
                rows=draft.rows,
                mapping=write_mapping(store.objects, mapping),
                created_at=store.clock(),
                inputs=[
                    tables.TransformInput(place=place, seen=dump_bitmap(those))
                    for place, those in enumerate(positions)
                ],
            )
            yield part, draft, row


def _record(
    session: Session,
    store: Store,
    row: tables.Transform,
    input_ids: Sequence[str],
    output_id: str,
    models: Mapping[str, Members],
) -> None:
    store.objects.require(row.mapping)
    row.output_id = output_id
    for given, version_id in zip(row.inputs, input_ids, strict=True):
        given.version_id = version_id
    row.models = [
        tables.TransformModel(alias=alias, shard=shard, checkpoint_id=checkpoint)
        for alias, members in models.items()
        for shard, checkpoint in members.items()
    ]
    session.add(row)
    session.flush()
    content: dict[str, Any] = {
        "function": row.ref,
        "source": row.source,
        "scope": row.scope,
        "by": row.by,
        "inputs": [
            {"version": each.version_id, "seen": sha256(each.seen).hexdigest()}
            for each in row.inputs
        ],
        "output": output_id,
        "mapping": row.mapping,
    }
    if models:
        content["given"] = {
            alias: [members[shard] for shard in sorted(members)]
            for alias, members in models.items()
        }
    ledger.commit(session, "transform", row.id, content, store.clock())


def _pinned(recorded: tables.Transform) -> TransformFunction:
    """Import the function of a transform, and refuse it where it is not what was executed."""
    require_there(recorded.ref, Path(recorded.root))
    found = load(recorded.ref, Path(recorded.root))
    if not isinstance(found, TransformFunction) or found.source.digest != recorded.source:
        raise TransformError(
            f"the source of {recorded.ref} is not what {recorded.id} was executed with",
            hint="restore it, or derive with what it is now and train on that",
        )
    return found

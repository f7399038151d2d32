"""Deriving a dataset from another, and deriving it again without what was forgotten.

A version of a derived dataset is f(a version of its input), whatever grew, changed or was deleted
in between. A ``record`` function is executed once over each row of its input: a row keeps what was
made of it in every version. An ``aggregate`` is executed anew over every other set of rows, and so
is either where the function's source has changed.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data import fences
from lineage.data.dataset import head, publish
from lineage.data.derived import Part, colliding, make, prepared
from lineage.data.function import TransformFunction, transform
from lineage.data.identity import Positions
from lineage.data.mapping import (
    RowMapping,
    datasets_of_versions,
    depth_of,
    maker,
    recorded_into,
    write_mapping,
    written,
)
from lineage.data.part import Draft, drafted, same_records
from lineage.data.retained import executions, image, live, remade, retained, version_of
from lineage.data.version import Version, open_version
from lineage.errors import DatasetError, TransformError
from lineage.source import load
from lineage.store import Store
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError
from storage.intake import Column
from storage.manifests import dump_bitmap

__all__ = ["TransformFunction", "derive", "rederive", "retained", "transform"]


def derive(store: Store, function: TransformFunction, input_name: str, output_name: str) -> Version:
    """Make the head of dataset ``output_name`` what a function makes of the head of another.

    The output inherits namespace, schedule salt, record ids and subjects. Its columns are declared
    by its first rows, unless a dataset of this name was declared with columns and no version.

    Raises:
        FencedError: the input, or what is made of it, holds rows that are being forgotten.
        TransformError: the function breaks its declared scope or makes rows that cannot be kept,
            or the output is something else than this function's of this input.
    """
    given = head(store, input_name)
    fences.check_versions(store, [given])
    with store.catalogue.read() as session:
        output = _output(session, store, function, given, output_name)
        barriers = fences.suppressions(session)
        forgotten = fences.forgotten(session, output.id)
        known = executions(session, output.id, function.source.digest)
    made = image(store, known, function.scope, live(given.row))
    before = None if output.head_id is None else open_version(store, output.head_id)
    if before is not None and not made.missing and live(before.row) == made.outputs - forgotten:
        return before
    if before is None and not made.missing:
        raise DatasetError(f"dataset {input_name!r} has no rows", hint="add rows to it first")
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
            _record(session, store, row, given.id, version.id)
            return version


def rederive(store: Store, transform_id: str, gone: Positions) -> Version:
    """Execute a transform again over its input version without ``gone`` (dataset id → positions).

    Its input has what was itself executed again in place of what it was. The rows made are a new
    part. Where the transform made the head of its output, the head moves to them; nothing happens
    a second time.

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
        given = session.get_one(tables.DatasetVersion, recorded.input_id)
        output = session.get_one(tables.DatasetVersion, recorded.output_id)
        needed = remade(session, store, given, gone)
        known = executions(session, output.dataset_id, recorded.source)
    again = f"transform {recorded.ref} again"
    missing = image(store, known, recorded.scope, needed).missing
    if missing:
        _execute_again(store, recorded, missing, gone, again)
    with store.catalogue.write() as session:
        version = retained(session, store, output, gone, again)
        dataset = session.get_one(tables.Dataset, output.dataset_id)
        newest = session.get_one(tables.DatasetVersion, dataset.head_id)
        made = maker(session, newest)
        if made is not None and made.id == recorded.id:
            dataset.head_id = retained(session, store, newest, gone, again).id
    return open_version(store, version.id)


def _execute_again(
    store: Store, recorded: tables.Transform, missing: BitMap, gone: Positions, reason: str
) -> None:
    with store.catalogue.read() as session:
        earlier_input = session.get_one(tables.DatasetVersion, recorded.input_id)
        earlier_output = session.get_one(tables.DatasetVersion, recorded.output_id)
        given = session.get_one(tables.Dataset, earlier_input.dataset_id).head_id
        output = session.get_one(tables.Dataset, earlier_output.dataset_id)
        kept = live(session.get_one(tables.DatasetVersion, output.head_id))
    assert given is not None
    function = _pinned(recorded)
    with _executed(store, function, open_version(store, given), output, missing) as (_, draft, row):
        with store.catalogue.read() as session:
            made = remade(session, store, earlier_output, gone, (row,))
        deleted = BitMap(range(draft.first_position + draft.rows)) - kept
        with store.catalogue.write() as session:
            publish(session, store, draft, deleted, recorded.ref, reason)
            source = retained(session, store, earlier_input, gone, reason)
            version = version_of(session, store, earlier_output, made, reason)
            _record(session, store, row, source.id, version.id)


def _output(
    session: Session, store: Store, function: TransformFunction, given: Version, name: str
) -> tables.Dataset:
    """The dataset to write to, or a new one; refused where its rows are something else's."""
    found = session.scalar(select(tables.Dataset).where(tables.Dataset.name == name))
    if found is None:
        return tables.Dataset(
            id=new_id("ds"),
            name=name,
            namespace=given.dataset.namespace,
            columns=[],
            id_columns=[],
            subject_columns=[],
            created_at=store.clock(),
        )
    earlier = recorded_into(session, found.id)
    inputs = datasets_of_versions(session)
    origins = {(inputs[each.input_id], each.ref) for each in earlier}
    foreign = found.head_id is not None and not earlier
    if foreign or origins - {(given.dataset.id, function.source.ref)}:
        raise TransformError(
            f"dataset {name!r} is not what {function.source.ref} makes of {given.dataset.name!r}",
            hint="choose another name for the output",
        )
    return found


@contextmanager
def _executed(
    store: Store,
    function: TransformFunction,
    given: Version,
    output: tables.Dataset,
    positions: BitMap,
) -> Iterator[tuple[Part, Draft, tables.Transform]]:
    """Execute over positions of the input: the rows, their draft, and what to record of it."""
    with store.catalogue.read() as session:
        depth = depth_of(session, given.dataset.id) + 1
    made = make(store, function, given.chunks, positions, salt=given.salt, depth=depth)
    declared = tuple(Column.model_validate(column) for column in output.columns)
    with prepared(store, function, made, given.columns, declared) as part:
        output.columns = [column.model_dump(mode="json") for column in part.columns]
        with drafted(store, output, part.rows(), given.salt) as draft:
            first = draft.first_position
            outputs = np.arange(first, first + draft.rows)
            row = tables.Transform(
                id=new_id("tf"),
                ref=function.source.ref,
                root=str(function.source.root),
                source=function.source.digest,
                scope=function.scope,
                seen=dump_bitmap(positions),
                first_position=first,
                rows=draft.rows,
                mapping=write_mapping(store.objects, RowMapping(outputs, made.inputs)),
                created_at=store.clock(),
            )
            yield part, draft, row


def _record(
    session: Session, store: Store, row: tables.Transform, input_id: str, output_id: str
) -> None:
    store.objects.require(row.mapping)
    row.input_id, row.output_id = input_id, output_id
    session.add(row)
    session.flush()
    content = {
        "function": row.ref,
        "source": row.source,
        "scope": row.scope,
        "input": input_id,
        "output": output_id,
        "seen": sha256(row.seen).hexdigest(),
        "mapping": row.mapping,
    }
    ledger.commit(session, "transform", row.id, content, store.clock())


def _pinned(recorded: tables.Transform) -> TransformFunction:
    """Import the function of a transform, and refuse it where it is not what was executed."""
    found = load(recorded.ref, Path(recorded.root))
    if not isinstance(found, TransformFunction) or found.source.digest != recorded.source:
        raise TransformError(
            f"the source of {recorded.ref} is not what {recorded.id} was executed with",
            hint="restore it, or derive with what it is now and train on that",
        )
    return found

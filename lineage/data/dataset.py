"""Datasets: adding rows, and making versions with rows taken out.

Positions are global and never used twice: a changed row is a deletion and a new position with the
same record key.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from pyroaring import BitMap
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lineage.counted import counted
from lineage.data import fences
from lineage.data.mapping import recorded_into
from lineage.data.namesakes import namesakes, tell
from lineage.data.part import Draft, drafted, part_like, salt_name, same_records
from lineage.data.version import Version, chunks_of, open_version
from lineage.errors import DatasetError
from lineage.names import check_new, near
from lineage.store import Store
from storage import ledger, manifests
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError
from storage.intake import Column, Intake, conform, inspect
from storage.rows import Rows


def add(
    store: Store,
    name: str,
    path: Path,
    *,
    id_columns: tuple[str, ...] = (),
    subject_columns: tuple[str, ...] = (),
    text_columns: tuple[str, ...] = (),
    namespace: str | None = None,
    update: bool = False,
    salt: bytes | None = None,
) -> Version:
    """Register the rows of a CSV, Parquet or Arrow file as a new part of dataset ``name``.

    The first ``add`` of a name fixes columns, id and subject columns and the schedule ``salt``
    (default: fresh randomness). ``update``: a row whose id is already there replaces it. Rows whose
    ids are forgotten in another namespace or dataset are added, and told of on standard error.

    Raises:
        InvalidInputError: the file does not fit; nothing was written.
        DatasetError: an id is already present and ``update`` was not asked for, rows without ids
            are those of an earlier file, or a transform makes the rows of this dataset.
        FencedError: a row is of somebody who was or is being forgotten.
    """
    with store.catalogue.read() as session:
        dataset = session.scalar(select(tables.Dataset).where(tables.Dataset.name == name))
        barriers = fences.suppressions(session)
        if dataset is not None and recorded_into(session, dataset.id):
            raise DatasetError(
                f"the rows of dataset {name!r} are made by a transform",
                hint="add to the dataset it is made from, and derive again",
            )
    if dataset is None:
        check_new(name, "dataset")
        intake = inspect(
            path,
            id_columns=id_columns,
            subject_columns=subject_columns,
            text_columns=text_columns,
        )
        dataset = tables.Dataset(
            id=new_id("ds"),
            name=name,
            namespace=namespace or name,
            id_columns=list(id_columns),
            subject_columns=list(subject_columns),
            created_at=store.clock(),
        )
    else:
        intake = _continued(dataset, path, id_columns, subject_columns, namespace)
    dataset.columns = [column.model_dump(mode="json") for column in intake.columns]
    rows = _identified(store, dataset, intake)
    fences.check_rows(store, barriers, rows, dataset.name, dataset.namespace)
    rows = _identified(store, dataset, intake)
    elsewhere = namesakes(
        store,
        dataset,
        _identified(store, dataset, intake),
        subjects=namespace is None and dataset.namespace == dataset.name,
        records=bool(dataset.id_columns),
    )
    version = append(
        store, dataset, rows, source=path.name, update=update, salt=salt, barriers=barriers
    )
    tell(dataset, elsewhere)
    return version


def append(
    store: Store,
    dataset: tables.Dataset,
    rows: Iterable[Rows],
    *,
    source: str,
    update: bool = False,
    salt: bytes | None = None,
    barriers: Mapping[str, str] | None = None,
) -> Version:
    """Write a new part of a dataset, new or known, and make the version that holds it the head.

    ``barriers`` are the fences that the rows were checked against.

    Raises:
        DatasetError: an id is already present and ``update`` was not asked for; or rows without
            ids of their own are those of an earlier part.
        FencedError: a fence was raised since.
    """
    with drafted(store, dataset, rows, salt) as draft:
        replaced = same_records(store, draft)
        if replaced and not update:
            raise DatasetError(
                f"dataset {dataset.name!r} already holds the ids of "
                f"{counted(len(replaced), 'row')} of {source}; nothing was added",
                hint="pass --update if these rows replace the old ones",
            )
        _require_new(store, draft, source)
        with store.catalogue.write() as session:
            if barriers is not None:
                fences.check_unchanged(session, barriers)
            deleted = replaced if draft.before is None else draft.before.deleted | replaced
            return publish(session, store, draft, deleted, source, f"add {source}")


def _require_new(store: Store, draft: Draft, source: str) -> None:
    """Refuse the rows of an earlier file again, where no id tells that they are the same."""
    same = None if draft.dataset.id_columns else part_like(store, draft)
    if same is not None:
        raise DatasetError(
            f"the rows of {source} are those that {same.source} added to dataset "
            f"{draft.dataset.name!r} on {same.created_at:%Y-%m-%d %H:%M} UTC; nothing was added",
            hint="they are there already; to have rows twice, put them in one file with others",
        )


def publish(
    session: Session, store: Store, draft: Draft, deleted: BitMap, source: str, reason: str
) -> Version:
    """Add a drafted part, and make the version with it, less the positions ``deleted``, the head.

    Everything is written in the caller's transaction.

    Raises:
        DatasetError: the head is no longer what the draft was written for.
    """
    dataset, before, first = draft.dataset, draft.before, draft.first_position
    known = select(tables.Dataset.head_id).where(tables.Dataset.name == dataset.name)
    if session.scalar(known) != dataset.head_id:
        raise DatasetError(
            f"dataset {dataset.name!r} changed while rows were being added; nothing was added",
            hint="run the same command again",
        )
    _require_same_labels(session, dataset)
    for chunk in draft.chunks:
        store.objects.require(chunk.manifest, chunk.data)
    merged = session.merge(dataset)
    if session.get(tables.KeyDigest, salt_name(dataset.id)) is None:
        store.keys.keep(session, salt_name(dataset.id), draft.salt)
    part = tables.Part(
        id=new_id("part"),
        dataset_id=dataset.id,
        first_position=first,
        rows=draft.rows,
        source=source,
        created_at=store.clock(),
    )
    session.add(part)
    session.flush()
    session.add_all(
        tables.Chunk(
            id=new_id("chunk"),
            part_id=part.id,
            dataset_id=dataset.id,
            first_position=chunk.first_position,
            rows=chunk.rows,
            manifest=chunk.manifest,
            data=chunk.data,
        )
        for chunk in draft.chunks
    )
    parent = None if before is None else before.id
    version = new_version(
        session, store, dataset.id, first + draft.rows, deleted, draft.root, parent, reason
    )
    merged.head_id = version.id
    session.flush()
    return Version(store, version, merged, chunks_of(session, dataset.id, version.rows))


def _require_same_labels(session: Session, dataset: tables.Dataset) -> None:
    """Refuse columns that would bring back a label which was erased while rows were being added."""
    stored = session.scalar(select(tables.Dataset.columns).where(tables.Dataset.id == dataset.id))
    labels = {each["name"]: each.get("categories") or [] for each in dataset.columns}
    for column in stored or ():
        before = column.get("categories") or []
        if list(labels.get(column["name"], ()))[: len(before)] != list(before):
            raise DatasetError(
                f"labels of dataset {dataset.name!r} were erased while rows were being added; "
                "nothing was added",
                hint="run the same command again",
            )


def head(store: Store, name: str) -> Version:
    """The version of a dataset that a new run reads.

    Raises:
        NotFoundError: no dataset has this name; near names are offered.
    """
    with store.catalogue.read() as session:
        dataset = find_dataset(session, name)
        assert dataset.head_id is not None
        head_id = dataset.head_id
    return open_version(store, head_id)


def find_dataset(session: Session, name: str) -> tables.Dataset:
    """The dataset of this name.

    Raises:
        NotFoundError: there is none; near names are offered.
    """
    dataset = session.scalar(select(tables.Dataset).where(tables.Dataset.name == name))
    if dataset is None:
        names = session.scalars(select(tables.Dataset.name))
        raise NotFoundError(f"there is no dataset {name!r}", hint=near(name, names, "dataset list"))
    return dataset


def without(
    session: Session, store: Store, origin: tables.DatasetVersion, gone: BitMap, reason: str
) -> tables.DatasetVersion:
    """The version ``origin`` less more positions: an equal one that exists, or a new one.

    The commitment to it is written in the caller's transaction. The head does not move.
    """
    deleted = manifests.load_bitmap(origin.deleted) | gone
    return new_version(
        session, store, origin.dataset_id, origin.rows, deleted, origin.root, origin.id, reason
    )


def new_version(
    session: Session,
    store: Store,
    dataset_id: str,
    rows: int,
    deleted: BitMap,
    root: str,
    parent_id: str | None,
    reason: str,
) -> tables.DatasetVersion:
    """The dataset version of this content: an existing one, or a new one with its commitment."""
    deleted = BitMap(position for position in deleted if position < rows)
    digest = manifests.version_digest(bytes.fromhex(root), rows, deleted)
    same = select(tables.DatasetVersion).where(
        tables.DatasetVersion.dataset_id == dataset_id, tables.DatasetVersion.digest == digest
    )
    found = session.scalar(same)
    if found is not None:
        return found
    newest = select(func.max(tables.DatasetVersion.sequence)).where(
        tables.DatasetVersion.dataset_id == dataset_id
    )
    version = tables.DatasetVersion(
        id=new_id("dsv"),
        dataset_id=dataset_id,
        sequence=(session.scalar(newest) or 0) + 1,
        parent_id=parent_id,
        rows=rows,
        live=rows - len(deleted),
        deleted=manifests.dump_bitmap(deleted),
        root=root,
        digest=digest,
        reason=reason,
        created_at=store.clock(),
    )
    session.add(version)
    session.flush()
    ledger.commit(session, "dataset-version", version.id, {"digest": digest}, store.clock())
    return version


def _identified(store: Store, dataset: tables.Dataset, intake: Intake) -> Iterator[Rows]:
    """The file's rows beside their ids; rows without id columns are numbered through all files."""
    before = None if dataset.head_id is None else open_version(store, dataset.head_id)
    return manifests.identified(
        intake.batches(),
        first_position=0 if before is None else before.row.rows,
        id_columns=tuple(dataset.id_columns),
        subject_columns=tuple(dataset.subject_columns),
    )


def _continued(
    dataset: tables.Dataset,
    path: Path,
    id_columns: tuple[str, ...],
    subject_columns: tuple[str, ...],
    namespace: str | None,
) -> Intake:
    for what, asked, known in (
        ("--id", id_columns, tuple(dataset.id_columns)),
        ("--subject", subject_columns, tuple(dataset.subject_columns)),
        ("--namespace", (namespace,) if namespace else (), (dataset.namespace,)),
    ):
        if asked and asked != known:
            raise DatasetError(
                f"dataset {dataset.name!r} was registered with {what} "
                f"{','.join(known) or '(none)'}, not {','.join(asked)}",
                hint=f"leave {what} out to add rows to it, or choose another name",
            )
    return conform(
        path,
        tuple(Column.model_validate(column) for column in dataset.columns),
        id_columns=tuple(dataset.id_columns),
        subject_columns=tuple(dataset.subject_columns),
    )

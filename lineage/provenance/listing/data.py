"""Listing datasets and their versions."""

from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.dataset import find_dataset
from lineage.data.version import open_version
from lineage.provenance.listing.answers import (
    ColumnOfData,
    DatasetDetail,
    DatasetSummary,
    VersionOfData,
)
from lineage.store import Store
from storage.catalogue import tables


def datasets(store: Store) -> tuple[DatasetSummary, ...]:
    """Every dataset that has rows, by name."""
    with store.catalogue.read() as session:
        rows = session.scalars(
            select(tables.Dataset)
            .where(tables.Dataset.head_id.is_not(None))
            .order_by(tables.Dataset.name)
        )
        return tuple(DatasetSummary(**_summary(session, row)) for row in rows.all())


def dataset(store: Store, name: str) -> DatasetDetail:
    """A dataset by name.

    Raises:
        NotFoundError: there is none; near names are offered.
    """
    with store.catalogue.read() as session:
        return detail(store, session, find_dataset(session, name))


def detail(store: Store, session: Session, row: tables.Dataset) -> DatasetDetail:
    """A dataset with its columns and versions."""
    history = session.scalars(
        select(tables.DatasetVersion)
        .where(tables.DatasetVersion.dataset_id == row.id)
        .order_by(tables.DatasetVersion.sequence)
    )
    summary = _summary(session, row)
    return DatasetDetail(
        **summary,
        subjects=_subjects(store, summary["version"]) if row.subject_columns else None,
        id_columns=tuple(row.id_columns),
        subject_columns=tuple(row.subject_columns),
        columns=tuple(
            ColumnOfData(**{**column, "categories": len(column["categories"])})
            for column in row.columns
        ),
        versions=tuple(version_of_data(row.name, version) for version in history),
    )


def version_of_data(name: str, row: tables.DatasetVersion) -> VersionOfData:
    """A version of the dataset of this name."""
    return VersionOfData(
        id=row.id,
        dataset=name,
        sequence=row.sequence,
        records=row.live,
        rows=row.rows,
        digest=row.digest,
        reason=row.reason,
        created_at=row.created_at,
    )


def _summary(session: Session, row: tables.Dataset) -> dict[str, Any]:
    head = session.get_one(tables.DatasetVersion, row.head_id)
    return {
        "id": row.id,
        "name": row.name,
        "namespace": row.namespace,
        "version": head.id,
        "sequence": head.sequence,
        "records": head.live,
        "created_at": row.created_at,
    }


def _subjects(store: Store, version_id: str) -> int:
    """How many different first subjects the present records have."""
    return len(np.unique(open_version(store, version_id).present.records.placement))

"""The view ``records``: who is in the newest version of each dataset."""

from collections.abc import Iterator
from functools import partial

import pyarrow as pa
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.fences import forgotten
from lineage.provenance.sql.standing import OPENING, standing
from lineage.provenance.sql.view import Column, Part, View, schema_of
from lineage.store import Store
from storage import manifests
from storage.catalogue import tables

_COLUMNS = (
    Column("dataset", "VARCHAR", "name of the dataset"),
    Column("position", "BIGINT", "where the row is in it"),
    Column("record", "VARCHAR", "id of the record"),
    Column("subjects", "VARCHAR[]", "ids of whom it is about; the first places it"),
)
_DRAWN = schema_of(_COLUMNS[1:])


def _parts(store: Store, session: Session) -> Iterator[Part]:
    """A part a dataset, whose manifests are read when it is."""
    found = select(tables.Dataset.id, tables.Dataset.name, tables.DatasetVersion.id).join(
        tables.DatasetVersion, tables.DatasetVersion.id == tables.Dataset.head_id
    )
    for dataset_id, name, head_id in session.execute(found.order_by(tables.Dataset.name)):
        barred = forgotten(session, dataset_id)
        yield Part({"dataset": name}, _DRAWN, partial(_drawn, store, head_id, barred))


def _drawn(store: Store, version_id: str, barred: BitMap) -> Iterator[pa.RecordBatch]:
    with OPENING:
        version, shown = standing(store, version_id, barred)
    return manifests.read_names(store.objects, version.chunks, shown.positions)


RECORDS = View(
    "records",
    "the present rows of the newest version of each dataset",
    _COLUMNS,
    _parts,
)

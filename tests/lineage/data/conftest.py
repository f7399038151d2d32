"""A bench for transforms: small stores, rows by id, and the functions of `example_transforms`."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap
from sqlalchemy import select

from lineage.data import dataset
from lineage.data.retained import live
from lineage.data.version import open_version
from lineage.source import load
from lineage.store import Store
from storage import manifests
from storage.catalogue import tables

SALT = bytes(range(32))


def add(store, name, rows, *, update=False, namespace=None):
    """Register rows, each a dict with ``id`` and ``person``, under one salt in every store."""
    path = store.path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    salt = SALT if name not in {each.name for each in _datasets(store)} else None
    columns = {"id_columns": ("id",), "subject_columns": ("person",)} if salt else {}
    version = dataset.add(
        store, name, path, update=update, salt=salt, namespace=namespace, **columns
    )
    path.unlink()
    return version


def numbers(*values, first=0):
    """Rows ``r0``, ``r1`` … of two people, with these values."""
    return [
        {"id": f"r{first + n}", "person": f"p{n % 2}", "value": value}
        for n, value in enumerate(values)
    ]


def records(version):
    """Record id → (key, placement, subjects, cells) of the present rows."""
    present = version.present
    found = {}
    start = 0
    pieces = manifests.read_identified(version.store.objects, version.chunks, present.positions)
    for piece in pieces:
        for row in range(piece.batch.num_rows):
            who = piece.records[row].as_py()
            assert who not in found
            found[who] = (
                int(present.records.keys[start + row]),
                int(present.records.placement[start + row]),
                piece.subjects[row].as_py(),
                {name: piece.batch.column(name)[row].as_py() for name in piece.batch.schema.names},
            )
        start += piece.batch.num_rows
    return found


def cells(version, column="value"):
    """Record id → one cell of each present row."""
    return {who: row[3][column] for who, row in records(version).items()}


def labels(store, name):
    """Every position a dataset ever had → (record id, how many earlier rows have that id)."""
    version = dataset.head(store, name)
    found, count = {}, {}
    everything = np.arange(version.row.rows)
    start = 0
    for piece in manifests.read_identified(store.objects, version.chunks, everything):
        for row in range(piece.batch.num_rows):
            who = piece.records[row].as_py()
            found[start + row] = (who, count.get(who, 0))
            count[who] = count.get(who, 0) + 1
        start += piece.batch.num_rows
    return found


def withdraw(store, name, positions):
    """Move the head to a version without these positions, as accepting a request does."""
    with store.catalogue.write() as session:
        row = dataset.find_dataset(session, name)
        head = session.get_one(tables.DatasetVersion, row.head_id)
        row.head_id = dataset.without(session, store, head, BitMap(positions), "a request").id


def where(version, ids):
    """Positions of present records."""
    order = dict(zip(records(version), version.present.positions.tolist(), strict=True))
    return BitMap(order[who] for who in ids)


def _datasets(store):
    with store.catalogue.read() as session:
        return session.scalars(select(tables.Dataset)).all()


def function(name):
    folder = Path(__file__).parent
    groups = load("group_transforms.py:__dict__", folder)
    return load(f"{'group' if name in groups else 'example'}_transforms.py:{name}", folder)


@pytest.fixture
def shelf(tmp_path):
    with Store.create(tmp_path / "shelf") as store:
        yield store


@pytest.fixture(scope="session")
def bench():
    return SimpleNamespace(
        add=add,
        cells=cells,
        function=function,
        head=dataset.head,
        labels=labels,
        live=live,
        numbers=numbers,
        open=open_version,
        records=records,
        salt=SALT,
        store=Store.create,
        where=where,
        withdraw=withdraw,
    )

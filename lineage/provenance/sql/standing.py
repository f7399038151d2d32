"""Who is shown: the present records of a version that nobody has asked to forget."""

from threading import Lock

from pyroaring import BitMap

from lineage.data.version import Version, contains, open_version
from lineage.schedule import Records
from lineage.store import Store

OPENING = Lock()
"""Held while versions and schedules are opened: DuckDB reads several parts of a view at once."""


def standing(store: Store, version_id: str, forgotten: BitMap) -> tuple[Version, Records]:
    """A version, and its records that are present and not forgotten, by ascending position."""
    version = open_version(store, version_id)
    records = version.present.records
    return version, records.take(~contains(forgotten, records.positions))

"""What runs fitted: which rows it saw, and bringing it up to the rows of a run that is repeated."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import Select, select

from lineage.data.retained import live
from lineage.data.statistics import Statistic
from lineage.data.version import Excerpt, Version, contains, open_version
from lineage.schedule import Selection
from lineage.store import Store
from lineage.training import state as codec
from lineage.training.specification import RunSpec
from lineage.training.vocabulary import Translated
from storage import manifests
from storage.catalogue import tables


def fit_of(run_id: str | None, ordinal: int) -> Select[tables.Fit]:
    """The artefact a run fitted at its ``ordinal``-th call of ``run.fit``."""
    return select(tables.Fit).where(tables.Fit.run_id == run_id, tables.Fit.ordinal == ordinal)


def value_of(store: Store, fit: tables.Fit) -> object:
    """What was fitted."""
    return codec.decode(store.objects.get(fit.object))["fitted"]


def in_shard(asked: Selection, version: Version, spec: RunSpec) -> NDArray[np.bool_]:
    """Which rows of an input belong to a run's shard: its fits see those.

    Where the run places records by a risk, an input without that column is spread evenly.
    """
    division = spec.schedule.division
    if division.risk is not None and not version.numbers(division.risk.column):
        division = replace(division, risk=None)
    inside: NDArray[np.bool_] = division.shard_of(asked, version.salt) == spec.schedule.shard
    return inside


def seen(version: Version, spec: RunSpec) -> NDArray[np.int64]:
    """The positions of the rows that a fit of a run sees, in ascending order."""
    present = version.present
    return present.positions[in_shard(present.records, version, spec)]


def carried(
    store: Store, run_id: str, ordinal: int, wanted: Statistic, version: Version
) -> Statistic | None:
    """What the run that this one repeats fitted, with the rows that went and came since.

    Only those rows are read. The result equals, in bytes, what is fitted on all rows. None where
    these have to be read: this run repeats none, or what was fitted was purged, is damaged, is no
    such statistic or of other rows than recorded, or hardly any of its rows are left.
    """
    with store.catalogue.read() as session:
        run = session.get_one(tables.Run, run_id)
    found = _repeated(store, run, ordinal, wanted)
    if found is None:
        return None
    statistic, former, alias = found
    spec = RunSpec.model_validate(run.specification)
    before, now = live(former.row), live(version.row)
    went, came = _excerpt(former, before - now, spec), _excerpt(version, now - before, spec)
    handle = spec.handles[alias]
    left = len(seen(version, spec))
    of_these = former.dataset.id == version.dataset.id and (
        statistic.rows - len(went) + len(came) == left
    )
    if not of_these or len(went) + len(came) >= left:
        return None
    return statistic - statistic(Translated(went, handle)) + statistic(Translated(came, handle))


def _repeated(
    store: Store, run: tables.Run, ordinal: int, wanted: Statistic
) -> tuple[Statistic, Version, str] | None:
    """The statistic ``wanted`` as the run that this one repeats fitted it, and on what."""
    with store.catalogue.read() as session:
        fit = session.scalar(fit_of(run.replay_of, ordinal))
        if fit is None or fit.purged_at is not None or not store.objects.verify(fit.object):
            return None
        given = session.get_one(tables.RunInput, (fit.run_id, fit.alias))
    statistic = value_of(store, fit)
    if not isinstance(statistic, Statistic) or statistic.empty != wanted.empty:
        return None
    if not statistic.repeatable:
        return None
    return statistic, open_version(store, given.version_id), fit.alias


def _excerpt(version: Version, rows: BitMap, spec: RunSpec) -> Excerpt:
    """Those of some rows that a fit of a run sees, erased ones left out."""
    index = manifests.read_index(version.store.objects, version.chunks_with(rows))
    asked = contains(rows, index.positions)
    every = Excerpt(version, index.positions[asked])
    few = Selection(
        every.positions, index.keys[asked], index.placement[asked], column=every.__getitem__
    )
    return Excerpt(version, every.positions[in_shard(few, version, spec)])

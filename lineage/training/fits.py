"""What runs fitted: which rows it saw, and bringing it up to the rows of a run that is repeated."""

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, select

from lineage.data.statistics import Statistic
from lineage.data.version import Excerpt, Version, open_version
from lineage.schedule import shards_of
from lineage.store import Store
from lineage.training import state as codec
from lineage.training.specification import RunSpec
from storage.catalogue import tables


def fit_of(run_id: str | None, ordinal: int) -> Select[tables.Fit]:
    """The artefact a run fitted at its ``ordinal``-th call of ``run.fit``."""
    return select(tables.Fit).where(tables.Fit.run_id == run_id, tables.Fit.ordinal == ordinal)


def value_of(store: Store, fit: tables.Fit) -> object:
    """What was fitted."""
    return codec.decode(store.objects.get(fit.object))["fitted"]


def in_shard(version: Version, spec: RunSpec) -> NDArray[np.bool_]:
    """Which present rows of an input belong to a run's shard: those that its fits see."""
    shards = shards_of(version.present.records.placement, version.salt, spec.schedule.shards)
    inside: NDArray[np.bool_] = shards == spec.schedule.shard
    return inside


def seen(version: Version, spec: RunSpec) -> NDArray[np.int64]:
    """The positions of the rows that a fit of a run sees, in ascending order."""
    return version.present.positions[in_shard(version, spec)]


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
        fit = session.scalar(fit_of(run.replay_of, ordinal))
        if fit is None or fit.purged_at is not None or not store.objects.verify(fit.object):
            return None
        given = session.get_one(tables.RunInput, (fit.run_id, fit.alias))
    statistic = value_of(store, fit)
    if not isinstance(statistic, Statistic) or statistic.empty != wanted.empty:
        return None
    former, spec = open_version(store, given.version_id), RunSpec.model_validate(run.specification)
    before, now = seen(former, spec), seen(version, spec)
    went, came = np.setdiff1d(before, now), np.setdiff1d(now, before)
    cheap = len(went) + len(came) < len(now)
    same = former.dataset.id == version.dataset.id and statistic.rows == len(before)
    if not (same and cheap and statistic.repeatable):
        return None
    return statistic - statistic(Excerpt(former, went)) + statistic(Excerpt(version, came))

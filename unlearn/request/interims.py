"""Interim versions that a cancelled plan left: they stay, or what they stand in for comes back."""

from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.provenance.spread import spread
from lineage.store import Store
from lineage.training.aggregation import Aggregation
from lineage.training.given import members_of
from lineage.training.versions import publish_version
from storage.catalogue import tables
from unlearn.request.reading import forget_sets


@dataclass(frozen=True, slots=True)
class Settled:
    """The versions that were published again, and the interim ones that stay in use."""

    restored: tuple[str, ...]
    interim: tuple[str, ...]


def settle_interims(session: Session, store: Store) -> Settled:
    """Publish again what interim versions of cancelled plans stand in for, in the caller's write.

    One stays in use where an open request reaches what it stands in for: somebody waits to be
    forgotten there, and the next plan replaces it.
    """
    left = list(_left_in_use(session))
    if not left:
        return Settled((), ())
    session.flush()
    waiting = session.scalars(select(tables.Request.id).where(tables.Request.state == "open"))
    reached = spread(store, forget_sets(session, waiting.all()), renewing=True).reach.nodes
    restored, interim = [], []
    for version in left:
        assert version.replaces_id is not None
        if version.replaces_id in reached or not _is_whole(session, version.replaces_id):
            interim.append(version.id)
        else:
            restored.append(_published_again(session, store, version.replaces_id))
    return Settled(tuple(restored), tuple(interim))


def _left_in_use(session: Session) -> Iterator[tables.ModelVersion]:
    """The interim versions of cancelled plans that are the newest of a model in use."""
    version, newest = tables.ModelVersion, dict[str, tables.ModelVersion]()
    in_use = select(version).join(tables.Model, tables.Model.id == version.model_id)
    in_use = in_use.where(tables.Model.retired_at.is_(None), version.purged_at.is_(None))
    for each in session.scalars(in_use.order_by(version.place, version.sequence)):
        newest[each.model_id] = each
    cancelled = select(tables.Plan.id).where(tables.Plan.state == "cancelled")
    given_up = set(session.scalars(cancelled))
    yield from (each for each in newest.values() if each.interim and each.plan_id in given_up)


def _is_whole(session: Session, version_id: str) -> bool:
    """Return True if neither a version nor a member of it was purged."""
    members = members_of(session, version_id).values()
    parts = [session.get_one(tables.Checkpoint, each).purged_at for each in members]
    return not any((session.get_one(tables.ModelVersion, version_id).purged_at, *parts))


def _published_again(session: Session, store: Store, version_id: str) -> str:
    """Make a version's members the newest version of its model."""
    before = session.get_one(tables.ModelVersion, version_id)
    members = {
        shard: session.get_one(tables.Checkpoint, each)
        for shard, each in members_of(session, version_id).items()
    }
    how = Aggregation(before.aggregation)
    return publish_version(session, store, before.model_id, members, how, replaces_id=version_id).id

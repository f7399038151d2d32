"""Listing models, their versions, and holds."""

from collections.abc import Iterable, Iterator
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.given import Members
from lineage.names import near
from lineage.provenance.listing.answers import (
    HoldDetail,
    ModelDetail,
    ModelSummary,
    PlacementOfModel,
    VersionOfModel,
)
from lineage.provenance.query import live_versions
from lineage.store import Store
from lineage.training.given import members_of
from lineage.training.placements import cap_of_placements, due, wear
from storage.catalogue import tables
from storage.errors import NotFoundError


def models(store: Store) -> tuple[ModelSummary, ...]:
    """Every model, by name."""
    with store.catalogue.read() as session:
        rows = session.scalars(select(tables.Model).order_by(tables.Model.name)).all()
        return tuple(ModelSummary(**_summary(session, row)) for row in rows)


def model(store: Store, name: str) -> ModelDetail:
    """A model by name.

    Raises:
        NotFoundError: there is none; near names are offered.
    """
    with store.catalogue.read() as session:
        row = session.scalar(select(tables.Model).where(tables.Model.name == name))
        if row is None:
            names = session.scalars(select(tables.Model.name))
            raise NotFoundError(f"there is no model {name!r}", hint=near(name, names, "model list"))
        return detail(session, row)


def detail(session: Session, row: tables.Model) -> ModelDetail:
    """A model and its versions, oldest first."""
    versions = session.scalars(
        select(tables.ModelVersion)
        .where(tables.ModelVersion.model_id == row.id)
        .order_by(tables.ModelVersion.sequence)
    )
    live = live_versions(session)
    return ModelDetail(
        **_summary(session, row),
        placement=next(iter(_placements(session, [row])), None),
        versions=tuple(_version(session, each, live) for each in versions.all()),
    )


def worn_placements(store: Store) -> tuple[PlacementOfModel, ...]:
    """The placements of models in use that have borne more deletions than they should."""
    with store.catalogue.read() as session:
        used = select(tables.Model).where(tables.Model.retired_at.is_(None))
        rows = session.scalars(used.order_by(tables.Model.name)).all()
        return tuple(each for each in _placements(session, rows) if each.due)


def _placements(session: Session, models: Iterable[tables.Model]) -> Iterator[PlacementOfModel]:
    for row in models:
        newest = _newest(session, row)
        found = None if newest is None else wear(session, newest.id)
        if found is not None:
            yield PlacementOfModel(
                model=row.name,
                generation=found.generation,
                records=found.records,
                deleted=found.deleted,
                due=due(found.deleted, found.records, cap_of_placements()),
            )


def version_of_model(store: Store, version_id: str) -> VersionOfModel:
    """A version by id.

    Raises:
        NotFoundError: there is none.
    """
    with store.catalogue.read() as session:
        row = session.get(tables.ModelVersion, version_id)
        if row is None:
            raise NotFoundError(
                f"there is no model version {version_id}", hint="see `expunge model list`"
            )
        return _version(session, row, live_versions(session))


def holds(store: Store) -> tuple[HoldDetail, ...]:
    """The holds in force, oldest first."""
    with store.catalogue.read() as session:
        rows = session.scalars(
            select(tables.Hold)
            .where(tables.Hold.released_at.is_(None))
            .order_by(tables.Hold.created_at)
        )
        return tuple(map(HoldDetail.model_validate, rows))


def _newest(session: Session, row: tables.Model) -> tables.ModelVersion | None:
    return session.scalar(
        select(tables.ModelVersion)
        .where(tables.ModelVersion.model_id == row.id, tables.ModelVersion.purged_at.is_(None))
        .order_by(tables.ModelVersion.place.desc(), tables.ModelVersion.sequence.desc())
        .limit(1)
    )


def _summary(session: Session, row: tables.Model) -> dict[str, Any]:
    newest = _newest(session, row)
    aliases = session.scalars(select(tables.Alias).where(tables.Alias.model_id == row.id))
    return {
        "id": row.id,
        "name": row.name,
        "version": newest and newest.id,
        "sequence": newest and newest.sequence,
        "digest": newest and newest.digest,
        "aliases": {each.alias: each.version_id for each in aliases},
        "retired_at": row.retired_at,
    }


def _version(session: Session, row: tables.ModelVersion, live: set[str]) -> VersionOfModel:
    members = members_of(session, row.id)
    aliases = select(tables.Alias.alias).where(tables.Alias.version_id == row.id)
    published = select(tables.Publication.id).where(
        tables.Publication.version_id == row.id, tables.Publication.withdrawn_at.is_(None)
    )
    return VersionOfModel(
        id=row.id,
        model=session.get_one(tables.Model, row.model_id).name,
        sequence=row.sequence,
        aggregation=row.aggregation,
        digest=row.digest,
        interim=row.interim,
        live=row.id in live,
        aliases=tuple(session.scalars(aliases.order_by(tables.Alias.alias))),
        publications=tuple(session.scalars(published)),
        plan=row.plan_id,
        replaces=row.replaces_id,
        members=members,
        without=_without(session, row, members),
        created_at=row.created_at,
        purged_at=row.purged_at,
    )


def _without(session: Session, row: tables.ModelVersion, members: Members) -> tuple[int, ...]:
    """The shards that versions had in whose place this one is, and that it has not."""
    had: set[int] = set()
    while row.replaces_id is not None:
        row = session.get_one(tables.ModelVersion, row.replaces_id)
        had |= members_of(session, row.id).keys()
    return tuple(sorted(had - members.keys()))

"""Aliases that a plan withheld: the gate of their model did not pass, so they name nothing."""

from collections.abc import Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.store import Store
from storage.catalogue import tables

Noted = dict[str, str]
"""What a task notes: ``alias``, ``model``, the version that it ``replaces``, and ``why``."""


class WithheldAlias(BaseModel):
    """An alias of a model that does not name ``version``, which replaced what it named.

    ``why`` is what the gate found. ``version`` is None until it is published, and where a later
    plan left nothing of it.
    """

    model_config = ConfigDict(frozen=True)

    alias: str
    model: str
    version: str | None
    why: str

    @classmethod
    def of(cls, noted: Mapping[str, Any], versions: Mapping[str, str]) -> Self:
        """An alias as the task that publishes noted it; ``versions`` maps replaced to made."""
        return cls(
            alias=noted["alias"],
            model=noted["model"],
            version=versions.get(noted["replaces"]),
            why=noted["why"],
        )


def withhold(session: Session, task: tables.Task, failed: Mapping[str, str]) -> list[Noted]:
    """Let the aliases of versions name nothing, and note them with the task in one transaction.

    ``failed`` says of each version that is replaced what its gate found. Returns all that the task
    has noted, also before it was interrupted.
    """
    noted = [*task.result.get("withheld", ())]
    found = session.execute(
        select(tables.Alias, tables.Model.name)
        .join(tables.Model, tables.Model.id == tables.Alias.model_id)
        .where(tables.Alias.version_id.in_(failed))
        .order_by(tables.Model.name, tables.Alias.alias)
    )
    for alias, model in found.all():
        replaces = alias.version_id
        noted.append(
            {"alias": alias.alias, "model": model, "replaces": replaces, "why": failed[replaces]}
        )
        session.delete(alias)
    task.result = {**task.result, "withheld": noted}
    return noted


def withheld_aliases(store: Store) -> tuple[WithheldAlias, ...]:
    """The aliases that plans withheld and that nobody has promoted since, of models in use."""
    found: dict[tuple[str, str], WithheldAlias] = {}
    with store.catalogue.read() as session:
        published = select(tables.Task).where(tables.Task.kind == "publish")
        for task in session.scalars(published.order_by(tables.Task.ended_at)):
            for noted in task.result.get("withheld", ()):
                each = WithheldAlias.of(noted, task.result.get("versions", {}))
                found[each.model, each.alias] = each
        return tuple(
            each.model_copy(update={"version": _now(session, each.version)})
            for each in found.values()
            if not _is_settled(session, each)
        )


def _is_settled(session: Session, withheld: WithheldAlias) -> bool:
    """Return True if the alias names a version again, or its model is out of use."""
    model = session.scalars(select(tables.Model).where(tables.Model.name == withheld.model)).one()
    named = session.get(tables.Alias, (model.id, withheld.alias))
    return named is not None or model.retired_at is not None


def _now(session: Session, version_id: str | None) -> str | None:
    """Return what stands in the place of a version now, if anything does."""
    while version_id is not None:
        version = session.get_one(tables.ModelVersion, version_id)
        if version.purged_at is None:
            return version_id
        version_id = session.scalar(
            select(tables.ModelVersion.id).where(
                tables.ModelVersion.replaces_id == version_id,
                tables.ModelVersion.interim.is_(False),
            )
        )
    return None

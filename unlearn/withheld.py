"""Aliases that a plan withheld: the gate of their model did not pass, so they name nothing.

A plan also ends the aliases of a version that nothing replaces; both are noted with its task.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Self

from pydantic import BaseModel, ConfigDict
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from lineage.store import Store
from storage import ledger
from storage.catalogue import tables

Noted = dict[str, str]
"""What a task notes: ``alias``, ``model``, the version that it ``replaces``, and ``why``."""

_PUBLISHED = select(tables.Task).where(tables.Task.kind == "publish")


class WithheldAlias(BaseModel):
    """An alias of a model that does not name ``version``, which replaced what it named.

    ``why`` is what the gate found, and ``measured`` the version that it found it of: later plans
    may have replaced that by ``version`` since. Both are None until they are published, and
    ``version`` where a later plan left nothing of it.
    """

    model_config = ConfigDict(frozen=True)

    alias: str
    model: str
    version: str | None
    measured: str | None
    why: str

    @classmethod
    def of(cls, noted: Mapping[str, Any], versions: Mapping[str, str]) -> Self:
        """An alias as the task that publishes noted it; ``versions`` maps replaced to made."""
        made = versions.get(noted["replaces"])
        return cls(
            alias=noted["alias"],
            model=noted["model"],
            version=made,
            measured=made,
            why=noted["why"],
        )


def withhold(session: Session, task: tables.Task, failed: Mapping[str, str]) -> list[Noted]:
    """Let the aliases of versions name nothing, and note them with the task in one transaction.

    ``failed`` says of each version that is replaced what its gate found. Returns all that the task
    has noted, also before it was interrupted.
    """
    noted = [*task.result.get("withheld", ())]
    for alias, model in session.execute(_aliases_of(failed)).all():
        replaces = alias.version_id
        noted.append(
            {"alias": alias.alias, "model": model, "replaces": replaces, "why": failed[replaces]}
        )
        session.delete(alias)
    task.result = {**task.result, "withheld": noted}
    return noted


def end_aliases(session: Session, task: tables.Task, versions: Iterable[str]) -> list[Noted]:
    """Delete the aliases of versions that nothing replaces, and note them like `withhold`."""
    noted = [*task.result.get("ended", ())]
    for alias, model in session.execute(_aliases_of(versions)).all():
        noted.append({"alias": alias.alias, "model": model, "replaces": alias.version_id})
        session.delete(alias)
    task.result = {**task.result, "ended": noted}
    return noted


def deleted_aliases(session: Session, model: str) -> Iterator[str]:
    """Yield the aliases of a model, by its name, that plans deleted: withheld or ended."""
    for task in session.scalars(_PUBLISHED):
        for noted in (*task.result.get("withheld", ()), *task.result.get("ended", ())):
            if noted["model"] == model:
                yield noted["alias"]


def ended_unnoted(session: Session, model_id: str) -> bool:
    """Return True if a plan deleted aliases of a model and did not note them, as earlier ones."""
    published = session.scalars(_PUBLISHED.where(tables.Task.state == "done")).all()
    before = (task for task in published if "ended" not in task.result)
    versions = (each for task in before for each in _lost_their_aliases(session, task))
    return any(session.get_one(tables.ModelVersion, each).model_id == model_id for each in versions)


def withheld_aliases(store: Store) -> tuple[WithheldAlias, ...]:
    """The aliases that plans withheld, and whose model was not retired nor they promoted since."""
    found: dict[tuple[str, str], WithheldAlias] = {}
    since: dict[tuple[str, str], int] = {}
    with store.catalogue.read() as session:
        for task in session.scalars(_PUBLISHED.order_by(tables.Task.ended_at)):
            for noted in task.result.get("withheld", ()):
                each = WithheldAlias.of(noted, task.result.get("versions", {}))
                found[each.model, each.alias] = each
                since[each.model, each.alias] = _moment(session, task.plan_id, noted["replaces"])
        return tuple(
            each.model_copy(update={"version": _now(session, each.version)})
            for key, each in found.items()
            if not _is_settled(session, each, since[key])
        )


def _lost_their_aliases(session: Session, task: tables.Task) -> Iterator[str]:
    """Yield the versions whose aliases a task of before deleted and did not note."""
    for each in session.get_one(tables.Plan, task.plan_id).body["tasks"]:
        yield from each["work"].get("ended", ())
    if "withheld" not in task.result:
        yield from task.result.get("held", ())


def _aliases_of(versions: Iterable[str]) -> Select[tables.Alias, str]:
    """The aliases of versions, with the names of their models."""
    return (
        select(tables.Alias, tables.Model.name)
        .join(tables.Model, tables.Model.id == tables.Alias.model_id)
        .where(tables.Alias.version_id.in_(list(versions)))
        .order_by(tables.Model.name, tables.Alias.alias)
    )


def _moment(session: Session, plan_id: str, replaced: str) -> int:
    """The ledger's entry of the version that a plan made in the transaction that withheld."""
    entry, version = tables.Commitment, tables.ModelVersion
    made = select(version.id).where(
        version.plan_id == plan_id, version.replaces_id == replaced, version.interim.is_(False)
    )
    number = select(func.max(entry.sequence)).where(
        entry.kind == "model-version", entry.row_id.in_(made)
    )
    return session.scalar(number) or 0


def _is_settled(session: Session, withheld: WithheldAlias, since: int) -> bool:
    """Return True if the alias was promoted or its model retired after an entry of the ledger."""
    model = session.scalars(select(tables.Model).where(tables.Model.name == withheld.model)).one()
    entry, version = tables.Commitment, tables.ModelVersion
    later = select(entry).where(entry.sequence > since)
    retired = later.where(entry.kind == "retirement", entry.row_id == model.id)
    if session.scalars(retired).first() is not None:
        return True
    content = {"model": model.id, "alias": withheld.alias}
    promoted = later.where(
        entry.kind == "promotion",
        entry.row_id.in_(select(version.id).where(version.model_id == model.id)),
    )
    return any(
        each.digest
        == ledger.json_digest({"kind": each.kind, "id": each.row_id, "content": content})
        for each in session.scalars(promoted)
    )


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

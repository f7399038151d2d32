"""Bookkeeping of model versions: which are in use, who was given them, and what must be kept.

Every change has its commitment, written in the same transaction.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.names import check_new, check_said, near
from lineage.store import Store
from lineage.training.model import find_version
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError, RefusedError

HOLDABLE: dict[str, type[tables.Checkpoint] | type[tables.Fit] | type[tables.ModelVersion]] = {
    "ckpt": tables.Checkpoint,
    "fit": tables.Fit,
    "mv": tables.ModelVersion,
}


def promote(store: Store, version: str, alias: str) -> tables.ModelVersion:
    """Let ``alias`` name a version: given by id, or by model name, which means its newest.

    Raises:
        NotFoundError: there is no such version.
        RefusedError: it was purged.
        InvalidInputError: nothing can have this alias.
    """
    check_new(alias, "alias")
    with store.catalogue.write() as session:
        found = _usable(store, version)  # under the lock: a purge may be marking it
        session.merge(
            tables.Alias(
                model_id=found.model_id,
                alias=alias,
                version_id=found.id,
                created_at=store.clock(),
            )
        )
        content = {"model": found.model_id, "alias": alias}
        ledger.commit(session, "promotion", found.id, content, store.clock())
    return found


def publish(store: Store, version: str, recipient: str) -> tables.Publication:
    """Write down that a version was put in use or given to a recipient.

    Raises:
        NotFoundError: there is no such version.
        RefusedError: it was purged.
        InvalidInputError: the recipient is blank.
    """
    check_said(recipient, "the recipient")
    with store.catalogue.write() as session:
        found = _usable(store, version)  # under the lock: a purge may be marking it
        publication = tables.Publication(
            id=new_id("pub"), version_id=found.id, recipient=recipient, created_at=store.clock()
        )
        session.add(publication)
        content = {"version": found.id, "recipient": recipient}
        ledger.commit(session, "publication", publication.id, content, store.clock())
    return publication


def withdraw(store: Store, publication_id: str) -> tables.Publication:
    """Write down that a recipient uses a publication no more.

    Raises:
        NotFoundError: there is no such publication.
        RefusedError: it was withdrawn before.
    """
    with store.catalogue.write() as session:
        publication = session.get(tables.Publication, publication_id)
        if publication is None:
            raise NotFoundError(
                f"there is no publication {publication_id}", hint="see `expunge model show NAME`"
            )
        if publication.withdrawn_at is not None:
            raise RefusedError(
                f"publication {publication_id} was withdrawn on "
                f"{publication.withdrawn_at:%Y-%m-%d}",
                hint="there is nothing left to do",
            )
        publication.withdrawn_at = store.clock()
        ledger.commit(session, "withdrawal", publication_id, {}, store.clock())
        return publication


def retire(store: Store, name: str) -> tables.Model:
    """Take a model out of use: no later plan retrains it, unless an alias or publication is left.

    Raises:
        NotFoundError: there is no such model; near names are offered.
        RefusedError: it was retired before.
    """
    with store.catalogue.write() as session:
        model = session.scalar(select(tables.Model).where(tables.Model.name == name))
        if model is None:
            names = session.scalars(select(tables.Model.name))
            raise NotFoundError(f"there is no model {name!r}", hint=near(name, names, "model list"))
        if model.retired_at is not None:
            raise RefusedError(
                f"model {name!r} was retired on {model.retired_at:%Y-%m-%d}",
                hint="there is nothing left to do",
            )
        end_use(session, store, model)
        return model


def end_use(session: Session, store: Store, model: tables.Model) -> None:
    """Retire a model in the caller's transaction; one that was retired before stays as it is."""
    if model.retired_at is None:
        model.retired_at = store.clock()
        ledger.commit(session, "retirement", model.id, {}, store.clock())


def hold(store: Store, artefact_id: str, reason: str) -> tables.Hold:
    """Keep a checkpoint, fitted artefact or model version from purge.

    Raises:
        NotFoundError: there is no such artefact.
        RefusedError: it was purged, or is of a kind that purge never destroys.
        InvalidInputError: the reason is blank.
    """
    check_said(reason, "the reason of the hold")
    with store.catalogue.write() as session:
        _require_kept(session, artefact_id)
        held = tables.Hold(
            id=new_id("hold"), artefact_id=artefact_id, reason=reason, created_at=store.clock()
        )
        session.add(held)
        content = {"artefact": artefact_id, "reason": reason}
        ledger.commit(session, "hold", held.id, content, store.clock())
    return held


def release(store: Store, hold_id: str) -> tables.Hold:
    """End a hold, and destroy what only the hold kept from a purge that has been.

    Raises:
        NotFoundError: there is no such hold.
        RefusedError: it was released before.
    """
    with store.catalogue.write() as session:
        held = session.get(tables.Hold, hold_id)
        if held is None:
            raise NotFoundError(f"there is no hold {hold_id}", hint="see `expunge status`")
        if held.released_at is not None:
            raise RefusedError(
                f"hold {hold_id} was released on {held.released_at:%Y-%m-%d}",
                hint="there is nothing left to do",
            )
        held.released_at = store.clock()
        ledger.commit(session, "release", hold_id, {}, store.clock())
        session.flush()
        # Before the transaction ends: after a crash the hold is still in force, to be released.
        for blob in _needed_no_more(session, held.artefact_id):
            store.objects.delete(blob)
        return held


def kept_under_hold(session: Session) -> set[str]:
    """What the holds in force keep: the artefacts they name, and the members of held versions."""
    return _with_members(session, active_holds(session))


def active_holds(session: Session) -> set[str]:
    """The artefacts that the holds in force name."""
    named = select(tables.Hold.artefact_id).where(tables.Hold.released_at.is_(None))
    return set(session.scalars(named))


def _usable(store: Store, version: str) -> tables.ModelVersion:
    found = find_version(store, version)
    if found.purged_at is not None:
        raise RefusedError(
            f"model version {found.id} was purged on {found.purged_at:%Y-%m-%d}",
            hint="it learned from forgotten records; use the version that replaced it",
        )
    return found


def _with_members(session: Session, artefacts: set[str]) -> set[str]:
    members = select(tables.ModelMember.checkpoint_id).where(
        tables.ModelMember.version_id.in_(artefacts)
    )
    return artefacts | set(session.scalars(members))


def _needed_no_more(session: Session, artefact_id: str) -> set[str]:
    """The objects of a purged artefact to which nothing kept refers."""
    held = kept_under_hold(session)
    freed = _with_members(session, {artefact_id}) - held
    doomed: set[str] = set()
    kept: set[str] = set()
    for table in (tables.Checkpoint, tables.Fit):
        for identifier, blob, purged_at in session.execute(
            select(table.id, table.object, table.purged_at)
        ):
            if purged_at is None or identifier in held:
                kept.add(blob)
            elif identifier in freed:
                doomed.add(blob)
    return doomed - kept


def _require_kept(session: Session, artefact_id: str) -> None:
    table = HOLDABLE.get(artefact_id.partition("-")[0])
    if table is None:
        raise RefusedError(
            "only what a plan may purge can be held",
            hint="hold a checkpoint (ckpt-…), a fitted artefact (fit-…) or a model version (mv-…)",
        )
    artefact = session.execute(select(table.purged_at).where(table.id == artefact_id)).first()
    if artefact is None:
        raise NotFoundError(f"there is no {artefact_id}", hint="see `expunge model list`")
    (purged_at,) = artefact
    if purged_at is not None:
        raise RefusedError(
            f"{artefact_id} was purged on {purged_at:%Y-%m-%d}",
            hint="there is nothing left to hold",
        )

"""Bringing rows back that a withdrawn request took out, and naming what has to be derived again."""

import shlex
from collections.abc import Collection, Iterator

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.dataset import new_version
from lineage.data.fences import forgotten
from lineage.data.mapping import datasets_of_versions, depth_of, recorded_into
from lineage.data.part import superseded
from lineage.data.version import Version, chunks_of
from lineage.store import Store
from storage.catalogue import tables
from storage.manifests import load_bitmap


def restore(
    session: Session, store: Store, request_id: str, stale: Collection[str]
) -> tuple[str, ...]:
    """Take the rows of a request back into the heads; return the names of the datasets to derive.

    What a row's own function makes of it comes back by itself. What groups, aggregates and models
    make does not, nor what is made of that: it would stand beside what was made meanwhile without
    the rows. ``stale`` are the transforms that come out otherwise with the rows. Each dataset comes
    after those that it is derived from.
    """
    lifted = select(tables.ForgetSet).where(tables.ForgetSet.request_id == request_id)
    sets = session.scalars(lifted).all()
    dataset_of = datasets_of_versions(session)
    outputs = {dataset_of[session.get_one(tables.Transform, each).output_id] for each in stale}
    again = outputs | {
        each.dataset_id for each in sets if not _comes_back(session, each.dataset_id)
    }
    for each in sets:
        if each.dataset_id not in again:
            _take_back(session, store, each)
    names = {each: session.get_one(tables.Dataset, each).name for each in again}
    ordered = sorted(again, key=lambda each: (depth_of(session, each), names[each]))
    return tuple(names[each] for each in ordered)


def commands(store: Store, names: Collection[str]) -> tuple[str, ...]:
    """Return the commands that derive these datasets again, in this order."""
    with store.catalogue.read() as session:
        return tuple(_command(session, name) for name in names)


def _command(session: Session, name: str) -> str:
    dataset = session.scalars(select(tables.Dataset).where(tables.Dataset.name == name)).one()
    made = recorded_into(session, dataset.id)[-1]
    words = ["dataset", "derive", name, made.ref]
    for version_id in made.input_ids:
        version = session.get_one(tables.DatasetVersion, version_id)
        words += ["--from", session.get_one(tables.Dataset, version.dataset_id).name]
    for alias in sorted(made.given):
        words += ["--given", f"{alias}=MODEL"]
    return shlex.join([*words, "--root", made.root])


def _comes_back(session: Session, dataset_id: str) -> bool:
    """Return True if each row was made of rows of its own alone, from the beginning."""
    into = recorded_into(session, dataset_id)
    alone = all(made.scope == "record" and not made.models for made in into)
    return alone and all(_comes_back(session, each) for each in _sources(session, into))


def _sources(session: Session, into: Collection[tables.Transform]) -> Iterator[str]:
    versions = {each for made in into for each in made.input_ids}
    found = (session.get_one(tables.DatasetVersion, each).dataset_id for each in versions)
    yield from dict.fromkeys(found)


def _take_back(session: Session, store: Store, lifted: tables.ForgetSet) -> None:
    dataset = session.get_one(tables.Dataset, lifted.dataset_id)
    head = session.get_one(tables.DatasetVersion, dataset.head_id)
    back = load_bitmap(lifted.positions) - forgotten(session, dataset.id)
    back -= superseded(
        Version(store, head, dataset, chunks_of(session, dataset.id, head.rows)), back
    )
    dataset.head_id = new_version(
        session,
        store,
        dataset.id,
        head.rows,
        load_bitmap(head.deleted) - back,
        head.root,
        head.id,
        f"cancel {lifted.request_id}",
    ).id

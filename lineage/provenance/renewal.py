"""Runs that would have been given rows that are not there: what a group makes without somebody.

When a group is executed again it may make rows that it never made before. No visit of a forgotten
or tainted row says at which steps these belong, so a run over such data is followed from where the
first of them may enter. What an aggregate makes is tainted as a whole and needs no such care. Of
what another model makes nothing is known: it may be any rows.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.absent import absent, requests
from lineage.data.closure import Closure
from lineage.data.identity import Positions, union
from lineage.data.mapping import maker_among, read_mapping, recorded
from lineage.data.retained import executions, live, remade
from lineage.data.version import open_version
from lineage.errors import TransformError
from lineage.provenance.exposure import runs_over
from lineage.provenance.history import History
from lineage.schedule import Selection, schedule_for
from lineage.store import Store
from storage.catalogue import tables

Places = NDArray[np.uint64] | None
"""Placements that new rows may have; None where they may have any."""

_NOWHERE: Places = np.empty(0, np.uint64)


def renewed(store: Store, found: Closure) -> list[str]:
    """The segments and fitted artefacts that new rows may enter first, by their node ids."""
    if not found.stale:
        return []
    with store.catalogue.read() as session:
        places = _renewed_versions(store, session, found)
        datasets = {session.get_one(tables.DatasetVersion, each).dataset_id for each in places}
        runs = list(runs_over(session, datasets)) if places else []
    return [node for run in runs for node in _entered(store, run, places)]


def _renewed_versions(store: Store, session: Session, found: Closure) -> dict[str, Places]:
    """The versions runs were given that lack rows they would have, and where those may be."""
    transforms, named = recorded(session), requests(session)
    versions = {}
    for version_id in session.scalars(select(tables.RunInput.version_id).distinct()):
        version = session.get_one(tables.DatasetVersion, version_id)
        made = maker_among(session, version, transforms)
        if made is None or made.id not in found.stale:
            continue
        taught = _taught(session, version, transforms, found)
        if taught or _lacks(store, session, version, found, named):
            places = _places(store, session, version, transforms, found)
            if places is None or len(places):
                versions[version_id] = places
    return versions


def _taught(
    session: Session,
    version: tables.DatasetVersion,
    transforms: Sequence[tables.Transform],
    found: Closure,
) -> bool:
    """Whether a model that has to be made again made a version, or what it was made of."""
    made = maker_among(session, version, transforms)
    if made is None:
        return False
    given = (session.get_one(tables.DatasetVersion, each) for each in made.input_ids)
    return made.id in found.taught or any(
        _taught(session, each, transforms, found) for each in given
    )


def _lacks(
    store: Store,
    session: Session,
    version: tables.DatasetVersion,
    found: Closure,
    named: Sequence[Positions],
) -> bool:
    """Whether rows would be there that are not; so it is where nobody knows yet.

    A version that was made without others, too, is compared with what it would be without them.
    """
    gone = union(found.forgotten, absent(session, version, named))
    try:
        return bool(remade(session, store, version, gone) - live(version))
    except TransformError:
        return True


def _places(
    store: Store,
    session: Session,
    version: tables.DatasetVersion,
    transforms: Sequence[tables.Transform],
    found: Closure,
) -> Places:
    """Where new rows of a version may be: with the first subjects of the rows of their groups."""
    made = maker_among(session, version, transforms)
    if made is None or made.id not in found.stale:
        return _NOWHERE
    if made.id in found.taught:
        return None
    given = [session.get_one(tables.DatasetVersion, each) for each in made.input_ids]
    before = [_places(store, session, each, transforms, found) for each in given]
    if made.scope == "record" and len(given) == 1:
        return before[0]
    if any(each is None or len(each) for each in before):
        return None
    if made.scope != "group":
        return _NOWHERE
    executed = executions(session, version.dataset_id, made.source, made.given)
    return _together(store, given, executed, found)


def _together(
    store: Store,
    given: Sequence[tables.DatasetVersion],
    executed: Sequence[tables.Transform],
    found: Closure,
) -> Places:
    """The placements of the rows that are in a group with forgotten ones."""
    lost = [found.forgotten.get(each.dataset_id, BitMap()) & live(each) for each in given]
    near = [BitMap() for _ in given]
    for transform in executed:
        for place, rows in enumerate(read_mapping(store.objects, transform).beside(lost)):
            near[place] |= rows
    places = [np.empty(0, np.uint64)]
    for version, rows, gone in zip(given, near, lost, strict=True):
        present = open_version(store, version.id).present
        there = present.records.take(present.rows_of(rows - gone))
        if (there.placement == there.keys).any():  # about nobody: placed by the ids of new rows
            return None
        places.append(there.placement)
    return np.concatenate(places)


def _entered(store: Store, run: History, places: Mapping[str, Places]) -> list[str]:
    """The first segment of a run that new rows may enter, and the artefacts fitted on them."""
    salts = {version: open_version(store, version).salt for version in run.inputs.values()}
    stages = {
        version: _stage(run, places[version], salt)
        for version, salt in salts.items()
        if version in places
    }
    nodes = [fit.id for fit in run.fits if stages.get(run.inputs[fit.alias]) is not None]
    trained = None if run.spec.train is None else run.inputs[run.spec.train]
    # A recorded order has no steps for rows that were not there when it was drawn.
    if trained is not None and run.spec.schedule.kind == "stable/1" and run.segments:
        stage = stages.get(trained)
        if stage is not None:
            begins = (0, *schedule_for(run.spec.schedule, salts[trained]).boundaries)[stage]
            at = int(np.searchsorted(run.ends, begins, side="right"))
            nodes += [segment.id for segment in run.segments[at : at + 1]]
    return nodes


def _stage(run: History, places: Places, salt: bytes) -> int | None:
    """The first stage of a run that records of these placements are in, if any is."""
    schedule = run.spec.schedule
    if places is None or schedule.division.risk is not None:  # nobody knows the risk of new rows
        return 0
    where = Selection(np.arange(len(places)), places, places)
    shards, slices = schedule.division.cells_of(where, salt)
    mine = slices[shards == schedule.shard]
    return int(mine.min()) if len(mine) else None

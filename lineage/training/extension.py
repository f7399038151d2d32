"""Growing an ensemble: rows that came since it was trained become shards of their own.

Its members stay as they are, so nothing is trained twice, and forgetting a new row touches new
shards only. Which rows are new is told by position, which a part of a dataset has for good: never
by counts, which change when somebody leaves.
"""

from dataclasses import dataclass

from pyroaring import BitMap
from sqlalchemy import select

from lineage.data.dataset import new_version
from lineage.data.mapping import maker
from lineage.data.version import Version, open_version
from lineage.errors import RunError
from lineage.store import Store
from lineage.training.model import find_version
from storage.catalogue import tables


@dataclass(frozen=True, slots=True)
class Extension:
    """A version of a model and the first position of a dataset that none of its members was given.

    ``rows`` is the version of the dataset with the rows from there on.
    """

    version: tables.ModelVersion
    since: int
    rows: Version


def extension(store: Store, model: str, data: Version) -> Extension:
    """What the newest version of a model is to be extended by.

    Raises:
        NotFoundError: there is no such model; near names are offered.
        RunError: nothing is left of it, or it stands in for one that is being made again; it was
            trained on another dataset, or on one that a transform makes; or no rows came since.
    """
    version = find_version(store, model)
    if version.purged_at is not None:
        raise RunError(
            f"nothing is left of model {model!r} that could be extended",
            hint="train it without --extend",
        )
    if version.interim:
        raise RunError(
            f"{version.id} stands in while shards of model {model!r} are made again",
            hint="apply the plan that makes them first",
        )
    with store.catalogue.read() as session:
        made = maker(session, data.row) is not None
    if made:
        raise RunError(
            f"dataset {data.dataset.name!r} is made by a transform, which may make rows anew",
            hint="derive a dataset of the new rows, and train a model of its own on that",
        )
    since = _covered(store, version, data)
    if since >= data.row.rows:
        raise RunError(
            f"no rows came to dataset {data.dataset.name!r} since {version.id} was trained",
            hint="add some, or train without --extend",
        )
    return Extension(version, since, _rows_from(store, data, since))


def _covered(store: Store, version: tables.ModelVersion, data: Version) -> int:
    """The rows of a dataset that were there when the members of a version were trained on it."""
    given = (
        select(tables.DatasetVersion)
        .join(tables.RunInput, tables.RunInput.version_id == tables.DatasetVersion.id)
        .join(tables.Checkpoint, tables.Checkpoint.run_id == tables.RunInput.run_id)
        .join(tables.ModelMember, tables.ModelMember.checkpoint_id == tables.Checkpoint.id)
        .where(tables.ModelMember.version_id == version.id, tables.RunInput.trains)
    )
    with store.catalogue.read() as session:
        inputs = session.scalars(given).all()
    if {each.dataset_id for each in inputs} != {data.dataset.id}:
        raise RunError(
            f"{version.id} was not trained on dataset {data.dataset.name!r} alone",
            hint="extend a model by rows of the dataset that it was trained on",
        )
    return max(each.rows for each in inputs)


def _rows_from(store: Store, data: Version, since: int) -> Version:
    with store.catalogue.write() as session:
        row = new_version(
            session,
            store,
            data.dataset.id,
            data.row.rows,
            data.deleted | BitMap(range(since)),
            data.row.root,
            data.id,
            f"rows since position {since}",
        )
    return open_version(store, row.id)

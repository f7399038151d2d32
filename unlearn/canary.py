"""Canaries: a dataset on which the versions of a model must not get much worse.

What a canary measures decides whether a version may take over an alias; nothing learns from it.
"""

import numpy as np
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select

from lineage.data.dataset import head
from lineage.data.version import Version
from lineage.names import near
from lineage.store import Store
from lineage.training.model import Ensemble
from storage import ledger
from storage.catalogue import tables
from storage.errors import InvalidInputError, NotFoundError


class Canary(BaseModel):
    """A model is measured ``on`` a dataset by its ``label``; a greater ``drop`` is too much."""

    model_config = ConfigDict(frozen=True)

    model: str
    on: str
    label: str
    drop: float


def keep_canary(store: Store, model: str, on: str, label: str, drop: float) -> Canary:
    """Set the canary of a model, in place of any before.

    Raises:
        NotFoundError: there is no such model, dataset or column.
    """
    version = head(store, on)
    _require_column(version, label)
    with store.catalogue.write() as session:
        row = session.scalar(select(tables.Model).where(tables.Model.name == model))
        if row is None:
            names = session.scalars(select(tables.Model.name))
            raise NotFoundError(
                f"there is no model {model!r}", hint=near(model, names, "model list")
            )
        session.merge(
            tables.Canary(
                model_id=row.id,
                dataset_id=version.dataset.id,
                label=label,
                drop=drop,
                created_at=store.clock(),
            )
        )
        content = {"model": row.id, "dataset": version.dataset.id, "label": label, "drop": drop}
        ledger.commit(session, "canary", row.id, content, store.clock())
    return Canary(model=model, on=on, label=label, drop=drop)


def canary_of(store: Store, model: str) -> Canary | None:
    """The canary of a model, by name, if it has one."""
    with store.catalogue.read() as session:
        found = session.execute(
            select(tables.Dataset.name.label("on"), tables.Canary.label, tables.Canary.drop)
            .join(tables.Canary, tables.Canary.dataset_id == tables.Dataset.id)
            .join(tables.Model, tables.Model.id == tables.Canary.model_id)
            .where(tables.Model.name == model)
        ).one_or_none()
    return None if found is None else Canary(model=model, **found._mapping)


def accuracy(store: Store, ensemble: Ensemble, canary: Canary) -> float:
    """The share of the canary's present rows whose label the ensemble gives most probability.

    A label is the number of the class; of a category, its code where the model learned it. One
    probability a row is that of class 1.

    Raises:
        InvalidInputError: the canary has no row, or labels that the model does not know.
    """
    measured = head(store, canary.on)
    batch = ensemble.batch(measured)
    if not len(batch):
        raise InvalidInputError(
            f"dataset {canary.on!r} has no rows left to measure {canary.model!r} on",
            hint="set a canary that has: expunge model canary MODEL --on DATASET --label COLUMN",
        )
    given = ensemble.predict(batch)
    classes = given.argmax(axis=1) if given.ndim == 2 else given >= 0.5
    return float(np.mean(classes == batch[canary.label].astype(np.int64)))


def _require_column(version: Version, name: str) -> None:
    if all(column.name != name for column in version.columns):
        known = ", ".join(column.name for column in version.columns)
        raise NotFoundError(
            f"dataset {version.dataset.name!r} has no column {name!r}",
            hint=f"its columns are {known}",
        )

"""Gates: a dataset on which the versions of a model must not get much worse.

What a gate measures decides whether a version may take over an alias; nothing learns from it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.dataset import head
from lineage.data.version import Version
from lineage.names import near
from lineage.store import Store
from lineage.training.model import Ensemble, load_model
from storage import ledger
from storage.catalogue import tables
from storage.errors import ExpungeError, InvalidInputError, NotFoundError, RefusedError


class Canary(BaseModel):
    """A model is measured ``on`` a dataset by its ``label``; a greater ``drop`` is too much."""

    model_config = ConfigDict(frozen=True)

    model: str
    on: str
    label: str
    drop: float


def keep_canary(store: Store, model: str, on: str, label: str, drop: float) -> Canary:
    """Set the gate of a model, in place of any before.

    The newest version is measured now: what cannot be measured now would never let an alias move.

    Raises:
        NotFoundError: there is no such model, dataset or column.
        InvalidInputError: the drop is not from 0 to 1.
        RefusedError: the newest version of the model cannot be measured so.
    """
    if not 0 <= drop <= 1:
        raise InvalidInputError("drop must be between 0 and 1", hint="0.02 is two rows of 100")
    version = head(store, on)
    _require_column(version, label)
    gate = Canary(model=model, on=on, label=label, drop=drop)
    _require_measurable(store, gate)
    with store.catalogue.write() as session:
        row = _model(session, model)
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
    return gate


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
        InvalidInputError: the canary has no row, or labels that are no classes of the model.
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
    count = given.shape[1] if given.ndim == 2 else 2
    return float(np.mean(classes == _labels(np.asarray(batch[canary.label]), canary, count)))


def _labels(given: NDArray[Any], canary: Canary, count: int) -> NDArray[np.int64]:
    """Return the labels as numbers of classes, of which the model has ``count``."""
    numbers = given.dtype.kind in "biuf" and bool(np.all(given == np.floor(given)))
    if not numbers or given.min() < 0 or given.max() >= count:
        raise InvalidInputError(
            f"column {canary.label!r} of dataset {canary.on!r} does not hold the numbers of the "
            f"{count} classes that {canary.model!r} tells apart",
            hint=f"labels are the whole numbers from 0 to {count - 1}",
        )
    return given.astype(np.int64)


def _model(session: Session, name: str) -> tables.Model:
    row = session.scalar(select(tables.Model).where(tables.Model.name == name))
    if row is None:
        names = session.scalars(select(tables.Model.name))
        raise NotFoundError(f"there is no model {name!r}", hint=near(name, names, "model list"))
    return row


def _require_measurable(store: Store, gate: Canary) -> None:
    with store.catalogue.read() as session:
        _model(session, gate.model)
    try:
        accuracy(store, load_model(store, gate.model), gate)
    except ExpungeError as error:
        raise RefusedError(
            f"this gate would keep every alias from moving: {gate.model!r} cannot be measured on "
            f"{gate.on!r}: {error.message}",
            hint=error.hint,
        ) from error


def _require_column(version: Version, name: str) -> None:
    if all(column.name != name for column in version.columns):
        known = ", ".join(column.name for column in version.columns)
        raise NotFoundError(
            f"dataset {version.dataset.name!r} has no column {name!r}",
            hint=f"its columns are {known}",
        )

"""Any one thing, by its typed id."""

from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.orm import Session

from lineage.provenance.listing import answers, data, models, runs
from lineage.provenance.listing.answers import Answer
from lineage.store import Store
from storage.catalogue import tables
from storage.errors import NotFoundError

Row = TypeVar("Row", bound=tables.Base)

_ROWS: dict[str, tuple[type[tables.Base], type[Answer]]] = {
    "part": (tables.Part, answers.PartDetail),
    "chunk": (tables.Chunk, answers.ChunkDetail),
    "redact": (tables.Redaction, answers.RedactionDetail),
    "tf": (tables.Transform, answers.TransformDetail),
    "prog": (tables.Program, answers.ProgramDetail),
    "eval": (tables.Evaluation, answers.EvaluationDetail),
    "seg": (tables.Segment, answers.SegmentDetail),
    "probe": (tables.Probe, answers.ProbeDetail),
    "pub": (tables.Publication, answers.PublicationDetail),
    "hold": (tables.Hold, answers.HoldDetail),
    "choice": (tables.Choice, answers.ChoiceDetail),
}
"""Kinds whose answer is their row."""


def _dataset(store: Store, identifier: str) -> Answer:
    with store.catalogue.read() as session:
        return data.detail(store, session, _row(session, tables.Dataset, identifier))


def _data_version(store: Store, identifier: str) -> Answer:
    with store.catalogue.read() as session:
        row = _row(session, tables.DatasetVersion, identifier)
        return data.version_of_data(session.get_one(tables.Dataset, row.dataset_id).name, row)


def _checkpoint(store: Store, identifier: str) -> Answer:
    with store.catalogue.read() as session:
        return runs.checkpoint(session, _row(session, tables.Checkpoint, identifier))


def _fit(store: Store, identifier: str) -> Answer:
    with store.catalogue.read() as session:
        row = _row(session, tables.Fit, identifier)
    return runs.fit(store, row)


def _model(store: Store, identifier: str) -> Answer:
    with store.catalogue.read() as session:
        return models.detail(session, _row(session, tables.Model, identifier))


_QUERIES: dict[str, Callable[[Store, str], Answer]] = {
    "ds": _dataset,
    "dsv": _data_version,
    "train": runs.training,
    "run": runs.run,
    "ckpt": _checkpoint,
    "fit": _fit,
    "model": _model,
    "mv": models.version_of_model,
}

KINDS = frozenset(_ROWS) | frozenset(_QUERIES)
"""What an id of data, runs and models begins with, before the dash."""


def thing(store: Store, identifier: str) -> Answer:
    """What has this id, whose kind is one of ``KINDS``.

    Raises:
        NotFoundError: nothing has it.
    """
    kind = identifier.partition("-")[0]
    if kind in _QUERIES:
        return _QUERIES[kind](store, identifier)
    table, answer = _ROWS[kind]
    with store.catalogue.read() as session:
        return answer.model_validate(_row(session, table, identifier))


def _row(session: Session, table: type[Row], identifier: str) -> Row:
    row = session.get(table, identifier)
    if row is None:
        raise NotFoundError(f"nothing here has the id {identifier}", hint="see `expunge status`")
    return row

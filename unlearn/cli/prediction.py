"""Predicting the rows of a file with a model version."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from lineage.store import Store
from lineage.training.batch import Batch
from lineage.training.given import members_of
from lineage.training.learned import learned_columns
from lineage.training.model import find_version, load_model
from storage import manifests
from storage.errors import InvalidInputError
from storage.intake import Column, Intake, conform
from storage.intake.sources import open_source
from storage.objects import Objects


def predict_file(store: Store, name: str, path: Path) -> tuple[str, NDArray[np.float64]]:
    """The version's id, and what its members say together of every row: shape (n, outputs).

    ``name`` is a version's id, or a model, which means its newest version. The file has columns of
    the dataset that the version was trained on, with labels that it knew then, and may lack those
    its predictor does not read.

    Raises:
        NotFoundError: there is no such model.
        InvalidInputError: the file does not fit the declared columns, has a label that the model
            does not know, or lacks a column that the predictor reads.
    """
    version = find_version(store, name)
    with store.catalogue.read() as session:
        first = next(iter(members_of(session, version.id).values()))
    declared = learned_columns(store, first)
    intake = _intake(path, declared)
    with TemporaryDirectory() as folder:
        # Through a chunk, as rows of a dataset go: a predictor sees here what it saw in training.
        objects = Objects(Path(folder))
        rows = manifests.identified(
            intake.batches(), first_position=0, id_columns=(), subject_columns=()
        )
        chunks = tuple(
            manifests.write_chunks(
                objects, rows, intake.columns, first_position=0, salt=bytes(32), namespace=""
            )
        )
        batch = _batch(objects, chunks, intake, path)
        answers = load_model(store, version.id).predict(batch)
    return version.id, answers.reshape(intake.rows, -1)


def as_csv(probabilities: NDArray[np.float64]) -> str:
    """A header and a line a record; a number reads back as the same number.

    >>> as_csv(np.array([[0.25, 0.75]]))
    'p0,p1\\n0.25,0.75\\n'
    """
    header = ",".join(f"p{column}" for column in range(probabilities.shape[1]))
    lines = [",".join(map(repr, row)) for row in probabilities.tolist()]
    return "\n".join([header, *lines, ""])


def _intake(path: Path, declared: tuple[Column, ...]) -> Intake:
    names = open_source(path).schema.names
    columns = tuple(column for column in declared if column.name in names)
    if not columns:
        raise InvalidInputError(
            f"{path} has none of the columns that the model was trained on",
            hint=f"they are {', '.join(column.name for column in declared)}",
        )
    intake = conform(path, columns, id_columns=(), subject_columns=())
    for known, found in zip(columns, intake.columns, strict=True):
        if found.categories != known.categories:
            raise InvalidInputError(
                f"column {known.name!r} of {path} has labels that the model does not know",
                hint=f"leave these rows out: the model knows {len(known.categories)} labels there",
            )
    return intake


def _batch(
    objects: Objects, chunks: tuple[manifests.Chunk, ...], intake: Intake, path: Path
) -> Batch:
    columns = {column.name: column for column in intake.columns}

    def column(name: str) -> NDArray[np.generic]:
        if name not in columns:
            raise InvalidInputError(
                f"{path} lacks column {name!r}, which the model's predictor reads",
                hint="predict from a file that has it",
            )
        return manifests.read_rows(objects, chunks, [columns[name]])[name]

    return Batch(column, np.arange(intake.rows), np.zeros(intake.rows, np.uint64))

"""The vocabulary of a model: the columns that it learned from, with the labels that it knew then.

A dataset that grows gets new labels. Their codes are strange to a model that was trained before.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.version import Version, open_version
from lineage.store import Store
from lineage.training.batch import Batch
from lineage.training.given import given_to
from lineage.training.specification import HandleSpec, RunSpec
from lineage.training.vocabulary import columns_of, handle_spec
from storage.catalogue import tables
from storage.intake import Column


def learned_columns(store: Store, checkpoint_id: str) -> tuple[Column, ...]:
    """Return the columns that the run of a checkpoint learned from; of a soup, those of a part.

    There are none where no rows were learned from.
    """
    with store.catalogue.read() as session:
        found = _learned(session, session.get_one(tables.Checkpoint, checkpoint_id).run_id)
    if found is None:
        return ()
    version, handle = found
    return tuple(
        column.model_copy(
            update={"categories": column.categories[: handle.categories.get(column.name, 0)]}
        )
        for column in open_version(store, version).columns
    )


def _learned(session: Session, run_id: str) -> tuple[str, HandleSpec] | None:
    row = tables.RunInput
    own = select(row).where(row.run_id == run_id).order_by(row.trains.desc(), row.alias)
    given = session.scalars(own.limit(1)).first()
    if given is not None:
        run = session.get_one(tables.Run, run_id)
        spec = RunSpec.model_validate(run.specification)
        return given.version_id, spec.handles[given.alias]
    for members in given_to(session, run_id).values():
        for checkpoint in members.values():
            return _learned(session, session.get_one(tables.Checkpoint, checkpoint).run_id)
    return None


def rows_as_learned(version: Version, learned: tuple[Column, ...]) -> Batch:
    """Return the present rows of a dataset version with the codes of a model's vocabulary.

    Reading a column raises `VocabularyError` where a row has a label that the model does not know.
    """
    records = version.present.records
    spec = handle_spec(version, len(records), {column.name: column for column in learned})
    return Batch(columns_of(version, spec), records.positions, records.keys)

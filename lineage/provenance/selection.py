"""Measures on records, and choices by them: told beside influence, never in it."""

from collections.abc import Collection, Iterator, Mapping

from pydantic import BaseModel, ConfigDict
from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.retained import live
from lineage.provenance.reach import Moment
from storage.catalogue import tables


class Measured(BaseModel):
    """A run that was measured on a dataset version with some of the records, and when.

    ``steps`` are how many optimizer steps were done at each measure.
    """

    model_config = ConfigDict(frozen=True)

    run: str
    dataset_version: str
    steps: tuple[int, ...]


class Chosen(BaseModel):
    """A model version that was chosen ``by`` dataset versions with some of the records.

    ``over`` are versions that learned from them and lost. Nothing was learned by that.
    """

    model_config = ConfigDict(frozen=True)

    choice: str
    version: str
    by: tuple[str, ...]
    over: tuple[str, ...]


class Selection(BaseModel):
    """What some records may have steered, beside whatever learned from them."""

    model_config = ConfigDict(frozen=True)

    measured: tuple[Measured, ...]
    chosen: tuple[Chosen, ...]


def measured(
    session: Session, records: Mapping[str, BitMap], moment: Moment
) -> tuple[Measured, ...]:
    """Every run that was measured on some of these records (dataset id → positions)."""
    steps: dict[tuple[str, str], list[int]] = {}
    for each, version_id in measures(session, records):
        if moment.covers(each.run_id, each.step):
            steps.setdefault((each.run_id, version_id), []).append(each.step)
    return tuple(
        Measured(run=run_id, dataset_version=version_id, steps=tuple(dict.fromkeys(found)))
        for (run_id, version_id), found in steps.items()
    )


def measures(
    session: Session, records: Mapping[str, BitMap]
) -> Iterator[tuple[tables.Evaluation, str]]:
    """Every measure on some of these records, and the id of the dataset version with them."""
    measure, given, version = tables.Evaluation, tables.RunInput, tables.DatasetVersion
    rows = session.execute(
        select(measure, version)
        .join(given, (given.run_id == measure.run_id) & (given.alias == measure.alias))
        .join(version, version.id == given.version_id)
        .where(version.dataset_id.in_(list(records)))
        .order_by(measure.run_id, version.id, measure.step)
    )
    holding: dict[str, bool] = {}
    for each, row in rows:
        if row.id not in holding:
            holding[row.id] = bool(live(row) & records[row.dataset_id])
        if holding[row.id]:
            yield each, row.id


def steered(session: Session, records: Mapping[str, BitMap]) -> tuple[str, ...]:
    """The segments that came first after measures on some of these records, in each run.

    What a measure returned may set a rate or end a loop there, unless the program declares that it
    does not.
    """
    first: dict[str, int] = {}
    for each, _ in measures(session, records):
        if each.steers:
            first[each.run_id] = min(each.step, first.get(each.run_id, each.step))
    found: list[str] = []
    for run_id, step in first.items():
        segment, made = tables.Segment, tables.Checkpoint
        after = (
            select(segment.id)
            .join(made, made.id == segment.checkpoint_id)
            .where(
                segment.run_id == run_id,
                # A state that changed without a step may have been steered at its own step.
                (made.step > step) | ((segment.first_step == made.step) & (made.step >= step)),
            )
            .order_by(made.step, made.edition)
        )
        found += session.scalars(after.limit(1))
    return tuple(found)


def chosen(
    session: Session, records: Mapping[str, BitMap], tainted: Collection[str]
) -> tuple[Chosen, ...]:
    """Every choice that some of these records (dataset id → positions) may have steered.

    ``tainted`` are the model versions that learned from them.
    """
    choices = session.scalars(select(tables.Choice).order_by(tables.Choice.created_at))
    found = (
        Chosen(
            choice=each.id,
            version=each.version_id,
            by=tuple(v for v in each.by if _holds(session, v, records)),
            over=tuple(v for v in each.over if v in tainted),
        )
        for each in choices
    )
    return tuple(each for each in found if each.by or each.over)


def _holds(session: Session, version_id: str, records: Mapping[str, BitMap]) -> bool:
    version = session.get_one(tables.DatasetVersion, version_id)
    return bool(live(version) & records.get(version.dataset_id, BitMap()))

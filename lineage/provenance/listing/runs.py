"""Listing runs and trainings, and what runs left."""

from contextlib import suppress
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lineage.data.statistics import Statistic
from lineage.data.version import open_version
from lineage.provenance.listing.answers import (
    CheckpointDetail,
    FitDetail,
    RunDetail,
    RunSummary,
    TrainingDetail,
)
from lineage.store import Store
from lineage.training.fits import seen, value_of
from lineage.training.given import given_to
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.errors import NotFoundError


def runs(store: Store) -> tuple[RunSummary, ...]:
    """Every run, oldest first; replays too."""
    with store.catalogue.read() as session:
        rows = session.scalars(select(tables.Run).order_by(tables.Run.created_at, tables.Run.id))
        return tuple(RunSummary(**_summary(session, row)) for row in rows.all())


def run(store: Store, run_id: str) -> RunDetail:
    """A run by id.

    Raises:
        NotFoundError: there is none.
    """
    with store.catalogue.read() as session:
        row = session.get(tables.Run, run_id)
        if row is None:
            raise NotFoundError(f"there is no run {run_id}", hint="see `expunge run list`")
        given = session.scalars(select(tables.RunInput).where(tables.RunInput.run_id == run_id))
        fits = select(tables.Fit.id).where(tables.Fit.run_id == run_id).order_by(tables.Fit.ordinal)
        return RunDetail(
            **_summary(session, row),
            program=session.get_one(tables.Program, row.program_id).ref,
            start=row.start_id,
            inputs={each.alias: each.version_id for each in given},
            given=given_to(session, run_id),
            specification=row.specification,
            created_at=row.created_at,
            ended_at=row.ended_at,
            fits=tuple(session.scalars(fits)),
            untracked=None if row.untracked is None else tuple(row.untracked),
            checkpoints=tuple(
                checkpoint(session, each)
                for each in session.scalars(
                    select(tables.Checkpoint)
                    .where(tables.Checkpoint.run_id == run_id)
                    .order_by(tables.Checkpoint.step, tables.Checkpoint.edition)
                )
            ),
        )


def training(store: Store, training_id: str) -> TrainingDetail:
    """A training by id.

    Raises:
        NotFoundError: there is none.
    """
    with store.catalogue.read() as session:
        row = session.get(tables.Training, training_id)
        if row is None:
            raise NotFoundError(
                f"there is no training {training_id}", hint="see `expunge run list`"
            )
        own = select(tables.Run).where(tables.Run.training_id == training_id)
        summaries = [RunSummary(**_summary(session, each)) for each in session.scalars(own)]
        return TrainingDetail(
            id=row.id,
            model=session.get_one(tables.Model, row.model_id).name,
            state=row.state,
            created_at=row.created_at,
            ended_at=row.ended_at,
            runs=tuple(sorted(summaries, key=lambda each: each.shard)),
        )


def checkpoint(session: Session, row: tables.Checkpoint) -> CheckpointDetail:
    """A checkpoint and the segment that made it."""
    segment = session.scalars(
        select(tables.Segment).where(tables.Segment.checkpoint_id == row.id)
    ).one()
    return CheckpointDetail(
        id=row.id,
        run=row.run_id,
        step=row.step,
        edition=row.edition,
        visits=segment.visits,
        seconds=segment.seconds,
        segment=segment.id,
        digest=row.digest,
        size=row.size,
        created_at=row.created_at,
        purged_at=row.purged_at,
    )


def fit(store: Store, row: tables.Fit) -> FitDetail:
    """A fitted artefact with the rows it saw: those of its dataset version, of its run's shard."""
    with store.catalogue.read() as session:
        run = session.get_one(tables.Run, row.run_id)
        given = session.get_one(tables.RunInput, (row.run_id, row.alias))
    version = open_version(store, given.version_id)
    records, statistic = None, None
    if row.purged_at is None:
        records = len(seen(version, RunSpec.model_validate(run.specification)))
        statistic = _statistic(store, row)
    return FitDetail(
        id=row.id,
        run=row.run_id,
        ordinal=row.ordinal,
        alias=row.alias,
        dataset=version.dataset.name,
        version=version.id,
        records=records,
        statistic=None if statistic is None else type(statistic).__name__,
        digest=row.digest,
        created_at=row.created_at,
        purged_at=row.purged_at,
        summary=None if statistic is None else statistic.summary(),
    )


def _statistic(store: Store, row: tables.Fit) -> Statistic | None:
    # An artefact that holds tensors can be opened with torch only, and is no statistic.
    with suppress(ImportError):
        value = value_of(store, row)
        return value if isinstance(value, Statistic) else None
    return None


def _summary(session: Session, row: tables.Run) -> dict[str, Any]:
    spec = RunSpec.model_validate(row.specification)
    last = select(func.max(tables.Checkpoint.step)).where(tables.Checkpoint.run_id == row.id)
    done = session.scalar(last) or row.first_step
    return {
        "id": row.id,
        "model": _model_name(session, row.training_id),
        "training": row.training_id,
        "replay_of": row.replay_of,
        "shard": spec.schedule.shard,
        "state": row.state,
        "step": done,
        "steps": spec.schedule.steps,
    }


def _model_name(session: Session, training_id: str | None) -> str | None:
    return session.scalar(
        select(tables.Model.name)
        .join(tables.Training, tables.Training.model_id == tables.Model.id)
        .where(tables.Training.id == training_id)
    )

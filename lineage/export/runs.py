"""What an export is about: one run, or every run of a training, with the facts that formats tell.

Counts and digests only. Ids of people, their records and positions are never read.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.version import open_version
from lineage.provenance.exposure import passed_over
from lineage.store import Store
from lineage.training.recording import schedule_of
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Given:
    """An input of a run: how often something was fitted on it or measured with it."""

    version: tables.DatasetVersion
    dataset: str
    trains: bool
    fits: int
    evaluations: int

    def beside(self, other: "Given") -> "Given":
        """The version as this run and another used it, together."""
        return replace(
            self,
            trains=self.trains or other.trains,
            fits=self.fits + other.fits,
            evaluations=self.evaluations + other.evaluations,
        )


@dataclass(frozen=True, slots=True)
class Lap:
    """The steps between two checkpoints, and the one that they end in."""

    segment: tables.Segment
    checkpoint: tables.Checkpoint


@dataclass(frozen=True, slots=True)
class Step:
    """An executed optimizer step; ``records`` are those of it that were not erased since."""

    number: int
    records: int
    lap: Lap


@dataclass(frozen=True, slots=True)
class ExportedRun:
    """A run with what it was given and what it left, in order of steps.

    ``model`` is what it trains, by name. ``unknown`` counts visits of records that no dataset
    holds: with any, what is known of an observed run is not complete.
    """

    row: tables.Run
    spec: RunSpec
    model: str
    program: tables.Program
    inputs: tuple[Given, ...]
    laps: tuple[Lap, ...]
    observed: bool
    unknown: int

    @property
    def id(self) -> str:
        """The typed id, ``run-…``."""
        return self.row.id

    @property
    def trained(self) -> Given:
        """The input that batches come from."""
        return next(given for given in self.inputs if given.trains)

    @property
    def schedule(self) -> dict[str, Any]:
        """The public parameters of its schedule; ``epochs`` are all, those of each stage apart."""
        parameters = self.spec.schedule.model_dump(mode="json")
        if isinstance(parameters["epochs"], list):
            parameters["stage_epochs"] = parameters["epochs"]
            parameters["epochs"] = sum(parameters["stage_epochs"])
        return parameters

    @property
    def end(self) -> int:
        """One past the last step whose effect was kept."""
        return self.laps[-1].checkpoint.step if self.laps else self.row.first_step

    @property
    def visits(self) -> int:
        """How many records were handed out, each as often as it was."""
        return sum(lap.segment.visits for lap in self.laps)


@dataclass(frozen=True, slots=True)
class Family:
    """A training as a whole: all its runs, what they were given together, and what it ``made``."""

    row: tables.Training
    runs: tuple[tables.Run, ...]
    inputs: tuple[Given, ...]
    made: tables.ModelVersion | None

    @property
    def ended(self) -> tuple[str, datetime] | None:
        """The state it ended in, and when; None while one of its runs goes on or may yet begin."""
        if self.row.ended_at is not None:
            return self.row.state, self.row.ended_at
        states = [run.state for run in self.runs]
        broken = [state for state in ("failed", "stopped") if state in states]
        if not broken or "running" in states:
            return None
        return broken[0], max(run.ended_at for run in self.runs if run.ended_at is not None)


@dataclass(frozen=True, slots=True)
class Exported:
    """Some runs, and the training that they belong to; a replay belongs to none."""

    training: Family | None
    runs: tuple[ExportedRun, ...]


def exported(session: Session, identifier: str) -> Exported:
    """The run of an id, or the runs of a training in order of shards.

    Raises:
        NotFoundError: there is no such run or training.
    """
    of_training = identifier.startswith("train-")
    where = tables.Run.training_id if of_training else tables.Run.id
    found = session.scalars(select(tables.Run).where(where == identifier)).all()
    if not found:
        what = "training" if of_training else "run"
        raise NotFoundError(f"there is no {what} {identifier}", hint="see `expunge run list`")
    training = _training_of(session, found[0])
    return Exported(
        training=None if training is None else _family(session, training),
        runs=tuple(described(session, row) for row in sorted(found, key=_shard)),
    )


def described(session: Session, row: tables.Run) -> ExportedRun:
    """A run with everything an export says of it."""
    drawn = session.get(tables.RunRecording, row.id)
    return ExportedRun(
        row=row,
        spec=RunSpec.model_validate(row.specification),
        model=_model_of(session, row),
        program=session.get_one(tables.Program, row.program_id),
        inputs=tuple(_inputs(session, row.id)),
        laps=tuple(_laps(session, row.id)),
        observed=session.get(tables.ObservedRun, row.id) is not None,
        unknown=0 if drawn is None else drawn.unknown,
    )


def steps(store: Store, run: ExportedRun) -> Iterator[Step]:
    """The steps that a run executed, one after the other, drawn from its schedule.

    Eight bytes a step are held, however many records there are.
    """
    if not run.laps or run.spec.train is None:
        return
    version = open_version(store, run.trained.version.id)
    drawn = schedule_of(store, run.id, run.spec, version.salt).sizes(version.present.records)
    sizes = np.zeros(max(len(drawn), run.end), np.int64)
    sizes[: len(drawn)] = drawn
    laps = [(lap.segment.first_step, lap.checkpoint.step, lap.segment.skipped) for lap in run.laps]
    executed = np.ones(len(sizes), np.bool_)
    if any(skipped for _, _, skipped in laps):
        executed[passed_over(laps, sizes, run.spec.min_batch)] = False
    for lap, (first, end, _) in zip(run.laps, laps, strict=True):
        for number in range(first, end):
            if executed[number]:
                yield Step(number, int(sizes[number]), lap)


def _training_of(session: Session, row: tables.Run) -> tables.Training | None:
    return None if row.training_id is None else session.get_one(tables.Training, row.training_id)


def _family(session: Session, training: tables.Training) -> Family:
    runs = session.scalars(select(tables.Run).where(tables.Run.training_id == training.id)).all()
    inputs: dict[str, Given] = {}
    for given in (given for run in runs for given in _inputs(session, run.id)):
        known = inputs.get(given.version.id)
        inputs[given.version.id] = given if known is None else known.beside(given)
    return Family(training, tuple(runs), tuple(inputs.values()), _made_by(session, training))


def _shard(row: tables.Run) -> int:
    return RunSpec.model_validate(row.specification).schedule.shard


def _made_by(session: Session, training: tables.Training) -> tables.ModelVersion | None:
    """The first version with a member of the training's runs: others came in its place."""
    return session.scalar(
        select(tables.ModelVersion)
        .join(tables.ModelMember, tables.ModelMember.version_id == tables.ModelVersion.id)
        .join(tables.Checkpoint, tables.Checkpoint.id == tables.ModelMember.checkpoint_id)
        .join(tables.Run, tables.Run.id == tables.Checkpoint.run_id)
        .where(tables.Run.training_id == training.id, tables.ModelVersion.replaces_id.is_(None))
        .order_by(tables.ModelVersion.sequence)
        .limit(1)
    )


def _model_of(session: Session, row: tables.Run) -> str:
    """The name that a run trains for: a replay's is its original's, a probe's is its program's."""
    while row.replay_of is not None:
        row = session.get_one(tables.Run, row.replay_of)
    training = _training_of(session, row)
    if training is None:
        return session.get_one(tables.Program, row.program_id).ref
    return session.get_one(tables.Model, training.model_id).name


def _inputs(session: Session, run_id: str) -> Iterator[Given]:
    fitted = Counter(session.scalars(select(tables.Fit.alias).where(tables.Fit.run_id == run_id)))
    measured = Counter(
        session.scalars(select(tables.Evaluation.alias).where(tables.Evaluation.run_id == run_id))
    )
    for given, version, name in session.execute(
        select(tables.RunInput, tables.DatasetVersion, tables.Dataset.name)
        .join(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .join(tables.Dataset, tables.Dataset.id == tables.DatasetVersion.dataset_id)
        .where(tables.RunInput.run_id == run_id)
        .order_by(tables.RunInput.trains.desc(), tables.RunInput.alias)
    ):
        yield Given(version, name, given.trains, fitted[given.alias], measured[given.alias])


def _laps(session: Session, run_id: str) -> Iterator[Lap]:
    for segment, checkpoint in session.execute(
        select(tables.Segment, tables.Checkpoint)
        .join(tables.Checkpoint, tables.Checkpoint.id == tables.Segment.checkpoint_id)
        .where(tables.Segment.run_id == run_id)
        .order_by(tables.Checkpoint.step, tables.Checkpoint.edition)
    ):
        yield Lap(segment, checkpoint)

"""A run as it is exposed to forgetting: who is first visited when, and where it could restart."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.fences import forgotten
from lineage.data.mapping import datasets_of_versions, recorded
from lineage.store import Store
from storage.catalogue import tables
from storage.errors import NotFoundError
from unlearn.errors import PlanError
from unlearn.plan.forecast.placement import Profile, Steps
from unlearn.plan.retained import Retained, retained


@dataclass(frozen=True)
class Exposed:
    """A run, and the runs that it goes on from as their replay, up to its last checkpoint.

    ``checkpoints`` are all that it can restart at or could have, by step; those of the run itself
    begin at number ``own``. ``whole`` says why it must always be recomputed from its beginning, or
    is empty. ``subjects`` is None where the dataset names none.
    """

    run: tables.Run
    dataset: str
    records: Profile
    subjects: Profile | None
    checkpoints: tuple[tables.Checkpoint, ...]
    own: int
    whole: str
    seconds_per_visit: float

    @property
    def kept(self) -> Steps:
        """The steps of the checkpoints that are still there."""
        return np.array([c.step for c in self.checkpoints if c.purged_at is None], np.int64)


def exposed(store: Store, run_id: str) -> Exposed:
    """Look at a run as its records are retained now: those of open requests are gone already.

    Raises:
        NotFoundError: there is no such run.
        PlanError: it takes no step, or left no checkpoint yet.
    """
    with store.catalogue.read() as session:
        run = session.get(tables.Run, run_id)
        if run is None:
            raise NotFoundError(f"there is no run {run_id}", hint="see `expunge run list`")
        checkpoints, own = course(session, run)
        gone = {each: forgotten(session, each) for each in session.scalars(select(_DATASET))}
        left = retained(store, session, run_id, gone)
        if left is None or not checkpoints:
            what = "takes no step" if left is None else "has left no checkpoint yet"
            raise PlanError(
                f"run {run_id} {what}: there is nothing to recompute from the middle",
                hint="see `expunge run list`",
            )
        whole = _whole(session, run_id, left)
        seconds = _seconds_per_visit(session, {each.run_id for each in checkpoints})
    done = np.concatenate(([0], left.sizes[: checkpoints[-1].step].cumsum()))
    firsts, places = _firsts(left, checkpoints[-1].step)

    def profile(steps: Steps) -> Profile:
        return Profile(np.zeros_like(steps) if whole else np.sort(steps), done)

    return Exposed(
        run=run,
        dataset=left.version.dataset.name,
        records=profile(firsts),
        subjects=profile(_earliest(firsts, places))
        if left.version.dataset.subject_columns
        else None,
        checkpoints=checkpoints,
        own=own,
        whole=whole,
        seconds_per_visit=seconds,
    )


_DATASET = tables.Dataset.id


def course(session: Session, run: tables.Run) -> tuple[tuple[tables.Checkpoint, ...], int]:
    """The checkpoints of a run, after those of the runs it goes on from; how many come before."""
    own = select(tables.Checkpoint).order_by(tables.Checkpoint.step, tables.Checkpoint.edition)
    found = list(session.scalars(own.where(tables.Checkpoint.run_id == run.id)))
    before: list[tables.Checkpoint] = []
    if run.first_step and run.start_id is not None:
        start = session.get_one(tables.Checkpoint, run.start_id)
        earlier, _ = course(session, session.get_one(tables.Run, start.run_id))
        before = [each for each in earlier if each.step <= start.step]
    return (*before, *found), len(before)


def _firsts(left: Retained, until: int) -> tuple[Steps, NDArray[np.uint64]]:
    """The first step of each record that is visited before ``until``, and its placement."""
    firsts = left.schedule.first_visits(left.records)
    trained = firsts < until
    return firsts[trained], left.records.placement[trained]


def _earliest(firsts: Steps, places: NDArray[np.uint64]) -> Steps:
    """The first step of any record of each subject."""
    subjects, whose = np.unique(places, return_inverse=True)
    earliest = np.full(len(subjects), np.iinfo(np.int64).max)
    np.minimum.at(earliest, whose, firsts)
    return earliest


def _whole(session: Session, run_id: str, left: Retained) -> str:
    """Why everybody influences a run from its first step on, if they do."""
    if session.get(tables.ObservedRun, run_id) is not None:
        return "it was only observed: its owner trains it as a whole"
    dataset = left.version.dataset.id
    fitted = session.scalars(
        select(tables.DatasetVersion.dataset_id)
        .join(tables.RunInput, tables.RunInput.version_id == tables.DatasetVersion.id)
        .join(
            tables.Fit,
            (tables.Fit.run_id == tables.RunInput.run_id)
            & (tables.Fit.alias == tables.RunInput.alias),
        )
        .where(tables.Fit.run_id == run_id)
    )
    if dataset in set(fitted):
        return "something was fitted on all its records before the first step"
    if dataset in _aggregated(session):
        return "an aggregate transform made its records with all of them in sight"
    return ""


def _aggregated(session: Session) -> set[str]:
    """The datasets whose rows an aggregate made, or that were made of those."""
    dataset_of = datasets_of_versions(session)
    found: set[str] = set()
    for transform in recorded(session):
        given = {dataset_of[each.version_id] for each in transform.inputs}
        if transform.scope == "aggregate" or given & found:
            found.add(dataset_of[transform.output_id])
    return found


def _seconds_per_visit(session: Session, runs: set[str]) -> float:
    laps = session.scalars(select(tables.Segment).where(tables.Segment.run_id.in_(runs))).all()
    return sum(lap.seconds for lap in laps) / max(sum(lap.visits for lap in laps), 1)

"""The forgetting cost of an existing run: what one uniformly drawn request would repeat of it."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from lineage.store import Store
from lineage.training.specification import RunSpec
from unlearn.plan.forecast.exposed import Exposed, exposed
from unlearn.plan.forecast.placement import expected_visits

WORTHWHILE = 0.01
"""The least saving, as a share of the cost, for which a denser cadence is proposed."""

CLOSE = 0.1
"""How much of what checkpoints could save at most a proposed cadence may miss."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Lower(_Answer):
    """A change of a training that would make forgetting cheaper, and what it would cost then."""

    change: Literal["checkpoint_every", "shards"]
    value: int
    checkpoints: int
    record_visits: float


class RunForecast(_Answer):
    """What forgetting one record, or one subject, that a run trained on repeats of it on average.

    ``full_visits`` are those of the whole run; ``least_visits`` what a record would cost with a
    checkpoint after every step. What descends from the run is not counted.
    """

    id: str
    dataset: str
    records: int
    subjects: int | None
    record_visits: float
    subject_visits: float | None
    full_visits: int
    hours: float
    checkpoints: int
    least_visits: float
    note: str
    lower: tuple[Lower, ...]


def forecast_run(store: Store, run_id: str) -> RunForecast:
    """The cost now, with the checkpoints that are kept; see `exposed` for errors."""
    run = exposed(store, run_id)
    visits = expected_visits(run.records, run.kept)
    people = run.subjects
    return RunForecast(
        id=run_id,
        dataset=run.dataset,
        records=len(run.records.firsts),
        subjects=None if people is None else len(people.firsts),
        record_visits=visits,
        subject_visits=None if people is None else expected_visits(people, run.kept),
        full_visits=run.records.visits,
        hours=visits * run.seconds_per_visit / 3600,
        checkpoints=len(run.kept),
        least_visits=expected_visits(run.records, np.arange(run.records.steps + 1)),
        note=f"{run.whole}: checkpoints do not help" if run.whole else "",
        lower=(*_cadences(run, visits), *_shards(run, visits)),
    )


def _cadences(run: Exposed, visits: float) -> Iterator[Lower]:
    """The rarest of some cadences that saves nearly all that checkpoints could."""
    steps = run.records.steps
    least = expected_visits(run.records, np.arange(steps + 1))
    if visits - least <= WORTHWHILE * visits:
        return
    for halvings in range(1, steps.bit_length() + 1):
        every = max(steps >> halvings, 1)
        points = np.union1d(run.kept, np.arange(every, steps + 1, every))
        expected = expected_visits(run.records, points)
        if expected - least <= CLOSE * (visits - least):
            yield Lower(
                change="checkpoint_every",
                value=every,
                checkpoints=len(points),
                record_visits=expected,
            )
            return


def _shards(run: Exposed, visits: float) -> Iterator[Lower]:
    """Twice as many shards: each has half the records, and is recomputed as before."""
    schedule = RunSpec.model_validate(run.run.specification).schedule
    if schedule.kind == "stable/1":
        yield Lower(
            change="shards",
            value=2 * schedule.shards,
            checkpoints=len(run.kept),
            record_visits=visits / 2,
        )

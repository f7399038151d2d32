"""What can be asked to be forgotten of a model's data."""

from collections.abc import Callable, Iterable

import numpy as np

from tests.unlearn.equality.trained import Trained

Asked = tuple[str, list[str]]
"""A kind of id, and ids."""

DRAWS = 16


def forget_set(model: Trained, which: str, seed: int) -> Asked:
    """One of `FORGET_SETS`, drawn by a seed.

    Single records, subjects and steps are the ones seen last of a few that are drawn: to forget
    them, a replay can go on from a checkpoint.
    """
    return FORGET_SETS[which](model, np.random.default_rng(seed))


def _one_record(model: Trained, draw: np.random.Generator) -> Asked:
    rows = draw.integers(len(model.data.present.positions), size=(DRAWS, 1))
    return "record", model.named(model.material.record, _seen_last(model, rows))


def _one_subject(model: Trained, draw: np.random.Generator) -> Asked:
    people = np.array(model.named(model.material.subject, _everyone(model)))
    groups = (np.flatnonzero(people == person) for person in draw.choice(people, DRAWS))
    return "subject", [str(people[_seen_last(model, groups)[0]])]


def _one_percent(model: Trained, draw: np.random.Generator) -> Asked:
    everyone = _everyone(model)
    rows = draw.choice(everyone, len(everyone) // 100, replace=False)
    return "record", model.named(model.material.record, rows)


def _one_step(model: Trained, draw: np.random.Generator) -> Asked:
    records, schedule = model.data.present.records, model.schedules[-1]
    executed = np.flatnonzero(schedule.sizes(records) > 1)
    batches = (schedule.rows(records, int(step)) for step in draw.choice(executed, DRAWS))
    return "record", model.named(model.material.record, _seen_last(model, batches))


def _whole_shard(model: Trained, draw: np.random.Generator) -> Asked:
    slices = range(len(model.spec(0).schedule.nominal))
    shard = int(draw.integers(len(model.schedules)))
    return "subject", [person for each in slices for person in model.people(shard, each)]


FORGET_SETS: dict[str, Callable[[Trained, np.random.Generator], Asked]] = {
    "one record": _one_record,
    "one subject": _one_subject,
    "1%": _one_percent,
    "one step": _one_step,
    "a whole shard": _whole_shard,
}


def _everyone(model: Trained) -> np.ndarray:
    return np.arange(len(model.data.present.positions))


def _seen_last(model: Trained, groups: Iterable[np.ndarray]) -> np.ndarray:
    """The group of rows of which the first that is trained on is trained on last."""
    records = model.data.present.records
    first = np.min([s.first_visits(records) for s in model.schedules], 0)
    return max(groups, key=lambda rows: int(first[rows].min()))

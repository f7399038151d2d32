"""Checkpoints: durable and whole, or not at all; verified whenever they are read."""

import hashlib
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update
from sqlalchemy.exc import IntegrityError

from lineage.errors import CheckpointError, StateError
from lineage.training import checkpoint as checkpoints
from lineage.training import state as codec
from lineage.training.lap import Lap
from storage.catalogue import tables
from storage.errors import CorruptObjectError, NotFoundError

STATE = {"model": {"w": np.arange(6.0).reshape(2, 3)}, "optimizer": {"step": 7}}
LAP = Lap(first_step=6, visits=40, skipped=1, seconds=0.25, consumed="ab" * 32)


@pytest.fixture
def publish(trained: Any, workshop: Any) -> Any:
    """Publishes a state of a run that is there, in an environment that is."""
    run = workshop.rows_of(trained, tables.Run)[0].id
    environment = workshop.rows_of(trained, tables.Environment)[0].digest

    def published(step: int = 1_000, state: Any = STATE) -> str:
        return checkpoints.publish(trained, run, step, state, LAP, environment)

    return published


def row(store: Any, checkpoint_id: str) -> Any:
    with store.catalogue.read() as session:
        return session.get_one(tables.Checkpoint, checkpoint_id)


def test_a_published_state_comes_back_with_its_segment_and_commitment(
    publish: Any, trained: Any, workshop: Any
) -> None:
    made = publish()
    state = checkpoints.load(trained, made)
    assert codec.digest(state) == row(trained, made).digest == codec.digest(STATE)
    found = row(trained, made)
    data = trained.objects.get(found.object)
    assert (found.size, found.object) == (len(data), hashlib.sha256(data).hexdigest())
    (segment,) = workshop.rows_of(trained, tables.Segment, checkpoint_id=made)
    laps = (segment.first_step, segment.visits, segment.skipped, segment.seconds)
    assert (*laps, found.consumed) == (6, 40, 1, 0.25, LAP.consumed)
    assert len(workshop.rows_of(trained, tables.Commitment, row_id=made)) == 1


def test_the_same_state_at_two_steps_is_stored_once(publish: Any, trained: Any) -> None:
    before = set(trained.objects)
    first, second = publish(1_000), publish(1_001)
    assert first != second
    assert len(set(trained.objects) - before) == 1


def test_a_step_has_one_checkpoint(publish: Any, trained: Any, workshop: Any) -> None:
    publish()
    before = workshop.rows_of(trained, tables.Commitment)
    with pytest.raises(IntegrityError):
        publish(state={"model": 1})
    assert len(workshop.rows_of(trained, tables.Commitment)) == len(before)


def test_a_state_that_cannot_be_kept_exactly_leaves_nothing(
    publish: Any, trained: Any, workshop: Any
) -> None:
    objects, rows = set(trained.objects), len(workshop.rows_of(trained, tables.Checkpoint))
    with pytest.raises(StateError, match="hook"):
        publish(state={"hook": print})
    assert set(trained.objects) == objects
    assert len(workshop.rows_of(trained, tables.Checkpoint)) == rows


def test_damaged_or_missing_bytes_are_named(publish: Any, trained: Any) -> None:
    made = publish()
    path = trained.objects.open(row(trained, made).object)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CorruptObjectError, match=row(trained, made).object):
        checkpoints.load(trained, made)
    path.unlink()
    with pytest.raises(CorruptObjectError, match="missing"):
        checkpoints.load(trained, made)


def test_bytes_of_another_state_are_refused(publish: Any, trained: Any) -> None:
    made = publish()
    other = trained.objects.put(codec.encode({"model": 0}))
    with trained.catalogue.write() as session:
        session.execute(
            update(tables.Checkpoint).where(tables.Checkpoint.id == made).values(object=other)
        )
    with pytest.raises(CheckpointError, match=f"{made} does not hold the state"):
        checkpoints.load(trained, made)


@pytest.mark.parametrize("held", [False, True])
def test_a_purged_checkpoint_is_refused_even_where_its_bytes_are_held(
    publish: Any, trained: Any, held: bool
) -> None:
    made = publish()
    with trained.catalogue.write() as session:
        session.execute(
            update(tables.Checkpoint)
            .where(tables.Checkpoint.id == made)
            .values(purged_at=trained.clock())
        )
        if held:
            now = trained.clock()
            session.add(tables.Hold(id="hold-1", artefact_id=made, reason="r", created_at=now))
    what = "is quarantined under a hold" if held else "was purged"
    with pytest.raises(CheckpointError, match=f"{made} {what} on 2026-11-03"):
        checkpoints.load(trained, made)


def test_an_unknown_checkpoint_is_named(trained: Any) -> None:
    with pytest.raises(NotFoundError, match="ckpt-0"):
        checkpoints.load(trained, "ckpt-0")


def test_the_newest_checkpoint_is_the_last_step_that_was_not_purged(
    publish: Any, trained: Any
) -> None:
    run = row(trained, publish(1_000)).run_id
    last = publish(1_001)
    with trained.catalogue.write() as session:
        assert checkpoints.newest(session, run).id == last
        session.get_one(tables.Checkpoint, last).purged_at = trained.clock()
        session.flush()
        assert checkpoints.newest(session, run).step == 1_000
        assert checkpoints.newest(session, "run-0") is None

"""What the published SISA code gets wrong (cleverhans-lab/machine-unlearning, of Bourtoule et al.
2021), each as a test that this code does not."""

from typing import Any

import numpy as np
import pytest

from lineage.errors import CheckpointError
from lineage.training import checkpoint as checkpoints
from lineage.training.ensemble import resume
from storage.catalogue import tables
from tests.unlearn.equality.forgetting import TWIN, forget


def states(workshop: Any, store: Any, version: str) -> dict[int, Any]:
    """Shard → what the member of a version tracked."""
    found = workshop.rows_of(store, tables.ModelMember, version_id=version)
    return {each.shard: checkpoints.load(store, each.checkpoint_id)["model"] for each in found}


@pytest.mark.parametrize("other", [{"seed": 1}, {"batch_size": 6}])
def test_a_checkpoint_is_never_taken_for_one_of_another_order_or_configuration(
    store: Any, tally: Any, workshop: Any, tmp_path: Any, other: dict[str, Any]
) -> None:
    """There, a checkpoint is found by the set of points it was trained on.

    The same points in another order, or under other settings, get weights that are not theirs.
    Here a state belongs to the run that left it: a training beside another over the very same
    records ends as it does alone.
    """
    tally.register(store)
    tally.train(store, "first")
    beside = tally.train(store, "second", **other)
    with workshop.Store.create(tmp_path / "alone", workshop.Clock()) as alone:
        tally.register(alone, rows=list(reversed(workshop.people())))
        assert tally.train(alone, **other).digest == beside.digest
    versions = {each.digest for each in workshop.rows_of(store, tables.ModelVersion)}
    assert len(versions) == 2


def test_a_checkpoint_holds_the_state_of_the_optimizer_and_its_steps_draw_the_same_numbers(
    store: Any, tally: Any, workshop: Any
) -> None:
    """There, a checkpoint is the weights alone: slices go on with a new optimizer and any numbers.

    Here a training that was broken off between two checkpoints ends with the very bytes, momentum
    and all, though each of its steps draws noise.
    """
    tally.register(store)
    whole = tally.train(store)
    training = tally.prepare(store)
    tally.spring(15, "interrupt")
    with pytest.raises(KeyboardInterrupt):
        resume(store, training)
    tally.forget_the_log()
    again = resume(store, training)
    assert tally.consumed()[0][0] > 0
    assert again.digest == whole.digest
    for state in states(workshop, store, again.id).values():
        assert np.abs(state["momentum"]).min() > 0


def test_checkpoints_that_were_trained_on_the_deleted_are_destroyed(
    store: Any, tally: Any, workshop: Any
) -> None:
    """There, checkpoints trained on deleted points stay on disk, and are found by the next request.

    Here none that a step with them led to can be loaded, and no bytes of it are left.
    """
    tally.register(store)
    tally.train(store)
    gone = {row["id"] for row in workshop.people() if row["person"] == "person-05"}
    log = tally.consumed()
    turn = next(n for n in range(1, len(log)) if log[n][0] < log[n - 1][0])
    firsts = [
        min([step for step, ids in entries if gone & set(ids)], default=len(log))
        for entries in (log[:turn], log[turn:])
    ]
    shards = {
        run.id: run.specification["schedule"]["shard"]
        for run in workshop.rows_of(store, tables.Run)
    }
    before = workshop.rows_of(store, tables.Checkpoint)
    reached = [each for each in before if each.step > firsts[shards[each.run_id]]]
    assert 0 < len(reached) < len(before)
    forget(store, "subject", ["person-05"])
    for each in reached:
        with pytest.raises(CheckpointError, match="was purged"):
            checkpoints.load(store, each.id)
        assert each.object not in store.objects
    for each in before:
        if each not in reached:
            assert checkpoints.load(store, each.id)


@pytest.mark.usefixtures("twin_here")
def test_a_batch_of_which_everybody_is_deleted_makes_no_step(
    store: Any, tally: Any, workshop: Any
) -> None:
    """There, the mean loss of an empty batch is NaN, and the optimizer takes the step.

    Here a step that has no records left is passed over: the program is never given it, its number
    counts, and what is left equals the model that was trained without these records.
    """
    tally.register(store)
    tally.train(store, shards=1, slices=1)
    last, ids = tally.consumed()[-1]
    tally.forget_the_log()
    outcome = forget(store, "record", ids, TWIN)
    replayed = [step for step, _ in tally.consumed()]
    assert last not in replayed
    assert all(len(given) > 1 for _, given in tally.consumed())
    (twin,) = outcome.results["check"]["twins"]
    assert twin["twin_digest"] == twin["model_digest"]
    (state,) = states(workshop, store, outcome.version).values()
    assert np.isfinite([state["values"], state["momentum"]]).all()
    assert sum(each.skipped for each in workshop.rows_of(store, tables.Segment)) > 0

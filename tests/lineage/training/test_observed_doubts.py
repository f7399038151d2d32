"""What is said of a watched loop that was given what nobody knows, or what leaves doubt."""

from typing import Any

import pytest

import lineage
from lineage.errors import (
    UnknownRecordError,
)
from lineage.provenance.batch import batch_at
from lineage.training.events import GradientFlowed, GradientsCollected, TrackLost, Updated
from lineage.training.observed import Observed
from lineage.training.recording import bounds_of
from lineage.training.update_window import Gradients
from storage.catalogue import tables
from tests.lineage.training.watched_loops import ORDER, refused, step
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (["record-0001", "Erika Mustermann"], "record 1 of batch 1 is not in dataset 'people'"),
        ([None, "record-0001"], "record 0 of batch 1 does not say its id"),
    ],
)
def test_an_unknown_record_stops_training_and_is_named_by_its_place(
    store: Any, watching: Any, ids: list[Any], sentence: str
) -> None:
    def act(run: Observed) -> None:
        step(run, [1])
        step(run, ids=ids)

    error = refused(UnknownRecordError, sentence, watching(), act)
    assert error.fields == {"batch": 1, "row": 0 if ids[0] is None else 1}
    assert "Erika" not in f"{error} {error.hint}"
    assert "expunge dataset add" in error.hint


def test_an_unknown_record_that_is_let_pass_leaves_no_answer_complete(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching(on_unknown="record") as run:
        step(run, ids=["record-0001", "nobody", None])
        run.checkpoint()
        step(run, ids=["nobody"])
    (row,) = workshop.rows_of(store, tables.RunRecording)
    assert row.unknown == 3
    for record, steps in (("record-0001", (0,)), ("record-0002", None)):
        answer = lineage.who_saw(store, "record", record)
        assert (answer.complete, answer.incomplete) == (False, (run.id,))
        assert answer.steps.get(run.id) == steps
    _, plan = make_plan(store, [accept(store, "record", ["record-0001"]).id])
    assert plan.claim_possible == "none"


def test_a_step_whose_batches_are_an_upper_bound_says_so_wherever_it_is_named(
    store: Any, watching: Any
) -> None:
    with watching() as run:
        window = run.window(traced=True)
        for number, rows in enumerate(ORDER):
            batch = run.identify(run.locator.rows(rows))
            run.draw(batch)
            if number != 2:
                run.note(GradientFlowed(batch, number))
                run.note(GradientsCollected(window, number, Gradients.EMPTY))
            run.update(Updated(window, held=Gradients.KEPT))
            if number == 1:
                run.checkpoint()
    assert [batch_at(store, run.id, step).bound for step in range(4)] == [False, False, True, False]
    for record, bounds in ((5, {run.id: (2,)}), (3, {}), (9, {})):
        answer = lineage.who_saw(store, "record", f"record-{record:04d}")
        assert answer.complete
        assert answer.bounds == bounds


def test_doubts_of_each_checkpoint_are_kept_together(
    store: Any, watching: Any, workshop: Any
) -> None:
    with watching() as run:
        window = run.window(traced=True)
        for rows in ORDER:
            run.draw(run.identify(run.locator.rows(rows)))
            run.note(TrackLost())
            run.update(Updated(window, held=Gradients.KEPT))
            run.checkpoint()
    (row,) = workshop.rows_of(store, tables.RunRecording)
    assert (set(bounds_of(row)), row.unknown) == ({0, 1, 2, 3}, 4)
    assert not lineage.who_saw(store, "record", "record-0003").complete

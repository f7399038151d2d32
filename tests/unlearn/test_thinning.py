"""Thinning keeps what is in use and what makes forgetting cheap; plans make the rest again."""

from collections.abc import Iterable
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from sqlalchemy import select

from lineage.errors import CheckpointError
from lineage.training.checkpoint import load
from lineage.training.ensemble import Recipe
from lineage.training.registry import hold
from storage.catalogue import tables
from storage.errors import NotFoundError
from unlearn.audit import verify_plan
from unlearn.dispatch.drive import apply
from unlearn.erase import sweep
from unlearn.errors import PlanError
from unlearn.plan.forecast.exposed import exposed
from unlearn.plan.forecast.run import forecast_run
from unlearn.plan.planner import draft, make_plan
from unlearn.request.lifecycle import accept, cancel
from unlearn.thinning import thin

DENSE: dict[str, Any] = {
    "shards": 1,
    "slices": 1,
    "epochs": 3,
    "batch_size": 1,
    "min_batch": 1,
    "checkpoint_every": 1,
}
"""A run of 36 steps over 12 records, with a checkpoint after every one."""

RECORDS, STEPS = 12, 36
VISITS = 3 * RECORDS


@pytest.fixture
def run(store: Any, tally: Any, workshop: Any) -> str:
    tally.register(store, rows=workshop.people(RECORDS, 1))
    tally.train(store, **DENSE)
    (row,) = workshop.rows_of(store, tables.Run)
    return str(row.id)


def kept(store: Any, run_id: str) -> list[int]:
    """The steps of the checkpoints that are left; each of them can be opened."""
    with store.catalogue.read() as session:
        rows = session.scalars(
            select(tables.Checkpoint)
            .where(tables.Checkpoint.run_id == run_id, tables.Checkpoint.purged_at.is_(None))
            .order_by(tables.Checkpoint.step)
        ).all()
    for row in rows:
        load(store, row.id)
    return [row.step for row in rows]


def at(store: Any, run_id: str, step: int) -> str:
    with store.catalogue.read() as session:
        rows = select(tables.Checkpoint.id).where(
            tables.Checkpoint.run_id == run_id, tables.Checkpoint.step == step
        )
        return str(session.scalars(rows).one())


def asked(store: Any, kind: str, name: str) -> str:
    """A request to forget a record or subject."""
    request = accept(store, kind, [name])
    return request.id


def costs(store: Any, kind: str, names: Iterable[str]) -> list[int]:
    """What the planner says that forgetting each of them alone costs."""
    found = []
    for name in names:
        request = asked(store, kind, name)
        found.append(draft(store, [request]).visits)
        cancel(store, request)
    return found


def records(but: str = "") -> list[str]:
    return [name for row in range(RECORDS) if (name := f"record-{row:04d}") != but]


def first_seen_from(tally: Any, step: int) -> str:
    """The first record that the program was given for the first time at that step or later."""
    firsts: dict[str, int] = {}
    for when, ids in tally.consumed():
        for each in ids:
            firsts.setdefault(each, when)
    return min((each for each in firsts if firsts[each] >= step), key=firsts.__getitem__)


def test_a_forecast_of_a_run_is_the_mean_of_its_plans(store: Any, run: str) -> None:
    found = forecast_run(store, run)
    assert (found.records, found.subjects, found.full_visits) == (RECORDS, RECORDS, VISITS)
    assert found.checkpoints == STEPS
    assert found.record_visits == pytest.approx(np.mean(costs(store, "record", records())))
    assert found.least_visits == found.record_visits < found.full_visits
    thin(store, run, keep=3)
    thinned = forecast_run(store, run)
    assert thinned.record_visits == pytest.approx(np.mean(costs(store, "record", records())))
    assert thinned.record_visits > found.record_visits


def test_a_forecast_of_a_sliced_shard_is_the_mean_of_its_plans(
    store: Any, tally: Any, workshop: Any
) -> None:
    """Subjects are forgotten as a whole, so all their records count."""
    tally.register(store)
    tally.train(store, min_batch=1)
    found = [forecast_run(store, each.id) for each in workshop.rows_of(store, tables.Run)]
    assert sum(each.subjects or 0 for each in found) == 24
    people = costs(store, "subject", map("person-{:02d}".format, range(24)))
    means = [(each.subject_visits or 0) * (each.subjects or 0) for each in found]
    assert sum(means) == pytest.approx(sum(people))


def test_a_cadence_and_shards_that_would_lower_the_cost_are_named(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store, rows=workshop.people(RECORDS, 1))
    tally.train(store, **{**DENSE, "checkpoint_every": None})
    (row,) = workshop.rows_of(store, tables.Run)
    found = forecast_run(store, row.id)
    assert found.record_visits == VISITS - 3
    cadence, shards = found.lower
    assert (cadence.change, shards.change, shards.value) == ("checkpoint_every", "shards", 2)
    assert shards.record_visits == found.record_visits / 2
    tally.train(store, "denser", **{**DENSE, "checkpoint_every": cadence.value})
    (denser,) = [each.id for each in workshop.rows_of(store, tables.Run) if each.id != row.id]
    again = forecast_run(store, denser)
    assert again.record_visits == pytest.approx(cadence.record_visits)
    assert again.checkpoints == cadence.checkpoints
    assert again.least_visits <= again.record_visits < found.record_visits


def test_what_was_fitted_on_all_records_makes_checkpoints_useless(
    store: Any, tally: Any, workshop: Any
) -> None:
    tally.register(store, rows=workshop.people(RECORDS, 1))
    tally.train(store, **DENSE, config={"fit": True})
    (row,) = workshop.rows_of(store, tables.Run)
    found = forecast_run(store, row.id)
    assert found.record_visits == found.least_visits == VISITS - 3
    assert costs(store, "record", ["record-0001"]) == [VISITS - 3]
    assert found.note.startswith("something was fitted on all its records")
    assert thin(store, row.id, keep=9).kept == 1
    assert kept(store, row.id) == [STEPS]


def test_what_an_aggregate_made_or_an_owner_trains_is_recomputed_as_a_whole(
    histories: ModuleType,
) -> None:
    rows = {"a": tuple((n, str(n), (f"p{n}",)) for n in range(RECORDS))}
    trainings = [histories.Training(name, Recipe(**DENSE)) for name in ("a", "c")]
    with histories.lived(
        histories.History(rows, tuple(trainings), (("centred", "a", "c"),))
    ) as lived:
        own, derived = lived.diary
        assert forecast_run(lived.store, own).note == ""
        found = forecast_run(lived.store, derived)
        assert found.note.startswith("an aggregate transform made its records")
        assert found.record_visits == found.least_visits == VISITS - 3
        with lived.store.catalogue.write() as session:
            session.add(tables.ObservedRun(run_id=own, command=["sh", "train"], folder="/"))
        assert forecast_run(lived.store, own).note.startswith("it was only observed")
        assert thin(lived.store, own, keep=9).kept == 1


def test_thinning_keeps_the_best_and_frees_the_rest(store: Any, run: str, workshop: Any) -> None:
    before = thin(store, run, keep=4, dry_run=True)
    assert len(kept(store, run)) == STEPS
    done = thin(store, run, keep=4)
    assert done == before.model_copy(update={"dry_run": False})
    assert (done.kept, done.evicted) == (4, STEPS - 4)
    steps = [each.step for each in done.checkpoints if each.kept]
    assert kept(store, run) == steps
    assert steps[:2] == [1, 2]
    assert steps[-1] == STEPS
    assert max(steps[:-1]) <= exposed(store, run).records.firsts.max()
    assert done.record_visits_after == forecast_run(store, run).record_visits
    assert done.record_visits_before < done.record_visits_after
    assert sweep(store) == 0
    workshop.assert_consistent(store)
    gone = [each.id for each in done.checkpoints if not each.kept]
    evictions = workshop.rows_of(store, tables.Commitment, kind="eviction")
    assert [each.row_id for each in evictions] == gone
    for each in gone:
        with pytest.raises(CheckpointError, match="was purged"):
            load(store, each)
    assert thin(store, run, keep=4).evicted == 0


def test_a_checkpoint_that_is_clean_for_nobody_goes_though_there_is_room(
    store: Any, run: str
) -> None:
    done = thin(store, run, keep=100)
    begun = set(exposed(store, run).records.firsts.tolist()) - {0}
    assert kept(store, run) == sorted({1, 2, *begun, STEPS})
    assert done.record_visits_after == done.record_visits_before


def test_where_the_first_is_gone_the_next_two_in_a_row_stay_for_a_probe(
    store: Any, run: str
) -> None:
    with store.catalogue.write() as session:
        session.get_one(tables.Checkpoint, at(store, run, 2)).purged_at = store.clock()
    thin(store, run, keep=3)
    assert kept(store, run) == [3, 4, STEPS]


def test_a_budget_in_bytes_is_kept(store: Any, run: str) -> None:
    size = thin(store, run, keep=STEPS, dry_run=True).checkpoints[0].size
    done = thin(store, run, budget=5 * size + size // 2)
    assert done.kept == 5
    assert sum(each.size for each in done.checkpoints if each.kept) <= 5 * size + size // 2


def test_what_is_in_use_stays_and_says_why(store: Any, tally: Any, workshop: Any, run: str) -> None:
    start, held, leased = (at(store, run, step) for step in (20, 22, 24))
    tally.train(store, "tuned", **DENSE, start=start, restore=("model",))
    hold(store, held, "litigation")
    with store.catalogue.write() as session:
        session.add(tables.Lease(plan_id=_some_plan(session, store), checkpoint_id=leased))
    with pytest.raises(PlanError, match=r"6 checkpoints of run .* must stay") as refused:
        thin(store, run, keep=4)
    assert refused.value.hint == "--keep 6"
    done = thin(store, run, keep=7)
    reasons = {each.step: each.kept for each in done.checkpoints if each.kept}
    tuned = next(r.id for r in workshop.rows_of(store, tables.Run) if r.start_id == start)
    assert reasons[20] == f"the start of {tuned}"
    assert reasons[22] == "held"
    assert reasons[24].startswith("leased by plan-")
    assert reasons[STEPS] == "the newest"
    assert (reasons[1], reasons[2]) == ("a probe may begin with it", "a probe may end with it")
    assert len(reasons) == 7


def _some_plan(session: Any, store: Any) -> str:
    row = tables.Plan(
        id="plan-other",
        state="applied",
        graph_revision=0,
        body={},
        digest="",
        fence=0,
        created_at=store.clock(),
    )
    session.add(row)
    session.flush()
    return row.id


def test_an_unfinished_plan_keeps_a_run_as_it_is(store: Any, run: str) -> None:
    request = accept(store, "subject", ["person-03"])
    plan_id, _ = make_plan(store, [request.id])
    with pytest.raises(PlanError, match=f"{plan_id} is about run {run}"):
        thin(store, run, keep=5)
    assert len(kept(store, run)) == STEPS


def test_after_thinning_a_plan_equals_its_twin(
    store: Any, tally: Any, run: str, twin_here: None
) -> None:
    """A record that is first seen late begins at a checkpoint that was kept."""
    thin(store, run, keep=4)
    third = kept(store, run)[2]
    request = asked(store, "record", first_seen_from(tally, third))
    plan_id, plan = make_plan(store, [request])
    (replay,) = [task.work for task in plan.tasks if task.work.kind == "replay"]
    assert (replay.restart, replay.restart_step) == (at(store, run, third), third)
    assert [task.id for task in plan.tasks if task.work.kind == "probe"] == ["probe-1"]
    results = apply(store, plan_id)
    assert results["check"]["claim"]["claim"] == "exact-reproducible"
    found = verify_plan(store, plan_id, twin=True)
    assert (found.verdict, found.statement.claim) == ("passed", "replay-verified")
    assert found.model_digest == found.twin_digest


def test_a_replay_is_thinned_with_what_its_origin_left(store: Any, tally: Any, run: str) -> None:
    """Restarts of a replayed model lie in two runs; together they cost what plans say."""
    late = first_seen_from(tally, 2)
    plan_id, _ = make_plan(store, [asked(store, "record", late)])
    apply(store, plan_id)
    with store.catalogue.read() as session:
        again = session.scalars(select(tables.Run.id).where(tables.Run.replay_of == run)).all()[-1]
    left = records(but=late)
    before = forecast_run(store, again)
    assert before.checkpoints > len(kept(store, again))
    done = thin(store, again, keep=3)
    assert (done.kept, len(kept(store, again))) == (3, 3)
    assert done.record_visits_after == pytest.approx(np.mean(costs(store, "record", left)))
    assert done.record_visits_before == before.record_visits < done.record_visits_after


def test_runs_that_have_nothing_to_thin_are_refused(store: Any, tally: Any) -> None:
    with pytest.raises(NotFoundError, match="there is no run run-0"):
        thin(store, "run-0", keep=1)
    tally.register(store)
    training = tally.prepare(store, **DENSE)
    with store.catalogue.read() as session:
        waiting = session.scalars(
            select(tables.Run.id).where(tables.Run.training_id == training)
        ).one()
    with pytest.raises(PlanError, match="has left no checkpoint yet"):
        thin(store, waiting, keep=1)

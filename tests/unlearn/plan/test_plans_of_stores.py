"""Plans over stores with a real history: what they cost, promise, and leave alone."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.training.ensemble import Recipe
from storage.catalogue import tables
from tests.unlearn.plan.costs import assert_costs_what_it_says, kept, newest, planned, requested
from unlearn.plan.model import Plan

pytestmark = pytest.mark.no_cover


def forget(
    lived: Any,
    requests: list[str],
    rows: set[int],
    fenced: set[int],
    support: "Support",
) -> None:
    """Plan and apply; ``rows`` are those of the requests, ``fenced`` those of all so far."""
    reach = support.oracle.truth(lived).reach(rows)
    plan_id, plan = planned(lived, *requests)
    there = kept(lived, "checkpoints")
    assert plan.total_checkpoints == len(there)
    assert all(work.fallback_from is None for work in replays(plan))
    assert set(plan.affected.checkpoints) & there == reach.checkpoints & there
    remade = {t.work.version_id for t in plan.tasks if t.work.kind == "aggregate"}
    remade |= set(plan.task("publish").work.ended)
    assert remade == newest(lived) & reach.versions
    with tempfile.TemporaryDirectory(dir=lived.store.path) as folder:
        again = support.scratch.Scratch(lived, fenced, Path(folder))
        assert plan.full_retrain_visits == again.visits(remade)
    assert plan.visits <= plan.full_retrain_visits
    assert_costs_what_it_says(lived, support.carry_out, plan_id, plan)
    after = support.oracle.truth(lived).reach(rows)
    assert not after.checkpoints & kept(lived, "checkpoints")
    assert not after.fits & kept(lived, "fits")
    assert not after.versions & kept(lived, "model_versions")


@dataclass(frozen=True)
class Support:
    """What these tests stand on."""

    histories: ModuleType
    oracle: ModuleType
    scratch: ModuleType
    carry_out: Any


@pytest.fixture(scope="module")
def support(
    histories: ModuleType, oracle: ModuleType, scratch: ModuleType, carry_out: Any
) -> Support:
    return Support(histories, oracle, scratch, carry_out)


def forget_two(support: Support, history: Any, picks: tuple[int, int], order: str) -> None:
    with support.histories.lived(history) as lived:
        questions = list(lived.questions())
        *first, ours = questions[picks[0] % len(questions)]
        others = [each for each in questions if each[-1] - ours]
        *second, theirs = others[picks[1] % len(others)]
        requests = [requested(lived, *first)]
        if order == "in turn":
            forget(lived, requests, ours, ours, support)
        requests.append(requested(lived, *second))
        if order == "both waiting":
            forget(lived, requests[:1], ours, ours | theirs, support)
        if order == "together":
            forget(lived, requests, ours | theirs, ours | theirs, support)
        else:
            forget(lived, requests[1:], theirs - ours, ours | theirs, support)


PICKS = st.tuples(st.integers(0, 9), st.integers(0, 9))
ORDERS = st.sampled_from(["in turn", "in turn", "both waiting", "together"])


def test_plans_cost_what_they_say_and_leave_nothing_tainted(support: Support) -> None:
    @settings(max_examples=3)
    @given(support.histories.histories(), PICKS, ORDERS)
    def holds(history: Any, picks: tuple[int, int], order: str) -> None:
        forget_two(support, history, picks, order)

    holds()


@pytest.mark.soak
def test_many_plans_cost_what_they_say_and_leave_nothing_tainted(support: Support) -> None:
    def holds(history: Any, picks: tuple[int, int], order: str) -> None:
        forget_two(support, history, picks, order)

    support.histories.soak(6, holds, support.histories.histories(), PICKS, ORDERS)


PEOPLE = 12
ROWS = {
    "a": tuple((n, str(n), (f"p{n % PEOPLE}",)) for n in range(4 * PEOPLE)),
    "b": tuple((1_000 + n, str(n), ("q",)) for n in range(6)),
}
STAGES = Recipe(slices=3, epochs=4, batch_size=8)


def life(support: Support, *trainings: Any) -> Any:
    return support.histories.lived(support.histories.History(ROWS, trainings))


def training(support: Support, recipe: Recipe = STAGES, **rest: Any) -> Any:
    return support.histories.Training("a", recipe, **rest)


def who_reached(lived: Any, support: Support, checkpoints: set[str]) -> Any:
    """Somebody who is in exactly these checkpoints."""
    truth = support.oracle.truth(lived)
    return next(q for q in lived.questions() if truth.reach(q[-1]).checkpoints == checkpoints)


def in_order(lived: Any, run: str) -> list[str]:
    return [
        c for (c,) in lived.sql(f"SELECT id FROM checkpoints WHERE run_id = '{run}' ORDER BY step")
    ]


def damage(lived: Any, checkpoint: str) -> None:
    """Flip a bit of a checkpoint's object."""
    ((name,),) = lived.sql(f"SELECT object FROM checkpoints WHERE id = '{checkpoint}'")
    place = lived.store.objects.root / name[:2] / name[2:]
    data = bytearray(place.read_bytes())
    data[-1] ^= 1
    place.write_bytes(data)


def replays(plan: Plan) -> list[Any]:
    return [task.work for task in plan.tasks if task.work.kind == "replay"]


def test_of_somebody_nobody_trained_on_the_plan_says_so_and_is_done(support: Support) -> None:
    with life(support, training(support, evaluate=("b",))) as lived:
        plan_id, plan = planned(lived, requested(lived, "subject", "q", "people"))
        assert plan.notes == (
            "no recorded run trained on these records: nothing learned from them",
        )
        assert (plan.visits, plan.full_retrain_visits, plan.records) == (0, 0, 6)
        assert [task.id for task in plan.tasks] == ["check", "publish", "purge"]
        assert_costs_what_it_says(lived, support.carry_out, plan_id, plan)
        assert lived.sql("SELECT state FROM requests") == [("done",)]


def test_a_damaged_last_clean_checkpoint_is_named_and_costs_more(support: Support) -> None:
    with life(support, training(support)) as lived:
        (run,) = lived.diary
        first, second, last = in_order(lived, run)
        request = requested(lived, *who_reached(lived, support, {last})[:3])
        _, before = planned(lived, request)
        (replay,) = replays(before)
        assert (replay.restart, replay.fallback_from) == (second, None)
        damage(lived, second)
        plan_id, plan = planned(lived, request)
        (replay,) = replays(plan)
        assert (replay.restart, replay.fallback_from) == (first, second)
        assert before.visits < plan.visits < plan.full_retrain_visits == before.full_retrain_visits
        assert_costs_what_it_says(lived, support.carry_out, plan_id, plan)


def test_a_damaged_clean_member_is_made_again_and_does_not_serve_meanwhile(
    support: Support,
) -> None:
    with life(support, training(support, Recipe(shards=3, epochs=2, batch_size=4))) as lived:
        members = [in_order(lived, run)[-1] for run in lived.diary]
        request = requested(lived, *who_reached(lived, support, {members[0]})[:3])
        damage(lived, members[1])
        plan_id, plan = planned(lived, request)
        assert plan.task("interim-1").work.members == {2: members[2]}
        assert {work.fallback_from for work in replays(plan)} == {None, members[1]}
        assert_costs_what_it_says(lived, support.carry_out, plan_id, plan)


def test_a_probe_does_not_start_from_a_damaged_checkpoint(support: Support) -> None:
    recipe = Recipe(slices=3, epochs=4, batch_size=8, checkpoint_every=1)
    with life(support, training(support, recipe)) as lived:
        truth = support.oracle.truth(lived)
        trained = (each for each in lived.questions() if truth.reach(each[-1]).runs)
        latest = min(trained, key=lambda each: len(truth.reach(each[-1]).checkpoints))
        request = requested(lived, *latest[:3])
        _, before = planned(lived, request)
        probe = before.task("probe-1").work
        ((start,),) = lived.sql(
            "SELECT c.id FROM checkpoints c JOIN segments s ON c.step = s.first_step"
            f" WHERE s.id = '{probe.segment_id}'"
        )
        damage(lived, start)
        plan_id, plan = planned(lived, request)
        assert plan.task("probe-1").work.segment_id != probe.segment_id
        assert_costs_what_it_says(lived, support.carry_out, plan_id, plan)


def test_two_pieces_of_one_run_are_made_again_and_what_lies_between_is_not(
    support: Support,
) -> None:
    """A fine-tune needs a damaged early state, the run itself only its end."""
    short = training(support, Recipe(epochs=1, batch_size=8), model="n", start=0)
    with life(support, training(support), short) as lived:
        run, tune = lived.diary
        first, second, last = in_order(lived, run)
        damage(lived, first)
        tuned = set(in_order(lived, tune))
        late = who_reached(lived, support, {last, *tuned})
        plan_id, plan = planned(lived, requested(lived, *late[:3]))
        pieces = [(work.restart, work.first_step) for work in replays(plan) if work.run_id == run]
        assert {start for start, _ in pieces} == {None, second}
        assert len(replays(plan)) == 3
        assert_costs_what_it_says(lived, support.carry_out, plan_id, plan)


def test_what_another_request_waits_for_is_neither_counted_nor_probed(support: Support) -> None:
    with life(support, training(support)) as lived:
        (run,) = lived.diary
        *late, last = who_reached(lived, support, set(in_order(lived, run)[2:]))
        *early, first = who_reached(lived, support, set(in_order(lived, run)))
        requests = [requested(lived, *late), requested(lived, *early)]
        _, plan = planned(lived, requests[0])
        assert "probe" not in {task.work.kind for task in plan.tasks}
        forget(lived, requests[:1], last, first | last, support)
        forget(lived, requests[1:], first, first | last, support)


def test_rows_made_with_what_another_request_waits_for_are_made_anew_first(
    support: Support,
) -> None:
    """The second request is about rows of an aggregate that the first one's run was given."""
    new = tuple((100 + n, str(100 + n), ("late",)) for n in range(3))
    run = training(support, evaluate=("c",), new=new)
    history = support.histories.History(ROWS, (run,), (("centred", "a", "c"),))
    with support.histories.lived(history) as lived:
        late, first = {100, 101, 102}, {1, 13, 25, 37}
        requests = [requested(lived, "subject", name, "people") for name in ("late", "p1")]
        forget(lived, requests[:1], late, late | first, support)
        forget(lived, requests[1:], first, late | first, support)


def test_only_versions_in_use_are_remade(support: Support) -> None:
    """In use: the newest, and what an alias, a publication or a hold keeps."""
    with life(support, *[training(support, Recipe(epochs=1, batch_size=8))] * 5) as lived:
        aliased, published, held, unused, newest_one = lived.versions
        now, model = lived.store.clock(), lived.sql("SELECT id FROM models")[0][0]
        with lived.store.catalogue.write() as session:
            session.add_all(
                [
                    tables.Alias(model_id=model, alias="x", version_id=aliased, created_at=now),
                    tables.Publication(
                        id="pub-1", version_id=published, recipient="y", created_at=now
                    ),
                    tables.Hold(id="hold-1", artefact_id=held, reason="z", created_at=now),
                ]
            )
        _, plan = planned(lived, requested(lived, "subject", "p1", "people"))
        remade = {t.work.version_id for t in plan.tasks if t.work.kind == "aggregate"}
        assert remade == {aliased, published, held, newest_one}
        assert set(plan.task("purge").work.versions) == {*remade, unused}
        assert plan.claim_possible == "exact-by-provenance"

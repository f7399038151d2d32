"""Plans over stores with a real history: what they cost, promise, and leave alone."""

import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from storage.catalogue import tables
from unlearn.plan.model import Plan
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "0")) / 6
OWN = {"plans", "plan_requests", "leases", "commitments"}


def requested(lived: Any, kind: str, name: str, within: str) -> str:
    request = accept(lived.store, kind, [name], within)
    assert isinstance(request, tables.Request)
    return request.id


def planned(lived: Any, *requests: str) -> tuple[str, Plan]:
    """Plan, and see that nothing but the plan's own rows is new."""
    before = contents(lived)
    plan_id, plan = make_plan(lived.store, requests)
    assert contents(lived) == before
    return plan_id, plan


def contents(lived: Any) -> dict[str, Any]:
    """Every row of every table in which no plan is recorded, every object, every secret."""
    names = {name for (name,) in lived.sql("SELECT name FROM sqlite_master WHERE type = 'table'")}
    found = {name: lived.sql(f"SELECT * FROM {name}") for name in sorted(names - OWN)}
    found["commitments"] = lived.sql("SELECT * FROM commitments WHERE kind != 'plan'")
    for folder in ("objects", "keys"):
        place = lived.store.path / folder
        found[folder] = sorted((p, p.read_bytes()) for p in place.rglob("*") if p.is_file())
    return found


def handed_out(entries: Any) -> int:
    return sum(len(rows) for kind, _, rows in entries if kind == "batch")


def assert_costs_what_it_says(lived: Any, carry_out: Any, plan_id: str, plan: Plan) -> None:
    """Apply a plan; its visits are the rows that its programs were handed."""
    known, probed = set(lived.diary), lived.sql("SELECT id FROM probes")
    results = carry_out(lived, plan_id)
    assert results["check"]["verdict"] == "passed"
    new = {run: handed_out(lived.diary[run]) for run in lived.diary.keys() - known}
    replays = [task for task in plan.tasks if task.work.kind == "replay"]
    for task in replays:
        assert new.pop(results[task.id]["run"]) == task.visits
    assert sum(task.visits for task in replays) == plan.visits
    probes = sum(task.visits for task in plan.tasks if task.work.kind == "probe")
    assert sum(new.values()) == (0 if probed else probes)


def newest(lived: Any) -> set[str]:
    query = (
        "SELECT model_id, id FROM model_versions WHERE purged_at IS NULL ORDER BY place, sequence"
    )
    return set(dict(lived.sql(query)).values())


def kept(lived: Any, table: str) -> set[str]:
    return {each for (each,) in lived.sql(f"SELECT id FROM {table} WHERE purged_at IS NULL")}


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
    assert set(plan.affected.checkpoints) & there == reach.checkpoints & there
    remade = {t.work.version_id for t in plan.tasks if t.work.kind == "aggregate"}
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
    @settings(max_examples=10, phases=[Phase.generate])
    @given(support.histories.histories(), PICKS, ORDERS)
    def holds(history: Any, picks: tuple[int, int], order: str) -> None:
        forget_two(support, history, picks, order)

    holds()


@pytest.mark.soak
def test_many_plans_cost_what_they_say_and_leave_nothing_tainted(support: Support) -> None:
    until = time.monotonic() + SOAK_SECONDS

    @settings(phases=[Phase.generate])
    @given(support.histories.histories(), PICKS, ORDERS)
    def holds(history: Any, picks: tuple[int, int], order: str) -> None:
        if time.monotonic() < until:
            forget_two(support, history, picks, order)

    holds()

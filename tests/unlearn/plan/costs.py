"""Asking for plans over stores with a history, and holding them to what they say they cost."""

from typing import Any

from unlearn.plan.model import Plan
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept

OWN = {"plans", "plan_requests", "leases", "commitments"}


def requested(lived: Any, kind: str, name: str, within: str) -> str:
    request = accept(lived.store, kind, [name], within)
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

"""Training on what groups and joins make, and forgetting somebody: replays against twins."""

from pathlib import Path
from typing import Any

import pytest

from lineage.data.dataset import head
from lineage.data.transform import derive
from lineage.source import load
from lineage.store import Store
from storage import manifests
from tests.unlearn.equality.forgetting import Outcome, forget
from unlearn.audit.evidence import verify_plan

HERE = Path(__file__).parent
CHAINS = {
    "distinct": [("distinct", "people")],
    "largest": [("largest", "people")],
    "packed": [("packed", "people")],
    "with_visits": [("with_visits", "people", "visits")],
    "halved": [("distinct", "people"), ("halved", "distinct")],
}


@pytest.fixture
def made(tally: Any, store: Store, workshop: Any) -> Store:
    """96 rows of 24 people in 12 households, every two of which say the same; and 30 visits."""
    rows = workshop.people()
    for number, row in enumerate(rows):
        row |= {"household": f"house-{number % 24 // 2:02d}", "x": number // 2 / 7 - 3}
    tally.register(store, rows=rows)
    visits = [{**row, "id": f"visit-{row['id']}", "x": row["x"] + 50} for row in rows[:45:2]]
    tally.register(store, "visits", [{**row, "household": "house-99"} for row in visits[:4]])
    tally.register(store, "visits", visits[4:])
    return store


def derived(store: Store, name: str) -> None:
    for output, *inputs in CHAINS[name]:
        derive(store, load(f"households.py:{output}", HERE), inputs, output)


def rows_of(store: Store, name: str) -> dict[str, tuple[list[str], str]]:
    """Record id → whom it is about, and the ids that its text names."""
    version = head(store, name)
    pieces = manifests.read_identified(store.objects, version.chunks, version.present.positions)
    found = {}
    for piece in pieces:
        columns = (piece.records, piece.subjects, piece.batch.column("id"))
        for who, people, text in zip(*(each.to_pylist() for each in columns), strict=True):
            found[who] = (people, text)
    return found


def without(tally: Any, store: Store, name: str, person: str, **recipe: Any) -> Outcome:
    """Train on what a chain makes, forget a person, and have a twin vouch for it."""
    tally.train(store, config={"data": name}, **recipe)
    outcome = forget(store, "subject", [person])
    verified = verify_plan(store, outcome.plan_id, twin=True)
    (twin,) = verified.twins
    assert twin.twin_digest == twin.model_digest
    assert (verified.statement.claim, verified.verdict.value) == ("replay-verified", "passed")
    assert all(person not in people for people, _ in rows_of(store, name).values())
    return outcome


@pytest.mark.parametrize("name", CHAINS)
def test_a_replay_on_what_groups_make_is_its_twin(tally: Any, made: Store, name: str) -> None:
    derived(made, name)
    before = rows_of(made, name)
    assert without(tally, made, name, "person-07").plan.visits > 0
    changed = {who for who, row in rows_of(made, name).items() if before.get(who) != row}
    assert changed or name == "largest"

"""Training on what groups and joins make, and forgetting somebody: replays against twins."""

from pathlib import Path
from typing import Any

import pytest

from lineage.data.dataset import head
from lineage.data.transform import derive
from lineage.schedule import shards_of
from lineage.source import load
from lineage.store import Store
from storage import manifests
from tests.unlearn.equality.forgetting import Outcome, forget
from unlearn.audit.evidence import verify_plan

HERE = Path(__file__).parent
CHAINS = {
    "packed": [("packed", "people")],
    "with_visits": [("with_visits", "people", "visits")],
    "halved": [("distinct", "people"), ("halved", "distinct")],
}


@pytest.fixture
def made(tally: Any, store: Store, workshop: Any) -> Store:
    """96 rows of 24 people in 12 households, where every two people said one thing; and visits."""
    rows = workshop.people()
    for number, row in enumerate(rows):
        said = number // 2 if number < 24 else number
        row |= {"household": f"house-{number % 24 // 2:02d}", "x": said / 7 - 3}
    tally.register(store, rows=rows)
    visits = [{**row, "id": f"visit-{row['id']}", "x": row["x"] + 50} for row in rows[:45:2]]
    tally.register(store, "visits", [{**row, "household": "house-99"} for row in visits[:4]])
    tally.register(store, "visits", visits[4:])
    return store


def derived(store: Store, name: str) -> None:
    for output, *inputs in CHAINS[name]:
        derive(store, load(f"households.py:{output}", HERE), inputs, output)


def rows_of(store: Store, name: str) -> dict[str, tuple[tuple[str, ...], str]]:
    """Record id → whom it is about, and the ids that its text names."""
    version = head(store, name)
    pieces = manifests.read_identified(store.objects, version.chunks, version.present.positions)
    found = {}
    for piece in pieces:
        columns = (piece.records, piece.subjects, piece.batch.column("id"))
        for who, people, text in zip(*(each.to_pylist() for each in columns), strict=True):
            found[who] = (tuple(people), text)
    return found


def without(tally: Any, store: Store, name: str, person: str, **recipe: Any) -> Outcome:
    """Train on what a chain makes, forget a person, and have a twin vouch for it."""
    tally.train(store, config={"data": name}, **recipe)
    return forgotten(store, name, person)


def forgotten(store: Store, name: str, person: str) -> Outcome:
    outcome = forget(store, "subject", [person])
    verified = verify_plan(store, outcome.plan_id, twin=True)
    (twin,) = verified.twins
    assert twin.twin_digest == twin.model_digest
    assert (verified.statement.claim, verified.verdict.value) == ("replay-verified", "passed")
    assert all(person not in people for people, _ in rows_of(store, name).values())
    return outcome


def test_a_replay_on_what_an_outer_join_makes_is_its_twin(tally: Any, made: Store) -> None:
    derived(made, "with_visits")
    before = rows_of(made, "with_visits")
    assert without(tally, made, "with_visits", "person-07").plan.visits > 0
    assert rows_of(made, "with_visits").items() - before.items()


def test_a_shard_that_only_gains_a_row_is_trained_again(tally: Any, made: Store) -> None:
    """Who said the same first is forgotten, and who said it second is of another shard."""
    derived(made, "halved")
    homes = shards_by_person(made)
    before = rows_of(made, "halved")
    both = {who: row for who, row in before.items() if row[1] <= "record-0023"}
    who, person = next(
        (who, person)
        for who, ((person,), _) in sorted(both.items())
        if homes[person] != homes[neighbour(person)]
    )
    outcome = without(tally, made, "halved", person)
    assert rows_of(made, "halved")[who][0] == (neighbour(person),)
    assert len([task for task in outcome.plan.tasks if task.work.kind == "replay"]) == 2
    forgotten(made, "halved", neighbour(person))
    assert who not in rows_of(made, "halved")


def test_a_recorded_order_has_no_step_for_rows_that_are_made_anew(
    tally: Any, made: Store, workshop: Any
) -> None:
    derived(made, "packed")
    without(tally, made, "packed", "person-07", **workshop.RECORDED)


def neighbour(person: str) -> str:
    """Who says the same as a person."""
    return f"person-{int(person[-2:]) ^ 1:02d}"


def shards_by_person(store: Store) -> dict[str, int]:
    version = head(store, "people")
    shards = shards_of(version.present.records.placement, version.salt, 2).tolist()
    people = [each[0][0] for each in rows_of(store, "people").values()]
    return dict(zip(people, shards, strict=True))

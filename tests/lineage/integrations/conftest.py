"""People to train on, and what trainers of any framework are held to."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import torch

import lineage
import unlearn
from lineage.store import Store
from lineage.training.program import load_program
from tests.lineage.integrations.row_loop import RECORDS, Loop


@pytest.fixture
def people(store: Store, workshop: Any, tmp_path: Path) -> list[dict[str, Any]]:
    """Thirty registered records of ten people, as samples."""
    rows = workshop.people(10, 3)
    file = workshop.written(tmp_path / "people.csv", rows)
    lineage.add_dataset(store, "people", file, id_columns=("id",), subject_columns=("person",))
    return [
        {"x": torch.tensor([row["x"]]), "number": number, "id": row["id"]}
        for number, row in enumerate(rows)
    ]


@pytest.fixture
def recorded(store: Store) -> Callable[[Iterable[dict[str, Any]]], dict[str, set[int]]]:
    """What lineage says, without a doubt: the steps of each record that any step learned from."""

    def steps_of(people: Iterable[dict[str, Any]]) -> dict[str, set[int]]:
        answers = {each["id"]: lineage.who_saw(store, "record", each["id"]) for each in people}
        assert all(answer.complete is True and not answer.bounds for answer in answers.values())
        steps = {name: set().union(*answer.steps.values()) for name, answer in answers.items()}
        return {name: found for name, found in steps.items() if found}

    return steps_of


@pytest.fixture
def assert_replays_as_its_twin(
    store: Store, people: list[dict[str, Any]], tmp_path: Path, twin_here: None
) -> Callable[[str], None]:
    """Train a program in its own order, forget a person, and ask a twin for the same bytes."""

    def check(source: str) -> None:
        folder = tmp_path / "programs"
        folder.mkdir()
        (folder / "trained.py").write_text(source)
        program = load_program("trained.py:train", folder)
        config = {"out": str(tmp_path / "out")}
        recipe = lineage.Recipe(
            epochs=3, batch_size=4, checkpoint_every=5, schedule="recorded", config=config
        )
        before = lineage.train(store, program, {"people": "people"}, "m", recipe)
        request = unlearn.accept(store, "subject", ["person-03"])
        plan_id, _ = unlearn.make_plan(store, [request.id])
        unlearn.apply(store, plan_id)
        found = unlearn.verify_plan(store, plan_id, twin=True)
        assert (found.statement.claim, found.verdict) == ("replay-verified", "passed")
        assert found.model_digest == found.twin_digest != before.digest

    return check


@pytest.fixture
def loop(store: Store, tmp_path: Path) -> Loop:
    """A loop over twelve registered rows."""
    file = tmp_path / "rows.csv"
    rows = [f"r{n:02d},{n / 7},{float(n % 2)}" for n in range(RECORDS)]
    file.write_text("\n".join(["rid,x,y", *rows]) + "\n")
    lineage.add_dataset(store, "rows", file, id_columns=("rid",))
    return Loop(store)

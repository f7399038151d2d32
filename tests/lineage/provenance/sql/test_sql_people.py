"""Nobody who is forgotten, or is being forgotten, is found in any view; everybody else is."""

from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from lineage.data.dataset import add
from lineage.provenance.sql import VIEWS
from lineage.training.ensemble import Recipe
from storage.catalogue import tables
from unlearn.request.lifecycle import accept, cancel

GONE = "person-03"
EXPOSED = "SELECT run, step, position FROM exposures ORDER BY ALL"


def everything(ask: Any, store: Any) -> str:
    """All that the views say, as text."""
    return "\n".join(str(ask(store, f"FROM {view.name}")) for view in VIEWS)


def records_of(ask: Any, store: Any, person: str, dataset: str = "%") -> dict[str, int]:
    """The records of a person, and where they are."""
    theirs = f"list_contains(subjects, '{person}') AND dataset LIKE '{dataset}'"
    return dict(ask(store, f"SELECT record, position FROM records WHERE {theirs}"))


@pytest.fixture
def both(trained: Any, tally: Any, workshop: Any) -> Any:
    """A store with a stable run of two shards, and a recorded one, whose files keep positions."""
    tally.train(trained, model="drawn", **workshop.RECORDED)
    return trained


def test_the_records_view_says_who_is_in_the_newest_version(
    trained: Any, tally: Any, workshop: Any, ask: Any
) -> None:
    rows = workshop.people()
    rows += [{"id": "record-0003", "person": "person-99", "x": 0.5}]
    expected = [(n, row["id"], [row["person"]]) for n, row in enumerate(rows) if n != 3]
    file = workshop.written(tally.folder / "more.csv", rows[-1:])
    add(trained, "people", file, update=True)
    columns = "position, record, subjects"
    assert ask(trained, f"SELECT {columns} FROM records ORDER BY position") == expected
    assert ask(trained, "SELECT DISTINCT dataset FROM records") == [("people",)]


def test_who_is_being_forgotten_is_found_nowhere(both: Any, ask: Any) -> None:
    before = ask(both, EXPOSED)
    theirs = records_of(ask, both, GONE)
    assert len(theirs) == 4
    assert all(word in everything(ask, both) for word in (GONE, *theirs))
    request = accept(both, "subject", [GONE])
    said = everything(ask, both)
    assert not [word for word in (GONE, *theirs) if word in said]
    visits = {position for _, _, position in before}
    assert visits.issuperset(theirs.values())
    others = [visit for visit in before if visit[2] not in theirs.values()]
    assert ask(both, EXPOSED) == others
    cancel(both, request.id)
    assert ask(both, EXPOSED) == before
    assert records_of(ask, both, GONE) == theirs


def test_who_was_forgotten_is_found_nowhere_and_their_visits_neither(
    both: Any, ask: Any, apply: Any, workshop: Any
) -> None:
    before = ask(both, EXPOSED)
    theirs = records_of(ask, both, GONE)
    apply(both, accept(both, "subject", [GONE]).id)
    said = everything(ask, both)
    assert not [word for word in (GONE, *theirs) if word in said]
    after = ask(both, EXPOSED)
    assert {visit for visit in after if visit[2] in theirs.values()} == set()
    first = {run for run, *_ in before}
    kept = [visit for visit in before if visit[2] not in theirs.values()]
    assert [visit for visit in after if visit[0] in first] == kept
    replays = {run.id for run in workshop.rows_of(both, tables.Run) if run.replay_of}
    assert {run for run, *_ in after} - first == replays
    (purged,) = ask(both, "SELECT count(*) FROM models WHERE purged_at IS NOT NULL")
    assert purged == (2,)


def test_a_record_that_is_forgotten_leaves_those_of_its_subject(both: Any, ask: Any) -> None:
    theirs = records_of(ask, both, GONE)
    name, position = next(iter(theirs.items()))
    accept(both, "record", [name], "people")
    assert records_of(ask, both, GONE).keys() == theirs.keys() - {name}
    assert name not in everything(ask, both)
    assert ask(both, f"SELECT count(*) FROM exposures WHERE position = {position}") == [(0,)]


def test_what_was_made_of_a_forgotten_record_is_found_nowhere(
    histories: ModuleType, ask: Any
) -> None:
    recipe = Recipe(epochs=2, batch_size=4)
    history = histories.small(recipe)
    made = replace(history.trainings[0], dataset="c")
    with histories.lived(replace(history, trainings=(made,), derived=(histories.HALVED,))) as lived:
        visited = "SELECT DISTINCT position FROM exposures WHERE dataset = 'c'"
        theirs = set(records_of(ask, lived.store, "p1", "c").values())
        before = {position for (position,) in ask(lived.store, visited)}
        assert theirs < before
        accept(lived.store, "subject", ["p1"])
        assert records_of(ask, lived.store, "p1") == {}
        assert {position for (position,) in ask(lived.store, visited)} == before - theirs

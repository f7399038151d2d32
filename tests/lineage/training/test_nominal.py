"""Nominal sizes: frozen once, whatever comes and goes."""

from typing import Any

import pytest

from lineage.data.dataset import head
from lineage.errors import PlacementError
from lineage.schedule import Division, cells, nominal_cells
from lineage.training.nominal import Wanted
from lineage.training.nominal import frozen_cells as frozen_division
from storage.errors import NotFoundError
from unlearn.request.lifecycle import accept


@pytest.fixture
def people(store: Any, tally: Any) -> Any:
    return tally.register(store)


def frozen_cells(
    store: Any, version: Any, shards: int, slices: int, batch_size: int, refreeze: bool
) -> Any:
    """The nominal sizes of a plain division."""
    wanted = Wanted(shards, slices)
    return frozen_division(store, version, wanted, batch_size, refreeze=refreeze).nominal


def test_sizes_are_the_rounded_counts_of_the_first_train(people: Any, store: Any) -> None:
    frozen = frozen_cells(store, people, 2, 2, 8, False)
    assert frozen == nominal_cells(cells(people.present.records, people.salt, Division(2, 2)))
    assert sum(map(sum, frozen)) == 96


def test_sizes_stay_when_records_go_and_when_they_come(people: Any, store: Any, tally: Any) -> None:
    frozen = frozen_cells(store, people, 2, 2, 8, False)
    accept(store, "subject", ["person-00", "person-01"])
    fewer = head(store, "people")
    assert frozen_cells(store, fewer, 2, 2, 8, False) == frozen
    more = [{"id": f"new-{n}", "person": f"new-{n}", "x": 0.0} for n in range(30)]
    assert frozen_cells(store, tally.register(store, rows=more), 2, 2, 8, False) == frozen


def test_each_division_is_frozen_for_itself(people: Any, store: Any) -> None:
    assert frozen_cells(store, people, 1, 1, 8, False) == ((96,),)
    assert frozen_cells(store, people, 2, 1, 8, False) == ((60,), (36,))


def test_a_dataset_that_outgrew_its_sizes_is_refused_until_they_are_frozen_anew(
    people: Any, store: Any, tally: Any
) -> None:
    frozen_cells(store, people, 1, 1, 8, False)
    more = [{"id": f"new-{n}", "person": f"new-{n}", "x": 0.0} for n in range(200)]
    grown = tally.register(store, rows=more)
    with pytest.raises(PlacementError, match="sizes frozen on 2026-11-02") as refused:
        frozen_cells(store, grown, 1, 1, 8, False)
    assert "--refreeze" in refused.value.hint
    assert frozen_cells(store, grown, 1, 1, 8, True) == ((300,),)
    assert frozen_cells(store, grown, 1, 1, 8, False) == ((300,),)


def test_a_division_that_is_too_uneven_is_refused_and_not_frozen(people: Any, store: Any) -> None:
    with pytest.raises(PlacementError, match="cell"):
        frozen_cells(store, people, 12, 4, 8, False)
    with pytest.raises(PlacementError) as again:
        frozen_cells(store, people, 12, 4, 8, False)
    assert "frozen" not in again.value.message


def risky(tally: Any, store: Any, workshop: Any, risk: Any) -> Any:
    """People with a risk, as a function of the row number says."""
    rows = [{**row, "risk": risk(number)} for number, row in enumerate(workshop.people(), 1)]
    return tally.register(store, rows=rows)


@pytest.mark.parametrize(
    ("risk", "said"),
    [
        (lambda row: 1.5 if row == 7 else 0.5, "no probability in row 7$"),
        (lambda row: -0.1 if row < 6 else 0.5, "no probability in rows 1, 2, 3 and 2 more$"),
        (lambda row: "" if row == 9 else 0.5, "no probability in row 9$"),
        (lambda row: 0.2 if row == 25 else 0.5, "one subject: see row 25$"),
        (lambda row: "often" if row % 2 else "seldom", "holds no numbers"),
    ],
)
def test_a_column_that_is_no_risk_is_refused_by_row_numbers(
    store: Any, tally: Any, workshop: Any, risk: Any, said: str
) -> None:
    people = risky(tally, store, workshop, risk)
    with pytest.raises(PlacementError, match=said) as refused:
        frozen_division(store, people, Wanted(2, 2, risk="risk"), 8)
    assert "person-" not in refused.value.message


def test_a_column_of_risks_that_is_not_there_is_not_found(people: Any, store: Any) -> None:
    with pytest.raises(NotFoundError, match="no column 'risk'"):
        frozen_division(store, people, Wanted(2, 2, risk="risk"), 8)


def test_thresholds_are_frozen_with_the_sizes_and_apart_for_every_form(
    store: Any, tally: Any, workshop: Any
) -> None:
    people = risky(tally, store, workshop, lambda row: (row - 1) % 24 / 40)
    first = frozen_division(store, people, Wanted(2, 2, risk="risk"), 8)
    assert first.division.risk is not None
    assert first.division.risk.thresholds[:3] == (0.025, 0.05, 0.075)
    assert first.division.risk.records == (4,) * 24
    assert first.nominal == ((24, 24), (24, 24))
    given = frozen_division(store, people, Wanted(2, 2, None, "risk", (0.5,)), 8)
    assert given.division.risk is not None
    assert given.division.risk.records == (80, 16)
    shared = frozen_division(store, people, Wanted(2, 2, (1, 2)), 8)
    assert shared.division.risk is None
    accept(store, "subject", ["person-23"])
    again = frozen_division(store, head(store, "people"), Wanted(2, 2, risk="risk"), 8)
    assert again == first


def test_a_division_by_risk_that_is_too_uneven_is_refused_with_one_that_is_not(
    store: Any, tally: Any, workshop: Any
) -> None:
    people = risky(tally, store, workshop, lambda row: (row - 1) % 24 / 40)
    with pytest.raises(PlacementError, match="cells are empty") as refused:
        frozen_division(store, people, Wanted(20, 2, risk="risk"), 4)
    fields = refused.value.fields
    frozen_division(store, people, Wanted(fields["shards"], fields["slices"], risk="risk"), 4)

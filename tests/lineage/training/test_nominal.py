"""Nominal sizes: frozen once, whatever comes and goes."""

from typing import Any

import pytest

from lineage.data.dataset import head
from lineage.errors import PlacementError
from lineage.schedule import cells, nominal_cells
from lineage.training.nominal import frozen_cells
from unlearn.request.lifecycle import accept


@pytest.fixture
def people(store: Any, tally: Any) -> Any:
    return tally.register(store)


def test_sizes_are_the_rounded_counts_of_the_first_train(people: Any, store: Any) -> None:
    frozen = frozen_cells(store, people, 2, 2, 8, False)
    assert frozen == nominal_cells(cells(people.present.records.placement, people.salt, 2, 2))
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

"""Forgetting under a program that scales by moments: subtracted, and equal to its twin."""

from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from lineage import Moments
from lineage.data.dataset import head
from lineage.training.fits import seen, value_of
from lineage.training.specification import RunSpec
from lineage.training.state import digest
from storage.catalogue import tables
from unlearn.dispatch.drive import apply
from unlearn.dispatch.worker import Options
from unlearn.plan.planner import make_plan
from unlearn.request.lifecycle import accept


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[list[float]]:
    """The values that moments are taken of in this process, call by call; the twin has its own."""
    calls: list[list[float]] = []
    measure = Moments.__call__

    def noted(moments: Moments, columns: Any) -> Moments:
        calls.append(sorted(columns["x"].tolist()))
        return measure(moments, columns)

    monkeypatch.setattr(Moments, "__call__", noted)
    return calls


def values_of(rows: list[dict[str, Any]], person: str) -> list[float]:
    return sorted(float(row["x"]) for row in rows if row["person"] == person)


def forget(store: Any, person: str, *, twin: bool = False) -> dict[str, Any]:
    request = accept(store, "subject", [person])
    return apply(store, make_plan(store, [request.id])[0], options=Options(twin=twin))


def assert_fitted_on_what_is_left(workshop: Any, store: Any) -> None:
    """Both shards' moments are, value and bytes, those of the rows that they have now."""
    data = head(store, "people")
    left = [fit for fit in workshop.rows_of(store, tables.Fit) if fit.purged_at is None]
    assert len(left) == 2
    for fit in left:
        (run,) = workshop.rows_of(store, tables.Run, id=fit.run_id)
        rows = seen(data, RunSpec.model_validate(run.specification))
        again = Moments.of("x")({"x": data.column("x")[rows]})
        assert value_of(store, fit) == again
        assert fit.digest == digest({"fitted": again})


def test_the_forgotten_alone_are_measured_again_and_the_twin_agrees(
    workshop: Any, store: Any, tally: Any, measured: list[list[float]]
) -> None:
    people = workshop.people()
    tally.register(store, rows=people)
    tally.train(store, config={"fit": "moments"})
    assert sum(map(len, measured)) == len(people)
    for person, twin in (("person-07", False), ("person-11", True)):
        measured.clear()
        outcome = forget(store, person, twin=twin)
        assert measured == [values_of(people, person), []]
    (compared,) = outcome["check"]["twins"]
    assert compared["twin_digest"] == compared["model_digest"]
    assert outcome["check"]["claim"]["claim"] == "replay-verified"
    assert outcome["check"]["verdict"] == "passed"
    assert_fitted_on_what_is_left(workshop, store)


def test_what_was_fitted_is_fitted_again_where_it_was_purged(
    workshop: Any, store: Any, tally: Any, measured: list[list[float]]
) -> None:
    tally.register(store)
    tally.train(store, config={"fit": "moments"})
    with store.catalogue.write() as session:
        session.execute(update(tables.Fit).values(purged_at=store.clock()))
    measured.clear()
    forget(store, "person-07")
    (refitted,) = measured
    assert len(refitted) > workshop.PEOPLE
    assert not set(refitted) & set(values_of(workshop.people(), "person-07"))
    (fit,) = (each for each in workshop.rows_of(store, tables.Fit) if each.purged_at is None)
    assert value_of(store, fit) == Moments.of("x")({"x": np.array(refitted)})

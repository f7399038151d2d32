"""Plans over stores where models made what other models learned: in order, and as if never."""

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lineage.data.dataset import head
from tests.unlearn.plan.costs import assert_costs_what_it_says, kept, planned, requested
from unlearn.audit.evidence import verify_plan
from unlearn.claim import Verdict

pytestmark = pytest.mark.no_cover

AGGREGATE = 9_000
"""Row ``n`` becomes ``first + n % AGGREGATE``, each time with another first."""

PICKS = st.tuples(st.integers(0, 9), st.integers(0, 9))


def forget_in_a_school(
    histories: ModuleType, oracle: ModuleType, carry_out: Any, history: Any, picks: tuple[int, int]
) -> None:
    """Forget two in turn where models make what others learn: as told, and as if never."""
    with histories.lived(history) as lived:
        gone: set[int] = set()
        for pick in picks:
            left = [each for each in lived.questions() if not each[-1] <= gone]
            *question, rows = left[pick % len(left)]
            plan_id, plan = planned(lived, requested(lived, *question))
            assert plan.visits <= plan.full_retrain_visits
            assert_costs_what_it_says(lived, carry_out, plan_id, plan)
            after = oracle.truth(lived).reach(rows)
            assert not after.checkpoints & kept(lived, "checkpoints")
            assert not after.versions & kept(lived, "model_versions")
            assert all(lived.lessons[first] & kept(lived, "checkpoints") for first in heard(lived))
            found = verify_plan(lived.store, plan_id, twin=True)
            assert found.verdict == Verdict.PASSED
            assert all(twin.equal for twin in found.twins)
            lived.take()
            gone |= rows


def heard(lived: Any) -> set[int]:
    """The first numbers of what models made, as far as it is there to be trained on."""
    numbers: set[int] = set()
    for (name,) in lived.sql("SELECT name FROM datasets WHERE name LIKE '%-taught'"):
        version = head(lived.store, name)
        numbers.update(version.column("id")[version.present.positions].tolist())
    return {number - number % AGGREGATE for number in numbers}


@pytest.mark.usefixtures("twin_here")
def test_what_models_made_is_made_anew_before_what_learned_it(
    histories: ModuleType, oracle: ModuleType, carry_out: Any
) -> None:
    @settings(max_examples=2)
    @given(histories.schools(), PICKS)
    def holds(history: Any, picks: tuple[int, int]) -> None:
        forget_in_a_school(histories, oracle, carry_out, history, picks)

    holds()


@pytest.mark.soak
@pytest.mark.usefixtures("twin_here")
def test_plans_of_many_schools(histories: ModuleType, oracle: ModuleType, carry_out: Any) -> None:
    def holds(history: Any, picks: tuple[int, int]) -> None:
        forget_in_a_school(histories, oracle, carry_out, history, picks)

    histories.soak(6, holds, histories.schools(), PICKS)

"""Forgetting in ensembles of every kind: what is left of one is the one trained without it."""

from typing import Any

import pytest

from lineage.training.aggregation import Aggregation, model_digest
from storage.catalogue import tables
from tests.unlearn.equality.forgetting import TWIN, Outcome, forget

pytestmark = pytest.mark.usefixtures("twin_here")


def assert_equals_its_twin(outcome: Outcome) -> None:
    """Every replacement is, to the bit, the version that was trained anew without the forgotten."""
    check = outcome.results["check"]
    assert (check["claim"]["claim"], check["verdict"]) == ("replay-verified", "passed")
    assert check["twins"]
    assert all(twin["twin_digest"] == twin["model_digest"] for twin in check["twins"])


@pytest.mark.parametrize("how", [Aggregation.VOTE, Aggregation.WEIGHTED_MEAN])
def test_what_replaces_a_version_aggregates_as_it_did(
    store: Any, tally: Any, workshop: Any, how: Aggregation
) -> None:
    tally.register(store)
    before = tally.train(store, aggregation=how)
    outcome = forget(store, "subject", ["person-05"], TWIN)
    assert_equals_its_twin(outcome)
    versions = workshop.rows_of(store, tables.ModelVersion)
    interim, after = versions = [each for each in versions if each.id != before.id]
    if after.interim:
        interim, after = after, interim
    assert [each.aggregation for each in versions] == [how, how]
    members = workshop.rows_of(store, tables.ModelMember, version_id=interim.id)
    ((kept,),) = [
        workshop.rows_of(store, tables.Checkpoint, id=each.checkpoint_id) for each in members
    ]
    weight = {0: 60, 1: 36}[members[0].shard]
    assert interim.digest == model_digest(how, [kept.digest], (weight,))
    assert after.digest == outcome.results["aggregate-1"]["digest"]
    assert after.digest != before.digest

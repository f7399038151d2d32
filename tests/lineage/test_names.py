"""Names that nobody could ask for, or that would be taken for ids."""

from typing import Any

import pytest

from lineage.names import check_new
from lineage.training import registry
from storage.errors import InvalidInputError


@pytest.mark.parametrize("name", ["speech", "run-time", "mv-2", "été", "run-0123456789a"])
def test_a_name_is_free_but_for_ids(name: str) -> None:
    check_new(name, "model")


@pytest.mark.parametrize("name", ["", " \t", "mv-0123456789", "ckpt-abcdefabcd"])
def test_a_name_that_is_blank_or_an_id_is_refused(name: str) -> None:
    with pytest.raises(InvalidInputError, match="of the model"):
        check_new(name, "model")


def test_nothing_is_named_so(store: Any, tally: Any, workshop: Any) -> None:
    with pytest.raises(InvalidInputError, match="name of the dataset is blank"):
        tally.register(store, " ")
    tally.register(store)
    with pytest.raises(InvalidInputError, match="looks like an id"):
        tally.train(store, "mv-0123456789", shards=1)
    made = tally.train(store, shards=1)
    with pytest.raises(InvalidInputError, match="looks like an id"):
        registry.promote(store, made.id, made.id)
    with pytest.raises(InvalidInputError, match="the recipient is blank"):
        registry.publish(store, made.id, "")
    with pytest.raises(InvalidInputError, match="the reason of the hold is blank"):
        registry.hold(store, made.id, " ")

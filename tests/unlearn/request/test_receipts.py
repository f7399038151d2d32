"""Receipts: a request for each person of a batch, one for records, all or none."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import update

from lineage.data.dataset import add
from storage.catalogue import tables
from tests.unlearn.request.registered import PAIRS, positions, present
from unlearn.errors import RequestError
from unlearn.request import lifecycle
from unlearn.request.accepted import Receipt
from unlearn.request.lifecycle import accept, cancel
from unlearn.request.reading import forget_sets


def test_every_person_has_a_request_of_their_own(people: Any, store: Any, workshop: Any) -> None:
    receipt = accept(store, "subject", ["Cornelius", "Annabella", "Cornelius"])
    cornelius, annabella = receipt.requests
    assert positions(store, receipt) == {people.dataset.id: {0, 2, 3}}
    assert positions(store, cornelius) == {people.dataset.id: {3}}
    assert positions(store, annabella) == {people.dataset.id: {0, 2}}
    assert present(store) == [1]
    assert accept(store, "subject", ["Cornelius", "Annabella"]) == receipt
    assert accept(store, "subject", "Annabella").requests == (annabella,)
    assert len(workshop.rows_of(store, tables.Request)) == 2
    cancel(store, cornelius.request_id)
    assert present(store) == [1, 3]


def test_a_batch_of_people_makes_one_version_of_each_dataset(
    people: Any, store: Any, workshop: Any
) -> None:
    before = len(workshop.rows_of(store, tables.DatasetVersion))
    accept(store, "subject", ["Annabella", "Bartholomew", "Cornelius"])
    versions = workshop.rows_of(store, tables.DatasetVersion)
    assert len(versions) == before + 1
    assert max(versions, key=lambda each: each.sequence).reason == "3 requests"
    assert present(store) == []


def test_the_id_of_a_receipt_with_several_requests_is_refused(people: Any, store: Any) -> None:
    receipt = accept(store, "subject", ["Annabella", "Cornelius"])
    with pytest.raises(RequestError, match="this receipt has 2 requests"):
        _ = receipt.request_id
    assert receipt.state == "open"
    assert receipt.due_at == receipt.requests[0].due_at


def test_nothing_is_accepted_if_one_person_of_a_batch_cannot_be(
    people: Any, store: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_fence = lifecycle._raise_fence

    def once(*arguments: Any) -> None:
        monkeypatch.setattr(lifecycle, "_raise_fence", full)
        raise_fence(*arguments)

    def full(*_arguments: Any) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(lifecycle, "_raise_fence", once)
    with pytest.raises(OSError, match="the disk is full"):
        accept(store, "subject", ["Annabella", "Cornelius"])
    assert present(store) == [0, 1, 2, 3]
    assert workshop.rows_of(store, tables.Request) == []


def test_an_empty_request_is_refused(people: Any, store: Any) -> None:
    with pytest.raises(RequestError, match="names no subject"):
        accept(store, "subject", [])


def test_records_that_earlier_requests_cover_are_left_to_these(people: Any, store: Any) -> None:
    first, second = accept(store, "record", ["a1"]), accept(store, "record", ["c1"])
    all_of_them = accept(store, "record", ["a1", "b1", "c1", "a2"])
    assert {first.id, second.id} < set(all_of_them.request_ids)
    (new,) = set(all_of_them.request_ids) - {first.id, second.id}
    with store.catalogue.read() as session:
        assert set(forget_sets(session, [new])[people.dataset.id]) == {1, 2}


def test_a_batch_with_somebody_erased_is_open_while_another_waits(people: Any, store: Any) -> None:
    first = accept(store, "record", ["a1"])
    with store.catalogue.write() as session:
        session.execute(update(tables.Request).values(state="done", closed_at=store.clock()))
    second = accept(store, "record", ["c1"])
    both = accept(store, "record", ["c1", "a1"])
    assert both.request_ids == (second.id, first.id)
    assert (both.state, both.open_ids) == ("open", (second.id,))


@settings(max_examples=25)
@given(data=st.data())
def test_the_head_is_what_no_open_request_names(
    workshop: Any, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("history")
    with workshop.Store.create(folder / "store", workshop.Clock()) as store:
        rows = [{"id": record, "person": person} for record, person in PAIRS]
        columns = {"id_columns": ("id",), "subject_columns": ("person",)}
        add(store, "people", workshop.written(folder / "people.csv", rows), **columns)
        accepted: dict[str, set[str]] = {}
        for _ in range(data.draw(st.integers(1, 5))):
            if accepted and data.draw(st.booleans()):
                request_id = data.draw(st.sampled_from(sorted(accepted)))
                cancel(store, request_id)
                del accepted[request_id]
            else:
                column = data.draw(st.sampled_from([0, 1]))
                known = st.sampled_from(sorted({pair[column] for pair in PAIRS}))
                names = data.draw(st.lists(known, min_size=1, max_size=3))
                receipt = accept(store, ("record", "subject")[column], names)
                _expect(accepted, receipt, names, alone=column == 1)
            gone = set().union(*accepted.values())
            kept = [n for n, pair in enumerate(PAIRS) if not gone.intersection(pair)]
            assert present(store) == kept


def _expect(accepted: dict[str, set[str]], receipt: Receipt, names: list[str], alone: bool) -> None:
    """Note which request covers which names; ``alone``, each name has its own."""
    covering = {name: each for each, those in accepted.items() for name in those}
    new = [name for name in dict.fromkeys(names) if name not in covering]
    together = [{name} for name in new] if alone else [{*new}] if new else []
    made = [each for each in receipt.request_ids if each not in accepted]
    assert {*receipt.request_ids} - {*made} == {covering[n] for n in names if n in covering}
    accepted |= dict(zip(made, together, strict=True))

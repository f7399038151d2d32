"""Requests: one for the same people, under a pseudonym, and gone without a trace when cancelled."""

from datetime import UTC, datetime
from typing import Any

import pytest
from pyroaring import BitMap
from sqlalchemy import update

from lineage.data.dataset import head
from lineage.provenance.query import who_saw
from storage.catalogue import tables
from storage.errors import NotFoundError
from tests.unlearn.request.registered import PAIRS, positions, present
from unlearn.erase import erase_rows
from unlearn.errors import RequestError
from unlearn.request import lifecycle
from unlearn.request.accepted import Accepted
from unlearn.request.lifecycle import accept, cancel
from unlearn.request.reading import forget_sets, open_requests


def test_a_request_takes_its_rows_from_the_head_and_keeps_their_positions(
    people: Any, store: Any
) -> None:
    request = accept(store, "subject", ["Annabella"])
    assert request.state == "open"
    assert present(store) == [1, 3]
    assert positions(store, request) == {people.dataset.id: {0, 2}}
    assert people.present.positions.tolist() == [0, 1, 2, 3]


def test_the_same_request_twice_is_one_whatever_the_order_of_its_ids(
    people: Any, store: Any, workshop: Any
) -> None:
    first = accept(store, "record", ["a1", "c1"])
    again = accept(store, "record", ["c1", "a1", "c1"])
    assert again == first
    assert len(workshop.rows_of(store, tables.Request)) == 1
    assert accept(store, "record", ["c1"]).id == first.id


def test_ids_that_an_earlier_request_covers_are_left_to_it(people: Any, store: Any) -> None:
    first = accept(store, "subject", ["Annabella"])
    both = accept(store, "subject", ["Annabella", "Cornelius"])
    assert both.requests[0] == first.only
    assert positions(store, both.requests[1]) == {people.dataset.id: {3}}


def test_a_record_and_its_subject_can_be_asked_for_apart(people: Any, store: Any) -> None:
    record = accept(store, "record", ["a1"])
    subject = accept(store, "subject", ["Annabella"])
    assert positions(store, record) == {people.dataset.id: {0}}
    assert positions(store, subject) == {people.dataset.id: {0, 2}}
    assert positions(store, record, subject) == {people.dataset.id: {0, 2}}


def test_unknown_ids_are_named_by_number_and_nothing_is_accepted(people: Any, store: Any) -> None:
    before = (store.path / "catalogue.db").read_bytes()
    with pytest.raises(NotFoundError, match="no dataset has 2 of these 3 subjects") as refused:
        accept(store, "subject", ["Nobody", "Cornelius", "Nemo"])
    assert "(number 1, 3)" in refused.value.message
    assert refused.value.fields["numbers"] == [1, 3]
    assert not {"Nobody", "Nemo"} & set(str(refused.value).replace(",", " ").split())
    assert (store.path / "catalogue.db").read_bytes() == before


def test_what_was_erased_is_answered_with_request_and_date(people: Any, store: Any) -> None:
    request = accept(store, "subject", ["Cornelius"])
    closed = datetime(2026, 11, 9, tzinfo=UTC)
    with store.catalogue.write() as session:
        session.execute(update(tables.Request).values(state="done", closed_at=closed))
    assert accept(store, "subject", ["Cornelius"]).only == Accepted(request.id, "done", closed)


def test_an_erased_namesake_does_not_cover_somebody_who_is_still_there(
    register: Any, people: Any, store: Any
) -> None:
    first = accept(store, "subject", ["Annabella"])
    erase_rows(store, {people.dataset.id: BitMap([0, 2])}, "plan-1")
    with store.catalogue.write() as session:
        session.execute(update(tables.Request).values(state="done", closed_at=store.clock()))
    scans = register("scans", [("s1", "Annabella")], namespace="patients")
    assert who_saw(store, "subject", "Annabella").state == "not-trained"
    second = accept(store, "subject", ["Annabella"])
    assert second.id != first.id
    assert positions(store, second) == {scans.dataset.id: {0}}


def test_cancelling_brings_the_rows_back_and_lifts_the_fence(people: Any, store: Any) -> None:
    request = accept(store, "subject", ["Annabella"])
    cancel(store, request.id)
    assert present(store) == [0, 1, 2, 3]
    assert head(store, "people").id == people.id
    again = accept(store, "subject", ["Annabella"])
    assert again.id != request.id
    assert present(store) == [1, 3]


def test_cancelling_brings_back_only_what_no_other_request_names(people: Any, store: Any) -> None:
    record = accept(store, "record", ["a1"])
    subject = accept(store, "subject", ["Annabella"])
    cancel(store, subject.id)
    assert present(store) == [1, 2, 3]
    cancel(store, record.id)
    assert present(store) == [0, 1, 2, 3]


def test_cancelling_keeps_rows_that_came_meanwhile(people: Any, register: Any, store: Any) -> None:
    request = accept(store, "subject", ["Annabella"])
    register("people", [("d1", "Dorothea")])
    cancel(store, request.id)
    assert present(store) == [0, 1, 2, 3, 4]


def test_cancelling_does_not_bring_back_a_row_that_was_replaced_before(
    people: Any, register: Any, store: Any
) -> None:
    register("people", [("a1", "Annabella")], update=True)
    assert present(store) == [1, 2, 3, 4]
    cancel(store, accept(store, "subject", ["Annabella"]).id)
    assert present(store) == [1, 2, 3, 4]


def test_cancelling_does_not_bring_back_a_row_that_was_replaced_meanwhile(
    people: Any, register: Any, store: Any
) -> None:
    request = accept(store, "subject", ["Annabella"])
    register("people", [("a1", "Dorothea")])
    cancel(store, request.id)
    assert present(store) == [1, 2, 3, 4]


@pytest.mark.parametrize("state", ["applying", "failed"])
def test_a_request_that_is_being_carried_out_cannot_be_cancelled(
    people: Any, store: Any, state: str
) -> None:
    request = accept(store, "subject", ["Annabella"])
    with store.catalogue.write() as session:
        plan = {"graph_revision": 0, "body": {}, "digest": "", "fence": 0}
        session.add(tables.Plan(id="plan-1", state=state, created_at=store.clock(), **plan))
        session.flush()
        session.add(tables.PlanRequest(plan_id="plan-1", request_id=request.id))
    with pytest.raises(RequestError, match="plan-1") as refused:
        cancel(store, request.id)
    assert "expunge apply plan-1" in refused.value.hint
    assert present(store) == [1, 3]


def test_a_request_that_is_over_can_be_neither_cancelled_nor_planned(
    people: Any, store: Any
) -> None:
    request = accept(store, "subject", ["Annabella"])
    cancel(store, request.id)
    with store.catalogue.read() as session, pytest.raises(RequestError, match="is cancelled"):
        open_requests(session, [request.id])
    with pytest.raises(RequestError, match="is cancelled"):
        cancel(store, request.id)
    with pytest.raises(NotFoundError, match="req-0"):
        cancel(store, "req-0")


def in_between(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    """Let something happen once, after ids were looked up and before the request is written."""
    closure = lifecycle.closure

    def then_closure(*arguments: Any) -> Any:
        monkeypatch.setattr(lifecycle, "closure", closure)
        happens()
        return closure(*arguments)

    monkeypatch.setattr(lifecycle, "closure", then_closure)


def test_rows_added_while_a_request_is_taken_are_part_of_it(
    people: Any, register: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_between(monkeypatch, lambda: register("people", [("a3", "Annabella")]))
    request = accept(store, "subject", ["Annabella"])
    assert positions(store, request) == {people.dataset.id: {0, 2, 4}}
    assert present(store) == [1, 3]


def test_two_processes_that_take_the_same_request_make_one(
    people: Any, store: Any, workshop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    other: list[Any] = []
    in_between(monkeypatch, lambda: other.append(accept(store, "subject", ["Annabella"])))
    request = accept(store, "subject", ["Annabella"])
    assert [each.id for each in other] == [request.id]
    assert len(workshop.rows_of(store, tables.Request)) == 1


def test_no_id_of_a_person_is_in_the_catalogue_at_any_time(
    people: Any, register: Any, store: Any
) -> None:
    names = {text.encode() for pair in PAIRS for text in pair if len(text) > 2}

    def check() -> None:
        data = (store.path / "catalogue.db").read_bytes()
        assert not [name for name in names if name in data]

    check()
    receipt = accept(store, "subject", ["Annabella", "Bartholomew"])
    check()
    for request in receipt.request_ids:
        cancel(store, request)
    accept(store, "subject", ["Cornelius"])
    register("people", [("d1", "Dorothea")])
    check()


def test_pseudonyms_of_one_person_in_two_requests_are_not_linked(
    people: Any, store: Any, workshop: Any
) -> None:
    cancel(store, accept(store, "subject", ["Annabella"]).id)
    accept(store, "subject", ["Annabella"])
    first, second = workshop.rows_of(store, tables.RequestTarget)
    assert first.pseudonym != second.pseudonym
    assert {first.kind, second.kind} == {"subject"}


def test_forget_sets_of_no_requests_are_empty(people: Any, store: Any) -> None:
    with store.catalogue.read() as session:
        assert forget_sets(session, []) == {}
        assert open_requests(session, []) == []
    assert BitMap(present(store)) == BitMap(range(4))


def test_a_kind_that_there_is_not_is_refused_in_words(store: Any) -> None:
    with pytest.raises(RequestError, match="names subjects or records, and not 'person'"):
        accept(store, "person", ["Cornelius"])

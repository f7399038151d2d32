"""From ids to positions, and what is said of ids that were erased."""

from itertools import product
from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from lineage.data.dataset import add, find_dataset
from lineage.data.identity import Erased, erasures, identify, resolve
from lineage.errors import AmbiguousIdError, UnknownIdError
from storage.errors import NotFoundError
from unlearn.erase import erase_rows
from unlearn.request.lifecycle import accept, cancel


@pytest.fixture
def register(workshop: Any, store: Any, tmp_path: Path) -> Any:
    """Adds (id, person) pairs to a dataset of a namespace; returns the dataset's id."""

    def added(name: str, namespace: str, *pairs: tuple[str, str], update: bool = False) -> str:
        rows = [{"id": record, "person": person} for record, person in pairs]
        path = workshop.written(tmp_path / f"{name}.csv", rows)
        columns = {"id_columns": ("id",), "subject_columns": ("person",)}
        texts = {"text_columns": ("id", "person")}
        version = add(store, name, path, namespace=namespace, update=update, **columns, **texts)
        return version.dataset.id

    return added


def erasure(store: Any, kind: str, name: str, within: str | None) -> Erased | None:
    return erasures(store, kind, [name], within).get(name)


def test_a_subject_is_found_in_every_dataset_of_its_namespace(register: Any, store: Any) -> None:
    first = register("voices", "people", ("1", "Ann"), ("2", "Bob"), ("3", "Ann"))
    second = register("faces", "people", ("1", "Cid"), ("2", "Ann"))
    found = resolve(store, "subject", ["Ann", "Bob", "Zoe"], None)
    assert found == {
        "Ann": {first: BitMap([0, 2]), second: BitMap([1])},
        "Bob": {first: BitMap([1])},
        "Zoe": {},
    }


def test_a_subject_of_two_namespaces_may_be_two_people_and_must_be_told_apart(
    register: Any, store: Any
) -> None:
    here = register("voices", "people", ("1", "Ann"))
    register("scans", "patients", ("1", "Ann"), ("2", "Bob"))
    with pytest.raises(AmbiguousIdError, match="several namespaces: patients, people") as refused:
        resolve(store, "subject", ["Ann", "Bob"], None)
    assert "1 of these 2 subjects (number 1) is in" in refused.value.message
    assert refused.value.fields["numbers"] == [1]
    assert "--namespace" in refused.value.hint
    assert "Ann" not in str(refused.value)
    assert resolve(store, "subject", ["Ann"], "people") == {"Ann": {here: BitMap([0])}}
    assert list(resolve(store, "subject", ["Bob"], None)["Bob"].values()) == [BitMap([1])]


def test_a_record_of_two_datasets_must_be_told_apart(register: Any, store: Any) -> None:
    register("voices", "people", ("1", "Ann"))
    there = register("faces", "people", ("1", "Bob"))
    with pytest.raises(AmbiguousIdError, match="several datasets: faces, voices") as refused:
        resolve(store, "record", ["1"], None)
    assert "--dataset" in refused.value.hint
    assert resolve(store, "record", ["1"], "faces") == {"1": {there: BitMap([0])}}


def test_several_ids_are_found_together_and_the_erased_among_them_are_told_apart(
    register: Any, store: Any
) -> None:
    voices = register("voices", "people", ("1", "Ann"), ("2", "Bob"), ("3", "Cid"), ("4", "Ann"))
    faces = register("faces", "people", ("1", "Bob"))
    request = accept(store, "subject", ["Cid"])
    erase_rows(store, {voices: BitMap([2])}, "plan-1")
    found = identify(store, "subject", ["Bob", "Cid", "Ann", "Bob"])
    assert found.positions == {voices: BitMap([0, 1, 3]), faces: BitMap([0])}
    (cid,) = found.erased["Cid"]
    assert (cid.request_id, found.erasures) == (request.id, (cid,))


def test_an_id_that_is_gone_from_one_scope_is_told_beside_its_rows_in_another(
    register: Any, store: Any
) -> None:
    requests = []
    for name in ("voices", "faces"):
        gone = register(name, name, ("1", "Ann"), ("2", "Bob"))
        requests.append(accept(store, "subject", ["Ann"], name).id)
        erase_rows(store, {gone: BitMap([0])}, f"plan-{name}")
    there = register("scans", "patients", ("1", "Ann"))
    found = identify(store, "subject", ["Ann"])
    assert found.positions == {there: BitMap([0])}
    assert [each.request_id for each in found.erased["Ann"]] == requests
    assert identify(store, "subject", ["Ann"], "patients").erasures == ()
    accept(store, "subject", ["Ann"], "patients")
    assert [each.request_id for each in identify(store, "subject", ["Ann"]).erasures] == requests


WAYS = ("absent", "there", "asked", "erased")


@pytest.mark.parametrize("ways", [each for each in product(WAYS, WAYS) if {*each} != {"absent"}])
def test_each_scope_answers_for_itself(register: Any, store: Any, ways: tuple[str, str]) -> None:
    requests = {}
    for name, way in zip(("voices", "faces"), ways, strict=True):
        people = [("1", "Bob")] if way == "absent" else [("1", "Bob"), ("2", "Ann")]
        dataset = register(name, name, *people)
        if way in ("asked", "erased"):
            requests[name] = accept(store, "subject", ["Ann"], name).id
        if way == "erased":
            erase_rows(store, {dataset: BitMap([1])}, f"plan-{name}")
    if {*ways} <= {"there", "asked"}:
        with pytest.raises(AmbiguousIdError):
            identify(store, "subject", ["Ann"])
        return
    found = identify(store, "subject", ["Ann"])
    assert len(found.positions) == len([way for way in ways if way in ("there", "asked")])
    gone = [requests[n] for n, w in zip(("voices", "faces"), ways, strict=True) if w == "erased"]
    assert [each.request_id for each in found.erasures] == gone


@pytest.mark.parametrize(("kind", "noun"), [("subject", "namespace"), ("record", "dataset")])
def test_a_scope_that_is_nowhere_is_named_and_not_the_id(
    register: Any, store: Any, kind: str, noun: str
) -> None:
    gone = register("voices", "voices", ("1", "1"), ("2", "2"))
    accept(store, kind, ["1"])
    erase_rows(store, {gone: BitMap([0])}, "plan-1")
    for name in ("1", "2", "unknown"):
        for ask in (identify, accept):
            with pytest.raises(NotFoundError, match=f"there is no {noun} 'voice'") as refused:
                ask(store, kind, [name], "voice")
            assert refused.value.hint == "did you mean 'voices'?"
            assert not isinstance(refused.value, UnknownIdError)


def test_unknown_ids_are_named_by_every_place_they_have(register: Any, store: Any) -> None:
    register("voices", "people", ("1", "Ann"))
    with pytest.raises(UnknownIdError, match=r"5 of these 7 subjects \(number 1, 3–5, 7\)") as no:
        identify(store, "subject", ["Zoe", "Ann", "Yan", "Zoe", "Xi", "Ann", "Yan"])
    assert no.value.numbers == [1, 3, 4, 5, 7]
    with pytest.raises(UnknownIdError, match="no dataset has this record"):
        identify(store, "record", ["9"])


def test_rows_that_were_replaced_are_found_too(register: Any, store: Any) -> None:
    voices = register("voices", "people", ("1", "Ann"))
    register("voices", "people", ("1", "Ann"), update=True)
    assert resolve(store, "record", ["1"], None) == {"1": {voices: BitMap([0, 1])}}


def test_ids_are_compared_as_text(register: Any, store: Any) -> None:
    register("voices", "people", ("007", "Ann"))
    assert resolve(store, "record", ["7", "007 "], None) == {"7": {}, "007 ": {}}


def test_an_id_in_no_request_was_not_erased(register: Any, store: Any) -> None:
    register("voices", "people", ("1", "Ann"))
    assert erasure(store, "subject", "Ann", None) is None
    assert erasure(store, "subject", "Zoe", "people") is None


def test_an_id_is_under_its_newest_request_until_that_is_cancelled(
    register: Any, store: Any
) -> None:
    register("voices", "people", ("1", "Ann"))
    request = accept(store, "subject", ["Ann"])
    found = erasure(store, "subject", "Ann", None)
    assert found is not None
    assert (found.request_id, found.state) == (request.id, "open")
    assert found.date >= request.only.date
    assert erasure(store, "record", "Ann", None) is None
    cancel(store, request.id)
    assert erasure(store, "subject", "Ann", None) is None


def test_the_erasure_of_a_namesake_is_not_taken_for_another_persons(
    register: Any, store: Any
) -> None:
    register("voices", "people", ("1", "Ann"))
    register("scans", "patients", ("1", "Ann"))
    request = accept(store, "subject", ["Ann"], "people")
    assert erasure(store, "subject", "Ann", "patients") is None
    other = accept(store, "subject", ["Ann"], "patients")
    assert other.id != request.id


def test_a_dataset_that_came_after_an_erasure_is_searched_for_itself(
    register: Any, store: Any
) -> None:
    # Ann of the people was forgotten; the patient Ann came later, and asks too.
    register("voices", "people", ("1", "Ann"))
    first = accept(store, "subject", ["Ann"], "people")
    scans = register("scans", "patients", ("1", "Ann"))
    second = accept(store, "subject", ["Ann"], "patients")
    assert second.id != first.id
    with store.catalogue.read() as session:
        assert find_dataset(session, "scans").id == scans

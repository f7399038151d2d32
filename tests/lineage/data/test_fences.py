"""What is being forgotten may not be registered again, nor enter a new run."""

from pathlib import Path
from typing import Any

import pytest
from pyroaring import BitMap

from lineage.data import fences
from lineage.data.dataset import add, head
from lineage.data.version import open_version
from lineage.errors import FencedError
from unlearn.request.lifecycle import accept, cancel


def row(record: str, person: str) -> dict[str, Any]:
    return {"id": record, "person": person, "x": 1.0}


@pytest.fixture
def register(workshop: Any, store: Any, tmp_path: Path) -> Any:
    """Adds rows of people to a dataset; their namespace is ``people`` unless another is named."""

    def added(name: str, rows: list[dict[str, Any]], namespace: str | None = "people") -> Any:
        path = workshop.written(tmp_path / f"{name}.csv", rows)
        columns = {"id_columns": ("id",), "subject_columns": ("person",)}
        texts = ("id", "person")
        return add(store, name, path, namespace=namespace, text_columns=texts, **columns)

    return added


@pytest.fixture
def people(register: Any) -> Any:
    """Ann has records a1 and a2, Bob has b1."""
    return register("people", [row("a1", "Ann"), row("b1", "Bob"), row("a2", "Ann")])


def test_a_subject_being_forgotten_cannot_be_added_to_any_dataset_of_its_namespace(
    people: Any, register: Any, store: Any
) -> None:
    request = accept(store, "subject", ["Ann"])
    for dataset in ("people", "other"):
        with pytest.raises(FencedError, match="1 row \\(row 2\\) is of") as refused:
            register(dataset, [row("c1", "Cid"), row("new", "Ann")])
        assert request.id in refused.value.message
        assert refused.value.fields["rows"] == [2]
        assert "Ann" not in str(refused.value) + refused.value.hint
    assert register("other", [row("c1", "Cid")]).row.live == 1


def again(register: Any, store: Any, capsys: Any, name: str, namespace: str | None) -> str:
    """What is said when Ann's row a1 and Bob's b9 are added to another dataset."""
    capsys.readouterr()
    assert register(name, [row("b9", "Bob"), row("a1", "Ann")], namespace).row.live == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "Ann" not in said.err
    return str(said.err)


def test_rows_whose_subject_is_forgotten_in_another_namespace_are_told_of(
    people: Any, register: Any, store: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert again(register, store, capsys, "before", None) == ""
    request = accept(store, "subject", ["Ann"], "people")
    assert again(register, store, capsys, "copy", None) == (
        "warning: added 1 row (row 2) to dataset 'copy' with ids that are forgotten in namespace "
        f"'people' by {request.id}. If they are of the same people, forget them here too, with a "
        "request of their own\n"
    )
    # Whoever names a namespace has said that its people are others.
    assert again(register, store, capsys, "patients", "patients") == ""
    cancel(store, request.id)
    assert again(register, store, capsys, "late", None) == ""


def test_rows_whose_record_is_forgotten_in_another_dataset_are_told_of(
    people: Any, register: Any, store: Any, capsys: Any, workshop: Any, tmp_path: Path
) -> None:
    request = accept(store, "record", ["a1"], "people")
    said = again(register, store, capsys, "copy", "patients")
    assert "1 row (row 2) to dataset 'copy' with ids that are forgotten in dataset 'people'" in said
    assert request.id in said
    # The numbers of rows are the same in all files.
    numbered = workshop.written(tmp_path / "numbered.csv", [row("x", "Zoe")])
    add(store, "numbered", numbered)
    accept(store, "record", ["1"], "numbered")
    add(store, "others", numbered)
    assert capsys.readouterr().err == ""


def test_a_record_being_forgotten_cannot_be_added_whoever_it_is_about(
    people: Any, register: Any, store: Any
) -> None:
    accept(store, "record", ["a1"])
    with pytest.raises(FencedError):
        register("people", [row("a1", "Zoe")])
    assert register("people", [row("a3", "Ann")]).row.live == 3
    # A record's id means nothing outside its dataset.
    assert register("other", [row("a1", "Ann")]).row.live == 1


def test_a_namesake_in_another_namespace_is_somebody_else(
    people: Any, register: Any, store: Any
) -> None:
    accept(store, "subject", ["Ann"])
    assert register("patients", [row("p1", "Ann")], namespace="patients").row.live == 1


def test_a_row_about_several_people_is_fenced_for_each_of_them(
    workshop: Any, people: Any, store: Any, tmp_path: Path
) -> None:
    accept(store, "subject", ["Bob"])
    path = workshop.written(tmp_path / "calls.csv", [{"id": "1", "caller": "Cid", "callee": "Bob"}])
    columns = {"id_columns": ("id",), "subject_columns": ("caller", "callee")}
    with pytest.raises(FencedError):
        add(store, "calls", path, namespace="people", **columns)


def test_after_a_cancelled_request_the_rows_may_come_again(
    people: Any, register: Any, store: Any
) -> None:
    request = accept(store, "subject", ["Ann"])
    cancel(store, request.id)
    assert register("people", [row("a3", "Ann")]).row.live == 4


def test_a_fence_of_two_requests_falls_with_the_last(
    people: Any, register: Any, store: Any
) -> None:
    by_record = accept(store, "record", ["a1"])
    by_subject = accept(store, "subject", ["Ann"])
    cancel(store, by_subject.id)
    with pytest.raises(FencedError):
        register("people", [row("a1", "Ann")])
    assert head(store, "people").present.positions.tolist() == [1, 2]
    cancel(store, by_record.id)
    assert head(store, "people").present.positions.tolist() == [0, 1, 2]


def test_the_list_of_rows_that_is_shown_is_short(people: Any, register: Any, store: Any) -> None:
    accept(store, "subject", ["Ann"])
    with pytest.raises(FencedError, match="9 rows \\(row 1, 2, 3, 4, 5 …\\)") as refused:
        register("people", [row(f"n{n}", "Ann") for n in range(9)])
    assert refused.value.fields["rows"] == list(range(1, 10))


def test_a_version_that_still_holds_forgotten_rows_is_refused_and_its_successor_is_not(
    people: Any, store: Any
) -> None:
    fences.check_versions(store, [people])
    accept(store, "subject", ["Bob"])
    fences.check_versions(store, [head(store, "people")])
    with pytest.raises(FencedError, match="1 rows of dataset version") as refused:
        fences.check_versions(store, [people])
    assert refused.value.fields["version"] == people.id
    assert "newest version of dataset 'people'" in refused.value.hint


def test_a_version_from_before_the_forgotten_rows_were_added_is_not_refused(
    people: Any, register: Any, store: Any
) -> None:
    register("people", [row("d1", "Dan")])
    accept(store, "subject", ["Dan"])
    fences.check_versions(store, [open_version(store, people.id)])


def test_forgotten_positions_are_those_of_every_request_that_was_not_cancelled(
    people: Any, store: Any
) -> None:
    accept(store, "record", ["a1"])
    request = accept(store, "subject", ["Bob"])
    with store.catalogue.read() as session:
        assert fences.forgotten(session, people.dataset.id) == BitMap([0, 1])
    cancel(store, request.id)
    with store.catalogue.read() as session:
        assert fences.forgotten(session, people.dataset.id) == BitMap([0])
        assert fences.forgotten(session, "ds-of-nothing") == BitMap()


def test_a_fingerprint_depends_on_kind_scope_id_and_the_secret_of_the_store(
    workshop: Any, store: Any, tmp_path: Path
) -> None:
    marks = {
        fences.fingerprint(store, kind, scope, name)
        for kind in ("subject", "record")
        for scope in ("a", "ab")
        for name in ("c", "bc")
    }
    assert len(marks) == 8
    with workshop.Store.create(tmp_path / "second") as second:
        assert fences.fingerprint(second, "subject", "a", "c") not in marks


def test_a_request_accepted_while_rows_are_added_fences_them_in_every_dataset(
    people: Any, register: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    register("other", [row("c1", "Cid")])
    check = fences.check_rows

    def then_accept(*arguments: Any) -> None:
        check(*arguments)
        accept(store, "subject", ["Ann"])

    monkeypatch.setattr(fences, "check_rows", then_accept)
    with pytest.raises(FencedError):
        register("other", [row("new", "Ann")])
    assert head(store, "other").row.live == 1

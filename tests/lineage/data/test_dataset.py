"""Adding rows to datasets: what a version holds, what is refused, and what a refusal leaves."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from lineage.data import dataset as datasets
from lineage.data.dataset import add, head
from lineage.data.version import open_version
from lineage.errors import DatasetError
from storage import manifests, merkle
from storage.catalogue import tables
from storage.errors import InvalidInputError, NotFoundError
from unlearn.erase import erase_rows


def row(number: int, x: float = 0.0, person: str = "p") -> dict[str, Any]:
    return {"id": f"r{number}", "person": person, "x": x}


def contents(version: Any) -> dict[str, float]:
    """Id → x of the present rows, read through the version's columns."""
    at = version.present.positions
    return dict(
        zip(version.column("id")[at].tolist(), version.column("x")[at].tolist(), strict=True)
    )


def everything(store: Any) -> dict[str, bytes]:
    """Every file of a store."""
    return {
        str(path.relative_to(store.path)): path.read_bytes()
        for path in store.path.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def voices(workshop: Any, store: Any, tmp_path: Path) -> Any:
    """Adds rows to dataset ``voices`` of the store."""

    def added(rows: list[dict[str, Any]], **options: Any) -> Any:
        path = workshop.written(tmp_path / "voices.csv", rows)
        columns = {"id_columns": ("id",), "subject_columns": ("person",), "text_columns": ("id",)}
        return add(store, "voices", path, **{**columns, **options})

    return added


def test_the_rows_of_a_file_without_ids_are_not_added_twice(
    store: Any, workshop: Any, tmp_path: Path
) -> None:
    rows = [{"x": 1.5, "w": "a"}, {"x": float("nan"), "w": "b"}]
    path = workshop.written(tmp_path / "rows.csv", rows)
    add(store, "rows", path)
    copy = workshop.written(tmp_path / "copy.csv", rows)
    for again in (path, copy):
        before = everything(store)
        with pytest.raises(DatasetError, match=r"are those that rows\.csv added to dataset 'rows'"):
            add(store, "rows", again)
        assert everything(store) == before
    swapped = workshop.written(tmp_path / "new.csv", rows[::-1])
    assert add(store, "rows", swapped).row.live == 4
    longer = [*rows, {"x": 3.5, "w": "b"}]
    assert add(store, "rows", workshop.written(tmp_path / "more.csv", longer)).row.live == 7
    with pytest.raises(DatasetError, match="nothing was added"):
        add(store, "rows", swapped)
    assert add(store, "others", path).row.live == 2


def test_the_first_file_makes_the_dataset(voices: Any, store: Any) -> None:
    version = voices([row(1, 0.5), row(2, -0.5)])
    assert (version.row.sequence, version.row.rows, version.row.live) == (1, 2, 2)
    assert version.present.positions.tolist() == [0, 1]
    assert contents(version) == {"r1": 0.5, "r2": -0.5}
    assert [column.name for column in version.columns] == ["id", "person", "x"]
    assert head(store, "voices").id == version.id
    assert (store.path / "keys" / f"salt-{version.dataset.id}").is_file()


def test_a_further_file_appends_a_part_and_leaves_the_version_before_it_as_it_was(
    voices: Any, store: Any
) -> None:
    first = voices([row(1, 1.0)])
    second = voices([row(2, 2.0), row(3, 3.0)])
    assert contents(open_version(store, first.id)) == {"r1": 1.0}
    assert contents(second) == {"r1": 1.0, "r2": 2.0, "r3": 3.0}
    assert (second.row.sequence, second.row.parent_id) == (2, first.id)
    with store.catalogue.read() as session:
        parts = session.query(tables.Part).order_by(tables.Part.first_position).all()
        assert [(part.first_position, part.rows) for part in parts] == [(0, 1), (1, 2)]


def test_the_root_is_over_the_commitments_of_every_position(voices: Any, store: Any) -> None:
    voices([row(1), row(2)])
    version = voices([row(3)])
    leaves = manifests.read_commitments(store.objects, version.chunks)
    assert version.row.root == merkle.root(leaves).hex()


def test_an_id_that_is_already_there_is_refused_and_nothing_is_left_behind(
    voices: Any, store: Any
) -> None:
    voices([row(1), row(2)])
    before = everything(store)
    with pytest.raises(DatasetError, match=r"the ids of 1 row of voices\.csv") as refused:
        voices([row(3), row(2, 7.0)])
    assert "--update" in refused.value.hint
    assert "r2" not in str(refused.value)
    assert everything(store) == before


def test_a_file_that_repeats_an_id_is_refused_and_nothing_is_left_behind(
    voices: Any, store: Any
) -> None:
    before = everything(store)
    with pytest.raises(InvalidInputError):
        voices([row(1), row(1)])
    assert everything(store) == before


def test_an_update_replaces_rows_under_the_same_key_at_new_positions(voices: Any) -> None:
    first = voices([row(1, 1.0), row(2, 2.0), row(3, 3.0)])
    second = voices([row(2, 20.0), row(4, 4.0)], update=True)
    assert contents(second) == {"r1": 1.0, "r3": 3.0, "r2": 20.0, "r4": 4.0}
    assert second.present.positions.tolist() == [0, 2, 3, 4]
    assert set(second.deleted) == {1}
    assert second.present.records.keys[2] == first.present.records.keys[1]
    assert contents(first) == {"r1": 1.0, "r2": 2.0, "r3": 3.0}


def test_a_row_that_was_replaced_can_be_replaced_again(voices: Any) -> None:
    voices([row(1, 1.0)])
    voices([row(1, 2.0)], update=True)
    version = voices([row(1, 3.0)], update=True)
    assert contents(version) == {"r1": 3.0}
    assert set(version.deleted) == {0, 1}


@settings(max_examples=6)
@given(
    files=st.lists(
        st.dictionaries(st.integers(0, 9), st.floats(-9, 9, width=16), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_versions_hold_what_a_dict_that_is_updated_holds(
    workshop: Any, tmp_path_factory: pytest.TempPathFactory, files: list[dict[int, float]]
) -> None:
    folder = tmp_path_factory.mktemp("model")
    expected: dict[str, float] = {}
    snapshots = []
    with workshop.Store.create(folder / "store") as store:
        for file in files:
            path = workshop.written(folder / "f.csv", [row(n, float(x)) for n, x in file.items()])
            columns = {"id_columns": ("id",), "text_columns": ("id", "person")}
            version = add(store, "d", path, update=True, **columns)
            expected |= {f"r{n}": float(x) for n, x in file.items()}
            snapshots.append((version.id, dict(expected)))
        for version_id, content in snapshots:
            assert contents(open_version(store, version_id)) == content


def test_an_erased_row_leaves_root_positions_and_every_other_row(voices: Any, store: Any) -> None:
    before = voices([row(1, 1.0), row(2, 2.0), row(3, 3.0)])
    erase_rows(store, {before.dataset.id: BitMap([1])}, "plan-1")
    after = open_version(store, before.id)
    leaves = manifests.read_commitments(store.objects, after.chunks)
    assert merkle.root(leaves).hex() == before.row.root == after.row.root
    assert after.row.digest == before.row.digest
    assert after.present.positions.tolist() == [0, 2]
    assert contents(after) == {"r1": 1.0, "r3": 3.0}


def test_without_id_columns_rows_are_numbered_through_all_files(
    workshop: Any, store: Any, tmp_path: Path
) -> None:
    for first in (0, 2):
        path = workshop.written(tmp_path / "n.csv", [{"x": first + 0.5}, {"x": first + 1.5}])
        version = add(store, "numbers", path)
    table = manifests.read_identified(store.objects, version.chunks, np.arange(4))
    assert [each for piece in table for each in piece.records.to_pylist()] == ["1", "2", "3", "4"]
    assert version.column("x").tolist() == [0.5, 1.5, 2.5, 3.5]


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("id_columns", ("person",), "--id id, not person"),
        ("subject_columns", ("id",), "--subject person, not id"),
        ("namespace", "patients", "--namespace voices, not patients"),
    ],
)
def test_what_was_fixed_at_first_cannot_be_changed_later(
    voices: Any, store: Any, option: str, value: Any, says: str
) -> None:
    voices([row(1)])
    before = everything(store)
    with pytest.raises(DatasetError, match=says):
        voices([row(2)], **{option: value})
    assert everything(store) == before


def test_what_was_fixed_at_first_need_not_be_said_again(voices: Any) -> None:
    voices([row(1)], namespace="patients")
    version = voices([row(2)], id_columns=(), subject_columns=(), text_columns=())
    assert (version.dataset.namespace, version.row.live) == ("patients", 2)


def in_between(monkeypatch: pytest.MonkeyPatch, happens: Any) -> None:
    """Let something happen once, after the chunks of a part are written and before the commit."""
    original = datasets.same_records

    def same_records(*arguments: Any) -> BitMap:
        monkeypatch.setattr(datasets, "same_records", original)
        happens()
        return original(*arguments)

    monkeypatch.setattr(datasets, "same_records", same_records)


@pytest.mark.parametrize("known", [False, True])
def test_of_two_concurrent_adds_the_later_is_refused_and_leaves_nothing(
    voices: Any, store: Any, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    if known:
        voices([row(1)])
    after: dict[str, bytes] = {}

    def another() -> None:
        written = set(everything(store))
        voices([row(2)])
        mine = written - before.keys()
        # What the first claims is there as long as it adds.
        after.update(
            {
                name: data
                for name, data in everything(store).items()
                if name not in mine and not name.startswith("objects/tmp/")
            }
        )

    before = everything(store)
    in_between(monkeypatch, another)
    with pytest.raises(DatasetError, match="changed while rows were being added") as refused:
        voices([row(3)])
    assert "again" in refused.value.hint
    assert everything(store) == after
    assert contents(voices([row(3)])).keys() == {"r2", "r3"} | ({"r1"} if known else set())


def test_an_interruption_leaves_nothing(
    voices: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    before = everything(store)
    in_between(monkeypatch, interrupt)
    with pytest.raises(KeyboardInterrupt):
        voices([row(1)])
    assert everything(store) == before


def test_an_interruption_after_the_commit_destroys_nothing(
    voices: Any, store: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    write = store.catalogue.write

    def interrupted_write() -> Any:
        monkeypatch.setattr(store.catalogue, "write", write)
        return Committed(write())

    class Committed:
        def __init__(self, session: Any) -> None:
            self.session = session

        def __enter__(self) -> Any:
            return self.session.__enter__()

        def __exit__(self, *exception: Any) -> None:
            self.session.__exit__(*exception)
            raise KeyboardInterrupt

    monkeypatch.setattr(store.catalogue, "write", interrupted_write)
    with pytest.raises(KeyboardInterrupt):
        voices([row(1, 1.0)])
    assert contents(head(store, "voices")) == {"r1": 1.0}


def test_near_names_are_offered_for_a_dataset_that_is_not_there(voices: Any, store: Any) -> None:
    voices([row(1)])
    with pytest.raises(NotFoundError, match="'voice'") as missing:
        head(store, "voice")
    assert missing.value.hint == "did you mean 'voices'?"

"""Deriving a dataset from another: what rows it gets, what is recorded, what is refused."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyroaring import BitMap
from sqlalchemy import select

from lineage.data import transform as transform_module
from lineage.data.mapping import read_mapping, recorded, seen
from lineage.data.transform import derive
from lineage.errors import DatasetError
from lineage.source import load
from storage.catalogue import tables
from storage.catalogue.tables import new_id


def transforms(shelf):
    with shelf.catalogue.read() as session:
        return recorded(session)


def test_a_derived_row_has_the_id_key_and_subjects_of_its_source(bench, shelf):
    raw = bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    made = derive(shelf, bench.function("doubled"), "raw", "out")
    assert bench.cells(made) == {"r0": 2, "r1": 4, "r2": 6}
    for who, (key, placement, people, _) in bench.records(raw).items():
        assert bench.records(made)[who][:3] == (key, placement, people)
    assert (made.salt, made.dataset.namespace) == (raw.salt, "raw")


def test_a_derived_row_needs_no_column_that_names_it(bench, shelf):
    texts = [
        {"id": "a", "person": "x", "text": "to be or"},
        {"id": "b", "person": "y", "text": "be"},
    ]
    bench.add(shelf, "raw", texts)
    made = derive(shelf, bench.function("tokens"), "raw", "out")
    assert [column.name for column in made.columns] == ["word"]
    assert bench.cells(made, "word") == {"a": "to", "a#1": "be", "a#2": "or", "b": "be"}
    assert bench.records(made)["a#2"][2] == ["x"]


def test_a_filter_keeps_what_it_keeps_and_maps_it(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 3, 5))
    made = derive(shelf, bench.function("unless_third"), "raw", "out")
    assert bench.cells(made) == {"r0": 1, "r2": 5}
    (row,) = transforms(shelf)
    mapping = read_mapping(shelf.objects, row)
    assert (mapping.outputs.tolist(), mapping.inputs.tolist()) == ([0, 1], [0, 2])


def test_a_mapping_holds_positions_and_nothing_else(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(2, 5))
    derive(shelf, bench.function("pieces"), "raw", "out")
    schema = pq.read_schema(shelf.objects.open(transforms(shelf)[0].mapping))
    assert [(field.name, field.type) for field in schema] == [
        ("output", pa.int64()),
        ("input", pa.int64()),
    ]
    assert not schema.metadata


def test_ids_of_further_rows_depend_on_their_own_source_alone(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(2, 5, 1))
    bench.add(shelf, "fewer", [bench.numbers(2, 5, 1)[1]])
    made = bench.records(derive(shelf, bench.function("pieces"), "raw", "out"))
    again = bench.records(derive(shelf, bench.function("pieces"), "fewer", "other"))
    assert set(made) == {"r0", "r0#1", "r1", "r1#1", "r2"}
    assert {who: made[who][0] for who in again} == {who: row[0] for who, row in again.items()}


def test_rows_split_twice_have_ids_of_their_own(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(5))
    derive(shelf, bench.function("twice"), "raw", "once")
    made = derive(shelf, bench.function("twice"), "once", "again")
    assert bench.cells(made) == {"r0": 5, "r0##1": 6, "r0#1": 6, "r0#1##1": 7}


def test_growth_executes_over_the_new_rows_only(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    derive(shelf, bench.function("doubled"), "raw", "out")
    bench.add(shelf, "raw", bench.numbers(7, first=5))
    made = derive(shelf, bench.function("doubled"), "raw", "out")
    assert bench.cells(made) == {"r0": 2, "r1": 4, "r5": 14}
    assert [seen(each) for each in transforms(shelf)] == [(BitMap([0, 1]),), (BitMap([2]),)]


def test_a_changed_row_replaces_all_that_was_made_of_it(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(2, 5))
    derive(shelf, bench.function("pieces"), "raw", "out")
    bench.add(shelf, "raw", bench.numbers(7), update=True)
    made = derive(shelf, bench.function("pieces"), "raw", "out")
    assert bench.cells(made) == {"r0": 7, "r1": 5, "r1#1": 6}


def test_a_deleted_row_takes_what_was_made_of_it_without_an_execution(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(2, 5))
    derive(shelf, bench.function("pieces"), "raw", "out")
    bench.withdraw(shelf, "raw", [0])
    made = derive(shelf, bench.function("pieces"), "raw", "out")
    assert bench.cells(made) == {"r1": 5, "r1#1": 6}
    assert (made.row.rows, seen(transforms(shelf)[1])) == (4, (BitMap(),))


def test_deriving_again_without_a_change_changes_nothing(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    for name in ("doubled", "less_the_sum"):
        made = derive(shelf, bench.function(name), "raw", name)
        assert derive(shelf, bench.function(name), "raw", name).id == made.id
    assert len(transforms(shelf)) == 2


def test_an_aggregate_is_executed_anew_over_everything(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    derive(shelf, bench.function("less_the_sum"), "raw", "out")
    bench.add(shelf, "raw", bench.numbers(3, first=5))
    made = derive(shelf, bench.function("less_the_sum"), "raw", "out")
    assert bench.cells(made) == {"r0": -5, "r1": -4, "r5": -3}
    assert (made.deleted, made.row.rows) == (BitMap([0, 1]), 5)


def test_changed_source_makes_every_row_anew(bench, shelf, tmp_path):
    script = tmp_path / "own.py"
    text = "from lineage.data.transform import transform\n@transform(scope='record')\n"
    script.write_text(text + "def same(rows):\n    return rows\n")
    bench.add(shelf, "raw", bench.numbers(1, 2))
    derive(shelf, load("own.py:same", tmp_path), "raw", "out")
    script.write_text(text + "def same(rows):\n    return rows, list(range(rows.num_rows))\n")
    made = derive(shelf, load("own.py:same", tmp_path), "raw", "out")
    assert (made.deleted, bench.cells(made)) == (BitMap([0, 1]), {"r0": 1, "r1": 2})


@pytest.mark.parametrize("name", ["doubled", "less_the_sum"])
def test_an_input_without_rows_empties_the_output(bench, shelf, name):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    derive(shelf, bench.function(name), "raw", "out")
    bench.withdraw(shelf, "raw", [0, 1])
    assert bench.cells(derive(shelf, bench.function(name), "raw", "out")) == {}
    with pytest.raises(DatasetError, match="'raw' has no rows"):
        derive(shelf, bench.function(name), "raw", "other")


def test_nulls_and_nans_are_values_like_others(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(-1, 2, 3, -4))
    silent = derive(shelf, bench.function("silent_where_negative"), "raw", "silent")
    assert bench.cells(silent) == {"r0": None, "r1": 2, "r2": 3, "r3": None}
    missing = bench.cells(derive(shelf, bench.function("with_missing"), "raw", "missing"))
    assert (missing["r0"], missing["r1"]) == (-1.0, pytest.approx(float("nan"), nan_ok=True))


def test_vectors_are_made_and_checked_like_numbers(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(3, 1, 2))
    made = derive(shelf, bench.function("paired"), "raw", "out")
    assert (made.columns[0].kind, made.columns[0].length) == ("vector", 2)
    assert made.column("pair")[:, 0].tolist() == [3.0, 1.0, 2.0]


def test_rows_with_nothing_but_nulls_do_not_decide_a_type(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(-1, -2))
    bench.add(shelf, "raw", bench.numbers(3, 4, first=5))
    made = derive(shelf, bench.function("silent_where_negative"), "raw", "out")
    assert bench.cells(made) == {"r0": None, "r1": None, "r5": 3, "r6": 4}


def test_text_that_may_name_people_becomes_no_category(bench, shelf):
    texts = [{"id": "a", "person": "x", "label": "u"}, {"id": "b", "person": "y", "label": "v"}]
    bench.add(shelf, "raw", texts)
    made = derive(shelf, bench.function("copied"), "raw", "out")
    kinds = {column.name: (column.kind.value, column.categories) for column in made.columns}
    assert kinds == {"id": ("text", ()), "person": ("text", ()), "label": ("category", ("u", "v"))}
    bench.add(shelf, "raw", [{"id": "c", "person": "z", "label": "a"}])
    made = derive(shelf, bench.function("copied"), "raw", "out")
    assert made.columns[2].categories == ("u", "v", "a")


def test_columns_that_were_declared_before_are_kept(bench, shelf):
    texts = [{"id": "a", "person": "x", "text": "to be or"}]
    raw = bench.add(shelf, "raw", texts)
    made = derive(shelf, bench.function("tokens"), "raw", "out")
    columns = [made.columns[0].model_copy(update={"categories": ("or", "never", "to", "be")})]
    with shelf.catalogue.write() as session:
        twin = tables.Dataset(
            id=new_id("ds"),
            name="twin",
            namespace=raw.dataset.namespace,
            columns=[column.model_dump(mode="json") for column in columns],
            id_columns=[],
            subject_columns=[],
            created_at=shelf.clock(),
        )
        session.add(twin)
    made = derive(shelf, bench.function("tokens"), "raw", "twin")
    assert made.column("word").tolist() == [2, 3, 0]


def test_a_transform_and_its_commitment_land_with_the_version_or_not_at_all(
    bench, shelf, monkeypatch
):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    kept = len(list(shelf.objects))

    def fail(*_arguments):
        raise DatasetError("the head has moved")

    with monkeypatch.context() as patch:
        patch.setattr(transform_module, "_record", fail)
        with pytest.raises(DatasetError, match="the head has moved"):
            derive(shelf, bench.function("doubled"), "raw", "out")
    with shelf.catalogue.read() as session:
        assert session.scalars(select(tables.Dataset.name)).all() == ["raw"]
    assert len(list(shelf.objects)) == kept + 1  # the mapping, which names nobody
    made = derive(shelf, bench.function("doubled"), "raw", "out")
    (row,) = transforms(shelf)
    with shelf.catalogue.read() as session:
        kinds = select(tables.Commitment.row_id).where(tables.Commitment.kind == "transform")
        assert session.scalars(kinds).all() == [row.id]
    assert row.output_id == made.id

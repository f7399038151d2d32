"""What deriving refuses: functions that break their scope, outputs of others, the forgotten."""

import pytest
from pyroaring import BitMap

from lineage.data import dataset
from lineage.data.fences import fingerprint
from lineage.data.mapping import recorded
from lineage.data.transform import derive, transform
from lineage.errors import DatasetError, FencedError, ProgramError, TransformError
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.manifests import dump_bitmap


def test_an_id_that_a_further_row_would_get_is_refused(bench, shelf):
    rows = [{"id": "a", "person": "x", "value": 2}, {"id": "a#1", "person": "x", "value": 1}]
    bench.add(shelf, "raw", rows)
    with pytest.raises(TransformError, match=r"1 rows that .*:pieces makes have the ids of other"):
        derive(shelf, bench.function("pieces"), "raw", "out")


def test_an_id_that_an_earlier_further_row_has_is_refused(bench, shelf):
    bench.add(shelf, "raw", [{"id": "a", "person": "x", "value": 2}])
    derive(shelf, bench.function("pieces"), "raw", "out")
    bench.add(shelf, "raw", [{"id": "a#1", "person": "x", "value": 1}])
    with pytest.raises(TransformError, match="ids of other rows"):
        derive(shelf, bench.function("pieces"), "raw", "out")


def test_a_type_that_depends_on_the_rows_is_refused(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    bench.add(shelf, "raw", bench.numbers(10, first=5))
    with pytest.raises(TransformError, match="of_two_types returns other columns for other rows"):
        derive(shelf, bench.function("of_two_types"), "raw", "out")


@pytest.mark.parametrize(
    "name",
    [
        "attributed_to_a_neighbour",
        "first_come",
        "missing_in_one_of_two_ways",
        "numbered",
        "peeking",
    ],
)
def test_a_record_function_that_looks_at_other_rows_is_refused(bench, shelf, name):
    bench.add(shelf, "raw", bench.numbers(*[3, 1, 4, 1, 5, 9, 2, 6] * 3))
    kept = set(shelf.objects)
    with pytest.raises(TransformError, match=f"example_transforms.py:{name} is declared") as error:
        derive(shelf, bench.function(name), "raw", "out")
    assert 'scope="aggregate"' in error.value.hint
    assert set(shelf.objects) == kept
    with shelf.catalogue.read() as session:
        assert not recorded(session)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("shorter", "returned 2 rows of 3 and said of 3"),
        ("elsewhere", "named input rows that are not among 0 … 2"),
        ("vague", "named input rows that are not among 0 … 2"),
        ("listed", "returned list, not a pyarrow Table"),
        ("structured", "column 'both' of its output has type struct"),
    ],
)
def test_what_no_transform_returns_is_refused(bench, shelf, name, what):
    bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    with pytest.raises(TransformError, match=what):
        derive(shelf, bench.function(name), "raw", "out")


def test_a_function_that_nobody_could_import_again_is_refused():
    def nested(rows):
        return rows

    for function in (nested, lambda rows: rows):
        with pytest.raises(ProgramError, match="cannot be imported again"):
            transform(scope="record")(function)
    with pytest.raises(TransformError, match="scope 'rows'"):
        transform(scope="rows")


def test_rows_that_are_being_forgotten_are_not_derived_from(bench, shelf):
    raw = bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    forget(shelf, raw.dataset.id, [1])
    with pytest.raises(FencedError, match=f"1 rows of dataset version {raw.id}"):
        derive(shelf, bench.function("doubled"), "raw", "out")
    bench.withdraw(shelf, "raw", [1])
    assert set(bench.cells(derive(shelf, bench.function("doubled"), "raw", "out"))) == {"r0", "r2"}


def test_a_derived_row_that_was_forgotten_by_itself_does_not_come_back(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    made = derive(shelf, bench.function("doubled"), "raw", "out")
    forget(shelf, made.dataset.id, [1])
    bench.withdraw(shelf, "out", [1])
    bench.add(shelf, "raw", bench.numbers(4, first=5))
    made = derive(shelf, bench.function("doubled"), "raw", "out")
    assert set(bench.cells(made)) == {"r0", "r2", "r5"}


def test_an_aggregate_that_would_make_a_forgotten_row_again_is_refused(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    made = derive(shelf, bench.function("less_the_sum"), "raw", "out")
    forget(shelf, made.dataset.id, [1], record=("out", "r1"))
    bench.add(shelf, "raw", bench.numbers(4, first=5))
    with pytest.raises(FencedError, match="1 row "):
        derive(shelf, bench.function("less_the_sum"), "raw", "out")


def forget(shelf, dataset_id, positions, record=None):
    """An accepted request, as far as fences see it."""
    now = shelf.clock()
    with shelf.catalogue.write() as session:
        request = tables.Request(id=new_id("req"), state="open", identity="", received_at=now)
        session.add(request)
        session.flush()
        kept = dump_bitmap(BitMap(positions))
        row = tables.ForgetSet(request_id=request.id, dataset_id=dataset_id, positions=kept)
        session.add(row)
        if record is not None:
            fence = tables.Suppression(
                id=new_id("fence"),
                kind="record",
                scope=record[0],
                fingerprint=fingerprint(shelf, "record", *record),
                request_id=request.id,
                created_at=now,
            )
            session.add(fence)


def test_another_dataset_is_not_written_over(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    bench.add(shelf, "more", bench.numbers(3))
    derive(shelf, bench.function("doubled"), "raw", "out")
    for name, given, output in [
        ("copied", "raw", "raw"),
        ("copied", "more", "raw"),
        ("doubled", "more", "out"),
        ("copied", "raw", "out"),
    ]:
        with pytest.raises(TransformError, match=f"{output!r} is not what .*:{name} makes of"):
            derive(shelf, bench.function(name), given, output)


def test_rows_are_not_added_to_a_derived_dataset(bench, shelf, tmp_path):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    derive(shelf, bench.function("doubled"), "raw", "out")
    with pytest.raises(DatasetError, match="'out' are made by a transform"):
        dataset.add(shelf, "out", tmp_path / "more.csv")

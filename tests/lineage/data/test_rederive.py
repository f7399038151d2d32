"""Deriving again without what was forgotten, against stores that never held it."""

import pyarrow.csv as csv
import pytest
from pyroaring import BitMap

from lineage.data.closure import closure
from lineage.data.mapping import maker, recorded
from lineage.data.transform import derive, rederive, retained
from lineage.errors import ProgramError, TransformError
from lineage.source import load
from storage import manifests
from storage.catalogue import tables
from storage.errors import NotFoundError


def derived(bench, store, *chain):
    """Datasets named like the functions, each made of the one before; the last one."""
    version, given = None, "raw"
    for name in chain:
        version = derive(store, bench.function(name), given, name)
        given = name
    return version


def forget(bench, store, positions):
    """What accepting and applying a request does to datasets; the forgotten positions."""
    found = closure(store, {bench.head(store, "raw").dataset.id: BitMap(positions)})
    with store.catalogue.read() as session:
        names = {row.id: row.name for row in session.query(tables.Dataset)}
    for dataset_id, rows in found.forgotten.items():
        bench.withdraw(store, names[dataset_id], rows)
    for transform_id in found.stale:
        rederive(store, transform_id, found.forgotten)
    return found


def transforms(store):
    with store.catalogue.read() as session:
        return [each.id for each in recorded(session)]


ROWS = [0.1, 2.7, -3.14, 4e-3, 17.25, 6.02, -0.5, 88.8, 1 / 3, 2 / 7]


@pytest.mark.parametrize(
    "chain",
    [
        ("standardised",),
        ("twice", "standardised", "with_missing"),
        ("standardised", "twice", "at_least_the_mean", "standardised_again"),
    ],
)
def test_a_store_that_never_held_the_rows_derives_the_same(bench, shelf, tmp_path, chain):
    rows = bench.numbers(*ROWS)
    bench.add(shelf, "raw", rows)
    derived(bench, shelf, *chain)
    forget(bench, shelf, [3, 4])
    with bench.store(tmp_path / "twin") as twin:
        bench.add(twin, "raw", [row for n, row in enumerate(rows) if n not in (3, 4)][::-1])
        derived(bench, twin, *chain)
        for name in chain:
            ours, theirs = (bench.records(bench.head(each, name)) for each in (shelf, twin))
            assert repr(sorted(ours.items())) == repr(sorted(theirs.items()))


def test_voices_are_standardised_as_if_a_person_had_never_been_recorded(
    bench, shelf, tmp_path, data
):
    voices = csv.read_csv(data / "parkinsons_updrs.csv").to_pylist()
    rows = [{"id": f"v{n}", "person": row.pop("subject#"), **row} for n, row in enumerate(voices)]
    bench.add(shelf, "raw", rows)
    derived(bench, shelf, "all_reals_standardised")
    found = forget(bench, shelf, [n for n, row in enumerate(rows) if row["person"] == 7])
    with bench.store(tmp_path / "twin") as twin:
        bench.add(twin, "raw", [row for row in rows[::-1] if row["person"] != 7])
        derived(bench, twin, "all_reals_standardised")
        stores = (shelf, twin)
        ours, theirs = (bench.records(bench.head(s, "all_reals_standardised")) for s in stores)
    assert ours == theirs
    assert len(ours) == len(rows) - sum(map(len, found.forgotten.values())) // 2


def test_an_aggregate_that_ran_before_a_row_was_added_is_not_tainted_by_it(bench, shelf):
    raw = bench.add(shelf, "raw", bench.numbers(1, 2))
    derived(bench, shelf, "less_the_sum")
    bench.add(shelf, "raw", bench.numbers(3, first=5))
    out = derived(bench, shelf, "less_the_sum")
    found = closure(shelf, {raw.dataset.id: BitMap([2])})
    assert found.stale == (transforms(shelf)[1],)
    assert found.tainted == {out.dataset.id: BitMap([2, 3, 4])}
    assert found.everything[raw.dataset.id] == BitMap([2])


def test_a_second_call_finds_everything_done(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2, 5, 8))
    derived(bench, shelf, "pieces", "less_the_sum", "doubled")
    found = forget(bench, shelf, [1])
    heads = [bench.head(shelf, name).id for name in ("pieces", "less_the_sum", "doubled")]
    known = transforms(shelf)
    versions = [rederive(shelf, each, found.forgotten).id for each in found.stale]
    assert versions == heads[1:]
    assert heads == [bench.head(shelf, n).id for n in ("pieces", "less_the_sum", "doubled")]
    assert transforms(shelf) == known


def test_an_older_version_has_its_own_counterfactual(bench, shelf):
    raw = bench.add(shelf, "raw", bench.numbers(1, 2))
    older = derived(bench, shelf, "less_the_sum")
    bench.add(shelf, "raw", bench.numbers(4, first=5))
    derived(bench, shelf, "less_the_sum")
    gone = closure(shelf, {raw.dataset.id: BitMap([0])})
    again = [rederive(shelf, each, gone.forgotten) for each in gone.stale]
    assert [bench.cells(version) for version in again] == [{"r1": 0}, {"r1": -4, "r5": -2}]
    assert bench.head(shelf, "less_the_sum").id == again[1].id
    assert older.id not in {version.id for version in again}


def test_an_aggregate_that_came_back_to_earlier_rows_is_executed_again(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2))
    derived(bench, shelf, "less_the_sum")
    bench.add(shelf, "raw", bench.numbers(4, first=5))
    derived(bench, shelf, "less_the_sum")
    bench.withdraw(shelf, "raw", [2])
    assert bench.cells(derived(bench, shelf, "less_the_sum")) == {"r0": -2, "r1": -1}
    found = forget(bench, shelf, [0])
    assert len(found.stale) == 3
    assert bench.cells(bench.head(shelf, "less_the_sum")) == {"r1": 0}


def test_what_comes_before_is_executed_before(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    derived(bench, shelf, "less_the_sum", "at_least_the_mean")
    first, second = transforms(shelf)
    gone = {bench.head(shelf, "raw").dataset.id: BitMap([2])}
    with pytest.raises(TransformError, match=f"transform {first} has not been executed without"):
        rederive(shelf, second, gone)


def test_a_transform_without_retained_rows_makes_none(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    derived(bench, shelf, "less_the_sum", "twice")
    forget(bench, shelf, [0, 1, 2])
    assert bench.cells(bench.head(shelf, "twice")) == {}


def test_a_version_less_some_rows_is_made_by_what_made_the_whole(bench, shelf):
    bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    made = derived(bench, shelf, "doubled")
    bench.withdraw(shelf, "doubled", [1])
    cut = bench.head(shelf, "doubled")
    with shelf.catalogue.write() as session:
        assert maker(session, cut.row).output_id == made.id
        assert maker(session, bench.head(shelf, "raw").row) is None
        gone = {made.dataset.id: BitMap([2])}
        less = retained(session, shelf, cut.row, gone, "a test")
        assert bench.live(less) == BitMap([0])
        assert retained(session, shelf, cut.row, {}, "a test").id == cut.id


def test_erased_rows_are_not_executed_over(bench, shelf):
    raw = bench.add(shelf, "raw", bench.numbers(1, 2, 3))
    derived(bench, shelf, "less_the_sum")
    (chunk,) = raw.chunks
    erased = manifests.redact(shelf.objects, chunk, BitMap([0]))
    with shelf.catalogue.write() as session:
        row = session.query(tables.Chunk).filter_by(dataset_id=raw.dataset.id).one()
        row.manifest, row.data = erased.manifest, erased.data
    with pytest.raises(TransformError, match=r"1 rows to execute .* over are erased"):
        rederive(shelf, transforms(shelf)[0], {raw.dataset.id: BitMap([2])})


def test_an_unknown_transform_is_not_found(shelf):
    with pytest.raises(NotFoundError, match="no transform tf-0"):
        rederive(shelf, "tf-0", {})


@pytest.mark.parametrize(
    ("now", "error", "what"),
    [
        ("def all_less(rows):\n    return rows.slice(0)\n", TransformError, "is not what tf-"),
        ("def other(rows):\n    return rows\n", ProgramError, "has no function"),
    ],
)
def test_changed_source_is_not_executed_again(bench, shelf, tmp_path, now, error, what):
    script = tmp_path / "own.py"
    start = "from lineage.data.transform import transform\n@transform(scope='aggregate')\n"
    script.write_text(start + "def all_less(rows):\n    return rows\n")
    raw = bench.add(shelf, "raw", bench.numbers(1, 2))
    derive(shelf, load("own.py:all_less", tmp_path), "raw", "out")
    script.write_text(start + now)
    with pytest.raises(error, match=what):
        rederive(shelf, transforms(shelf)[0], {raw.dataset.id: BitMap([0])})

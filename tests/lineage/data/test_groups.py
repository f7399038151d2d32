"""Groups, joins and frames: what is recorded of them, what stays where it is, what is refused."""

import sys

import pyarrow as pa
import pytest
from pyroaring import BitMap

from lineage.data.closure import closure
from lineage.data.frames import called
from lineage.data.mapping import read_mapping, recorded, seen
from lineage.data.transform import derive, rederive, transform
from lineage.errors import TransformError
from lineage.provenance.graph import edges
from lineage.provenance.model import EdgeKind

ROWS = {"a": (1, 7), "b": (1, 7), "c": (2, 7), "d": (2, 5), "e": (2, 9)}


def rows_of(cells):
    return [
        {"id": who, "person": f"of {who}", "household": household, "value": value}
        for who, (household, value) in cells.items()
    ]


def add(bench, store, cells, name="raw", **options):
    return bench.add(store, name, rows_of(cells), namespace="people", **options)


def transforms(store):
    with store.catalogue.read() as session:
        return recorded(session)


def people(version):
    """Value → whom the rows of that value are about, as sorted lists."""
    found = {}
    for _, _, whom, cells in version:
        found.setdefault(cells["value"], []).append(sorted(whom))
    return {value: sorted(lists) for value, lists in found.items()}


def test_the_copy_that_was_not_kept_takes_the_place_of_the_one_that_is_forgotten(bench, shelf):
    raw = add(bench, shelf, ROWS)
    before = bench.records(derive(shelf, bench.function("first_of_a_kind"), "raw", "out"))
    assert sorted(cells["value"] for _, _, _, cells in before.values()) == [5, 7, 9]
    (who,) = (who for who, row in before.items() if row[3]["value"] == 7)
    (kept,) = before[who][2]
    gone = {raw.dataset.id: bench.where(raw, [kept.removeprefix("of ")])}
    found = closure(shelf, gone)
    for transform_id in found.stale:
        rederive(shelf, transform_id, found.forgotten)
    after = bench.records(bench.head(shelf, "out"))
    assert after.keys() == before.keys()
    assert after[who][2] != [kept]
    assert after[who][0] == before[who][0]
    assert {w: row for w, row in after.items() if w != who} == {
        w: row for w, row in before.items() if w != who
    }


def test_a_row_is_forgotten_with_its_own_and_tainted_by_all_of_its_group(bench, shelf):
    raw = add(bench, shelf, ROWS)
    made = derive(shelf, bench.function("first_of_a_kind"), "raw", "out")
    (who,) = (who for who, row in bench.records(made).items() if row[3]["value"] == 7)
    row, whom = bench.where(made, [who]), bench.records(made)[who][2]
    for each in "abc":
        found = closure(shelf, {raw.dataset.id: bench.where(raw, [each])})
        assert found.tainted == {made.dataset.id: row}
        assert (made.dataset.id in found.forgotten) == (whom == [f"of {each}"])
        assert found.stale == (transforms(shelf)[0].id,)


def test_a_row_of_several_is_about_everybody_whom_they_are_about(bench, shelf):
    add(bench, shelf, ROWS)
    packs = bench.records(derive(shelf, bench.function("packed"), "raw", "packs"))
    assert sorted(len(row[2]) for row in packs.values()) == [1, 2, 2]
    whole = bench.records(derive(shelf, bench.function("summed"), "raw", "sums"))
    assert people(whole.values()) == {14: [["of a", "of b"]], 21: [["of c", "of d", "of e"]]}
    assert all(len(who) == 32 for who in whole)


def test_growth_executes_the_groups_that_got_rows_and_no_other(bench, shelf):
    add(bench, shelf, ROWS)
    before = derive(shelf, bench.function("top_two"), "raw", "out")
    add(bench, shelf, {"f": (1, 8), "g": (3, 1)})
    after = derive(shelf, bench.function("top_two"), "raw", "out")
    first, second = transforms(shelf)
    assert (seen(first), seen(second)) == ((BitMap(range(5)),), (BitMap([0, 1, 5, 6]),))
    rows = {position for position in bench.live(after.row) if position < before.row.rows}
    assert len(rows) == 2
    assert sorted(bench.cells(after).values()) == [1, 7, 7, 8, 9]
    assert derive(shelf, bench.function("top_two"), "raw", "out").id == after.id


def test_a_mapping_names_every_row_that_was_seen_and_its_group(bench, shelf):
    add(bench, shelf, ROWS)
    derive(shelf, bench.function("top_two"), "raw", "out")
    mapping = read_mapping(shelf.objects, transforms(shelf)[0])
    assert sorted(mapping.inputs.tolist()) == [0, 1, 2, 3, 4]
    assert mapping.inputs[mapping.outputs < 0].tolist() == [3]
    groups = {frozenset(group.inputs.tolist()) for group in mapping.by_group()}
    assert groups == {frozenset([0, 1]), frozenset([2, 3, 4])}


def test_a_row_of_an_inner_join_is_named_by_both_and_leaves_with_either(bench, shelf):
    left = add(bench, shelf, ROWS)
    right = add(bench, shelf, {"x": (1, 3), "y": (2, 9), "z": (4, 4)}, name="other")
    made = derive(shelf, bench.function("matched"), ["raw", "other"], "out")
    ids = ['["a","x"]', '["b","x"]', '["c","y"]', '["d","y"]']
    assert sorted(bench.cells(made)) == ids
    assert bench.records(made)[ids[0]][2] == ["of a", "of x"]
    for given, who, left_over in ((left, "c", ids[2:3]), (right, "x", ids[:2])):
        found = closure(shelf, {given.dataset.id: bench.where(given, [who])})
        assert found.forgotten[made.dataset.id] == bench.where(made, left_over)
        assert (found.tainted, found.stale) == ({}, ())
    with shelf.catalogue.read() as session:
        reads = [start for start, _, kind in edges(session) if kind is EdgeKind.READS]
    assert sorted(reads) == sorted([left.id, right.id])


def test_an_inner_join_grows_by_the_pairs_of_its_new_rows(bench, shelf):
    add(bench, shelf, ROWS)
    add(bench, shelf, {"x": (1, 3)}, name="other")
    derive(shelf, bench.function("matched"), ["raw", "other"], "out")
    add(bench, shelf, {"y": (1, 4), "z": (2, 1)}, name="other")
    made = derive(shelf, bench.function("matched"), ["raw", "other"], "out")
    assert sorted(bench.cells(made).values()) == [51, 71, 73, 73, 74, 74, 91]


def test_a_frame_says_by_its_index_what_its_rows_were_made_from(bench, shelf):
    bench.add(shelf, "texts", [{"id": "a", "person": "x", "text": "to be or"}])
    made = derive(shelf, bench.function("exploded"), "texts", "words")
    assert bench.cells(made, "word") == {"a": "to", "a#1": "be", "a#2": "or"}
    bench.add(shelf, "raw", bench.numbers(2, -1, 5))
    kept = derive(shelf, bench.function("positive"), "raw", "kept")
    assert bench.cells(kept) == {"r0": 2, "r2": 5}
    assert kept.columns[0].kind.value == "integer"


@pytest.fixture(scope="module")
def untouched(bench, tmp_path_factory):
    """A store that what is refused leaves as it is."""
    with bench.store(tmp_path_factory.mktemp("untouched") / "store") as store:
        add(bench, store, {"n": (1, -3)} | ROWS)
        add(bench, store, {"x": (1, 3), "v": (1, 8), "y": (2, 9)}, name="other")
        bench.add(store, "foreign", rows_of(ROWS), namespace="elsewhere")
        words = [{**row, "household": f"house {row['household']}"} for row in rows_of(ROWS)]
        bench.add(store, "worded", words, namespace="people")
        yield store


def test_a_transform_over_frames_without_pandas_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(TransformError, match="needs pandas") as error:
        called(lambda frame: frame, [pa.table({"a": [1]})])
    assert "pip install pandas" in error.value.hint


@pytest.mark.parametrize(
    ("name", "inputs", "what"),
    [
        ("counting", ["raw"], "makes something else of a group when it is executed again"),
        ("matched_with_the_largest", ["raw", "other"], "is declared scope 'record'"),
        ("left_alone", ["raw", "other"], "did not name one row of each input"),
        ("unsaid", ["raw", "other"], "said of .* which input row they came from"),
        ("half_said", ["raw", "other"], "said of 1 inputs which rows it took, and has 2"),
        ("out_of_nothing", ["raw"], "named no input row for row 0 that it made"),
        ("out_of_others", ["raw"], "named input rows that are not among 0"),
        ("said_by_a_generator", ["raw"], "and said of 0"),
        ("of_texts", ["raw"], "an input has no column 'text' to group by"),
        ("matched", ["raw"], "of scope 'record' has key columns, and one dataset"),
        ("doubled", ["raw", "other"], "has no key columns to join 2 datasets by"),
        ("doubled", [], "doubled is given no dataset"),
        ("matched", ["raw", "foreign"], "are in different namespaces: elsewhere, people"),
        ("matched", ["raw", "worded"], "column 'household' is int64 in one input and string"),
        ("a_series", ["raw"], "returned Series, not a pyarrow Table"),
        ("forgetful", ["raw"], "is declared scope 'record'"),
    ],
)
def test_what_no_group_or_join_may_do_is_refused(bench, untouched, name, inputs, what):
    with pytest.raises(TransformError, match=what):
        derive(untouched, bench.function(name), inputs, "out")
    assert not transforms(untouched)


@pytest.mark.parametrize(
    ("scope", "options", "what"),
    [
        ("group", {}, "scope 'group' needs key columns"),
        ("aggregate", {"by": "household"}, "scope 'aggregate' has no key columns"),
        ("record", {"frames": "polars"}, "cannot have frames 'polars'"),
    ],
)
def test_a_declaration_that_means_nothing_is_refused(scope, options, what):
    with pytest.raises(TransformError, match=what):
        transform(scope, **options)

"""Closures and repeated derivations against an oracle of ids and values, without positions."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from lineage.data.closure import closure
from lineage.data.mapping import recorded
from lineage.data.transform import derive, rederive, retained
from lineage.errors import DatasetError, TransformError
from storage.catalogue import tables

RECORD = {
    "doubled": lambda value: [value * 2],
    "unless_third": lambda value: [value] if value % 3 else [],
    "pieces": lambda value: [value + number for number in range(value % 3)],
    "twice": lambda value: [value, value + 1],
}
AGGREGATE = {
    "less_the_sum": lambda values: [[value - sum(values)] for value in values],
    "at_least_the_mean": lambda values: [
        [value] if value * len(values) >= sum(values) else [] for value in values
    ],
}


def image(name, values):
    """What a function makes of each of some values: lists beside them."""
    if name in RECORD:
        return [RECORD[name](value) for value in values]
    return AGGREGATE[name](values)


class Oracle:
    """Datasets 0, 1, … where each is made of the one before; rows are never moved or deleted.

    A row is (id, value, the added row it was made from, the added rows that an aggregate put into
    it). A head is a set of rows; its recipe says what it is a function of.
    """

    def __init__(self, chain):
        self.chain = chain
        self.rows = [[] for _ in range(len(chain) + 1)]
        self.heads = [None] * (len(chain) + 1)
        self.recipes = [None] * (len(chain) + 1)
        self.made = [{} for _ in chain]
        self.executions = []

    def add(self, rows):
        """Rows are (id, value); one whose id is there replaces it."""
        ids = {who for who, _ in rows}
        kept = {row for row in self.heads[0] or () if self.rows[0][row][0] not in ids}
        first = len(self.rows[0])
        self.rows[0] += [(w, v, first + n, frozenset()) for n, (w, v) in enumerate(rows)]
        self._raw(kept | set(range(first, first + len(rows))))

    def withdraw(self, rows):
        self._raw(self.heads[0] - rows)

    def _raw(self, head):
        self.heads[0] = head
        self.recipes[0] = frozenset(head)

    def derive(self, stage):
        """False where there is nothing to begin a dataset with."""
        if not self.heads[stage] and self.heads[stage + 1] is None:
            return False
        name, head, made = self.chain[stage], self.heads[stage], self.made[stage]
        whole = name in AGGREGATE
        if whole:
            todo = set() if frozenset(head) in made or not head else head
        else:
            todo = {row for row in head if row not in made}
        groups = self._execute(stage, sorted(todo))
        if self.heads[stage + 1] is None and not any(groups.values()):
            return False
        if whole and todo:
            made[frozenset(head)] = [row for group in groups.values() for row in group]
        made.update({} if whole else groups)
        new = self._image(stage, head)
        if todo or new != self.heads[stage + 1]:
            self.executions.append((stage, frozenset(head)))
            self.recipes[stage + 1] = (stage, self.recipes[stage])
        self.heads[stage + 1] = new
        return True

    def _image(self, stage, head):
        made = self.made[stage]
        if self.chain[stage] in AGGREGATE:
            return set(made.get(frozenset(head), ()))
        return {output for row in head for output in made[row]}

    def _execute(self, stage, todo):
        given, out = [self.rows[stage][row] for row in todo], self.rows[stage + 1]
        everyone = frozenset().union(*({root} | through for _, _, root, through in given))
        groups = {}
        new = []
        for row, made in zip(todo, image(self.chain[stage], [r[1] for r in given]), strict=True):
            who, _, root, through = self.rows[stage][row]
            through = everyone if self.chain[stage] in AGGREGATE else through
            groups[row] = []
            for number, value in enumerate(made):
                groups[row].append(len(out) + len(new))
                new.append((name_of(who, number, stage), value, root, through))
        if self.heads[stage + 1] is not None or new:
            out += new
        return groups

    def labels(self, dataset, wanted):
        """Labels (id, earlier rows of that id) of the rows that are as wanted."""
        count, found = {}, set()
        for row in self.rows[dataset]:
            label = (row[0], count.get(row[0], 0))
            count[row[0]] = label[1] + 1
            found |= {label} if wanted(row) else set()
        return found

    def stale(self, gone):
        """Which executions made an aggregate of forgotten rows, or were given what one tainted."""
        for number, (stage, head) in enumerate(self.executions):
            given = [self.rows[stage][row] for row in head]
            tainted = any(through & gone for _, _, _, through in given)
            forgotten = any(root in gone for _, _, root, _ in given)
            if tainted or (forgotten and self.chain[stage] in AGGREGATE):
                yield number

    def counterfactual(self, recipe, gone):
        """Id → value of a head, had the rows ``gone`` never been added."""
        if isinstance(recipe, frozenset):
            return {self.rows[0][row][0]: self.rows[0][row][1] for row in recipe - gone}
        stage, source = recipe
        given = self.counterfactual(source, gone)
        made = image(self.chain[stage], list(given.values()))
        return {
            name_of(who, number, stage): value
            for who, values in zip(given, made, strict=True)
            for number, value in enumerate(values)
        }


def name_of(who, number, stage):
    return f"{who}{'#' * (stage + 1)}{number}" if number else who


class Bench:
    """The same history in a store and in the oracle."""

    def __init__(self, bench, store, chain):
        self.bench, self.store = bench, store
        self.oracle = Oracle(chain)
        self.history = []

    def add(self, rows):
        records = [{"id": who, "person": f"of {who}", "value": value} for who, value in rows]
        self.oracle.add(rows)
        self._remember(0, self.bench.add(self.store, "0", records, update=True))

    def withdraw(self, rows):
        self.oracle.withdraw(rows)
        self.bench.withdraw(self.store, "0", rows)
        self._remember(0, self.bench.head(self.store, "0"))

    def derive(self, stage):
        if self.oracle.heads[stage] is None:
            return
        function = self.bench.function(self.oracle.chain[stage])
        if self.oracle.derive(stage):
            version = derive(self.store, function, str(stage), str(stage + 1))
            self._remember(stage + 1, version)
        else:
            with pytest.raises((DatasetError, TransformError), match="no rows"):
                derive(self.store, function, str(stage), str(stage + 1))

    def added(self, numbers):
        """Rows of the first dataset, by any numbers."""
        return frozenset(number % len(self.oracle.rows[0]) for number in numbers)

    def _remember(self, dataset, version):
        self.history.append((dataset, version.id, self.oracle.recipes[dataset]))
        values = {self.oracle.rows[dataset][row][:2] for row in self.oracle.heads[dataset]}
        assert set(self.bench.cells(version).items()) == values

    def datasets(self):
        """Numbers of the datasets that exist, and their ids."""
        return {
            number: self.bench.head(self.store, str(number)).dataset.id
            for number, head in enumerate(self.oracle.heads)
            if head is not None
        }

    def labels(self, positions):
        """Dataset number → labels."""
        known = {n: self.bench.labels(self.store, str(n)) for n in self.datasets()}
        return {n: {known[n][p] for p in positions.get(i, ())} for n, i in self.datasets().items()}


@st.composite
def histories(draw):
    """A chain of functions, and what is done with it: operation, argument."""
    chain = draw(st.lists(st.sampled_from([*RECORD, *AGGREGATE]), min_size=1, max_size=3))
    operation = st.one_of(
        st.tuples(st.just("add"), st.dictionaries(st.sampled_from("abcdefgh"), VALUES, min_size=1)),
        st.tuples(st.just("withdraw"), st.sets(st.integers(0, 7), max_size=3)),
        st.tuples(st.just("derive"), st.integers(0, len(chain) - 1)),
    )
    first = draw(st.dictionaries(st.sampled_from("abcdefgh"), VALUES, min_size=2))
    return chain, first, draw(st.lists(operation, max_size=6))


VALUES = st.integers(-9, 9)
FORGET = st.sets(st.integers(0, 1_000), min_size=1, max_size=3)


def played(bench, store, history):
    """A history in which every dataset of the chain was derived once at the start."""
    chain, first, operations = history
    both = Bench(bench, store, chain)
    both.add(list(first.items()))
    for stage in range(len(chain)):
        both.derive(stage)
    for operation, argument in operations:
        if operation == "add":
            both.add(list(argument.items()))
        else:
            getattr(both, operation)(argument)
    return both


@pytest.mark.no_cover
@settings(max_examples=8)
@given(histories(), FORGET)
def test_the_closure_is_what_walking_every_row_finds(bench, history, forget):
    with tempfile.TemporaryDirectory() as folder, bench.store(Path(folder)) as store:
        both = played(bench, store, history)
        gone = both.added(forget)
        found = closure(store, {both.datasets()[0]: BitMap(gone)})
        with store.catalogue.read() as session:
            transforms = [each.id for each in recorded(session)]
        numbers = both.datasets()
        assert both.labels(found.forgotten) == {
            n: both.oracle.labels(n, lambda row: row[2] in gone) for n in numbers
        }
        assert both.labels(found.tainted) == {
            n: both.oracle.labels(n, lambda row: row[3] & gone) for n in numbers
        }
        assert len(transforms) == len(both.oracle.executions)
        assert [transforms.index(each) for each in found.stale] == list(both.oracle.stale(gone))


@pytest.mark.no_cover
@settings(max_examples=8)
@given(histories(), FORGET, FORGET)
def test_what_is_executed_again_is_what_never_having_the_rows_would_have_given(
    bench, history, first, second
):
    with tempfile.TemporaryDirectory() as folder, bench.store(Path(folder)) as store:
        both = played(bench, store, history)
        raw = both.datasets()[0]
        for forget in (first, first | second):
            gone = both.added(forget)
            found = closure(store, {raw: BitMap(gone)})
            for number, dataset_id in both.datasets().items():
                bench.withdraw(store, str(number), found.forgotten.get(dataset_id, BitMap()))
            for transform_id in found.stale:
                rederive(store, transform_id, found.forgotten)
            for number, recipe in enumerate(both.oracle.recipes):
                if recipe is not None:
                    head = bench.head(store, str(number))
                    assert bench.cells(head) == both.oracle.counterfactual(recipe, gone)
            for _, version_id, recipe in both.history:
                version = without(bench, store, version_id, found.forgotten)
                assert bench.cells(version) == both.oracle.counterfactual(recipe, gone)


def without(bench, store, version_id, gone):
    with store.catalogue.write() as session:
        row = session.get_one(tables.DatasetVersion, version_id)
        version_id = retained(session, store, row, gone, "a test").id
    return bench.open(store, version_id)

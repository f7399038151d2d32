"""Groups and joins against an oracle over ids: derivation, growth, closures, requests in a row."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from lineage.data.closure import closure
from lineage.data.transform import derive, rederive, retained
from lineage.errors import DatasetError, TransformError
from storage.catalogue import tables
from tests.lineage.data import group_oracle as oracle

RAW = ("left", "right")
MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None


class World:
    """The same history in a store and by the oracle; a recipe says what a version is made of."""

    def __init__(self, bench, store, stages):
        self.bench, self.store, self.stages = bench, store, stages
        self.rows, self.recipes, self.history = {}, {}, []

    def add(self, name, cells):
        """Rows are id → (household, value); one whose id is there replaces it."""
        records = [
            {"id": who, "person": f"of {who[-1]}", "household": household, "value": value}
            for who, (household, value) in cells.items()
        ]
        version = self.bench.add(self.store, name, records, update=True, namespace="people")
        known = dict(self.recipes.get(name, (name, {}))[1])
        for row in records:
            root = (name, len(self.rows))
            cells = (row["household"], row["value"], (row["person"],), frozenset([root]))
            self.rows[root] = known[row["id"]] = oracle.Row(*cells)
        self._remember(name, version, (name, known))

    def derive(self, number):
        """Make stage ``number``, if all that it reads is there."""
        function, inputs = self.stages[number]
        if not all(name in self.recipes for name in inputs):
            return
        recipe = (number, [self.recipes[name] for name in inputs])
        name = str(number)
        if name not in self.recipes and not self.state(recipe):
            with pytest.raises((DatasetError, TransformError)):
                derive(self.store, self.bench.function(function), inputs, name)
            return
        version = derive(self.store, self.bench.function(function), inputs, name)
        self._remember(name, version, recipe)

    def state(self, recipe, gone=frozenset()):
        """What a recipe gives, had the rows ``gone`` never been added."""
        what, given = recipe
        if what in RAW:
            return {who: row for who, row in given.items() if not row.roots & gone}
        inputs = [self.state(each, gone) for each in given]
        return oracle.image(self.stages[what][0], inputs, _depth(recipe))

    def forget(self, gone):
        """Accept and apply a request for some added rows, all that are asked so far."""
        positions = {}
        for name in RAW:
            head = self.bench.head(self.store, name)
            numbers = [root for root in self.rows if root[0] == name]
            those = BitMap(n for n, root in enumerate(numbers) if root in gone)
            positions[head.dataset.id] = those
        found = closure(self.store, positions)
        for name in self.recipes:
            dataset_id = self.bench.head(self.store, name).dataset.id
            self.bench.withdraw(self.store, name, found.forgotten.get(dataset_id, BitMap()))
        for transform_id in found.stale:
            rederive(self.store, transform_id, found.forgotten)
        return found

    def _remember(self, name, version, recipe):
        self.recipes[name] = recipe
        self.history.append((version.id, recipe))
        assert shown(self.bench.records(version)) == plain(self.state(recipe))


def _depth(recipe):
    return 0 if recipe[0] in RAW else 1 + max(map(_depth, recipe[1]))


def plain(state):
    return {who: (row.household, row.value, list(row.people)) for who, row in state.items()}


def shown(records):
    return {
        who: (cells["household"], cells["value"], people)
        for who, (_, _, people, cells) in records.items()
    }


def without(world, version_id, gone):
    with world.store.catalogue.write() as session:
        row = session.get_one(tables.DatasetVersion, version_id)
        version_id = retained(session, world.store, row, gone, "a test").id
    return world.bench.open(world.store, version_id)


def assert_closure(world, found, gone):
    """Every row that any version held is in the closure or not, as its making says."""
    for version_id, recipe in world.history:
        version = world.bench.open(world.store, version_id)
        state = world.state(recipe)
        ids = list(world.bench.records(version))
        for who, position in zip(ids, version.present.positions.tolist(), strict=True):
            forgotten = position in found.forgotten.get(version.dataset.id, ())
            tainted = position in found.tainted.get(version.dataset.id, ())
            assert forgotten == bool(state[who].roots & gone)
            assert tainted == bool(state[who].sight & gone)


CELLS = st.tuples(st.integers(0, 2), st.integers(0, 3))
LEFT = st.dictionaries(st.sampled_from(["a1", "b2", "c3", "d1", "e2", "f3"]), CELLS, min_size=1)
RIGHT = st.dictionaries(st.sampled_from(["r1", "s2", "t3"]), CELLS, min_size=1)
FORGET = st.sets(st.integers(0, 99), min_size=1, max_size=2)


@st.composite
def histories(draw):
    """Stages over the two raw datasets and over each other, and what happens to them."""
    stages = []
    for number in range(draw(st.integers(1, 3))):
        known = [*RAW, *map(str, range(number))]
        if draw(st.booleans()):
            function = draw(st.sampled_from([*oracle.GROUP]))
        else:
            function = draw(st.sampled_from([*oracle.JOIN, *oracle.RECORD, *oracle.AGGREGATE]))
        count = 2 if function in oracle.JOIN else 1
        # What was made last is read more often than anything else.
        stages.append((function, [draw(st.sampled_from(known + known[-1:] * 3))] * 1))
        if count == 2:
            stages[-1][1].append(draw(st.sampled_from(known)))
    operation = st.one_of(
        st.tuples(st.just("left"), LEFT),
        st.tuples(st.just("right"), RIGHT),
        st.tuples(st.just("derive"), st.integers(0, len(stages) - 1)),
    )
    return stages, draw(LEFT), draw(RIGHT), draw(st.lists(operation, max_size=5))


def played(bench, store, history):
    stages, left, right, operations = history
    world = World(bench, store, stages)
    world.add("left", left)
    world.add("right", right)
    for number in range(len(stages)):
        world.derive(number)
    for operation, argument in operations:
        if operation == "derive":
            world.derive(argument)
        else:
            world.add(operation, argument)
    return world


@pytest.mark.no_cover
@settings(max_examples=8)
@given(histories(), FORGET, FORGET)
def test_groups_and_joins_come_out_as_if_the_forgotten_had_never_been_there(
    bench, history, first, second
):
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder, bench.store(Path(folder)) as store:
        world = played(bench, store, history)
        roots = list(world.rows)
        for forget in (first, first | second):
            gone = frozenset(roots[number % len(roots)] for number in forget)
            found = world.forget(gone)
            assert_closure(world, found, gone)
            for name, recipe in world.recipes.items():
                head = bench.head(store, name)
                assert shown(bench.records(head)) == plain(world.state(recipe, gone))
            for version_id, recipe in world.history:
                version = without(world, version_id, found.forgotten)
                assert shown(bench.records(version)) == plain(world.state(recipe, gone))

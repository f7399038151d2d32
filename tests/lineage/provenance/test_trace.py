"""The lineage of anything with an id, against a walk over the rows of the catalogue's file."""

from collections import defaultdict
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings

from lineage.provenance.model import Semantics
from lineage.provenance.trace import Trace, trace
from lineage.training.ensemble import Recipe
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError
from unlearn.request.lifecycle import accept

LAPS = (
    "SELECT s.run_id, s.id, c.id, s.first_step, c.step FROM segments s"
    " JOIN checkpoints c ON c.id = s.checkpoint_id ORDER BY s.run_id, c.step"
)
INPUTS = "SELECT i.run_id, i.version_id, i.alias FROM run_inputs i"


class Judge:
    """What leads to what, told from the file alone: id → ids, by influence and by reference."""

    def __init__(self, lived: Any) -> None:
        self.lived = lived
        self.influence: dict[str, set[str]] = defaultdict(set)
        self.reference: dict[str, set[str]] = defaultdict(set)
        self.selection: set[tuple[str, str]] = set()
        self.own: dict[str, set[str]] = defaultdict(set)
        self._data()
        self._runs()
        for version, checkpoint in lived.sql("SELECT version_id, checkpoint_id FROM model_members"):
            self.influence[checkpoint].add(version)
        for publication, version in lived.sql("SELECT id, version_id FROM publications"):
            self.influence[version].add(publication)

    def _data(self) -> None:
        for version, parent in self.lived.sql("SELECT id, parent_id FROM dataset_versions"):
            self.reference[parent].add(version)
        for transform, read, made in self.lived.sql(
            "SELECT t.id, i.version_id, t.output_id FROM transforms t"
            " JOIN transform_inputs i ON i.transform_id = t.id"
        ):
            self.reference[read].add(transform)
            self.reference[transform].add(made)

    def _runs(self) -> None:
        before = dict(self.lived.sql("SELECT id, start_id FROM runs"))
        inputs = {(run, alias): version for run, version, alias in self.lived.sql(INPUTS)}
        trained = dict(self.lived.sql("SELECT run_id, version_id FROM run_inputs WHERE trains"))
        fits = self.lived.sql("SELECT run_id, alias, id FROM fits")
        given: dict[str, set[str]] = defaultdict(set)
        for run, model in self.lived.sql("SELECT run_id, checkpoint_id FROM run_models"):
            given[run].add(model)
        measured = self.lived.sql("SELECT run_id, alias, step FROM evaluations")
        for run, alias, fit in fits:
            self.reference[inputs[run, alias]].add(fit)
            self.own[run].add(fit)
        for run, lap, made, first, last in self.lived.sql(LAPS):
            self.own[run] |= {lap, made}
            self.influence[before[run]].add(lap)
            before[run] = made
            self.influence[lap].add(made)
            for model in given.get(run, ()):
                self.influence[model].add(lap)
            self.reference[trained.get(run)].add(lap)  # type: ignore[index]
            for owner, _, fit in fits:
                if owner == run:
                    self.influence[fit].add(lap)
            for owner, alias, step in measured:
                if owner == run and first <= step <= last:
                    self.selection.add((inputs[run, alias], lap))
        self.influence.pop(None, None)  # type: ignore[call-overload]
        self.reference.pop(None, None)  # type: ignore[call-overload]

    def after(self, starts: set[str], *, influence_only: bool = False) -> set[str]:
        """The starts and all that follows from them."""
        found: set[str] = set()
        waiting = set(starts)
        while waiting:
            node = waiting.pop()
            found.add(node)
            waiting |= self.influence.get(node, set()) - found
            if not influence_only:
                waiting |= self.reference.get(node, set()) - found
        return found

    def before(self, ends: set[str], *, influence_only: bool = False) -> set[str]:
        """All from which some of these follow, themselves too."""
        every = set(self.influence) | set(self.reference) | ends
        return {node for node in every if self.after({node}, influence_only=influence_only) & ends}


def semantics(related: Any) -> dict[str, Semantics]:
    return {each.id: each.semantics for each in related}


def assert_same(judge: Judge, found: Trace, parts: set[str]) -> None:
    up, down = judge.before(parts), judge.after(parts)
    assert set(semantics(found.parts)) == parts
    for related, walk, whole in (
        (found.upstream, judge.before, up),
        (found.downstream, judge.after, down),
    ):
        sure = walk(parts, influence_only=True)
        assert semantics(related) == {
            node: Semantics.INFLUENCE if node in sure else Semantics.REFERENCE
            for node in whole - parts
        }
    assert {(each.start, each.end) for each in found.selection} == {
        (start, end) for start, end in judge.selection if end in up or start in down
    }
    every = [
        (start, end, meaning)
        for meaning, edges in (("influence", judge.influence), ("reference", judge.reference))
        for start, ends in edges.items()
        for end in ends
    ]
    assert {(e.start, e.end, e.semantics.value) for e in found.edges} == {
        (start, end, meaning)
        for start, end, meaning in every
        if {start, end} <= up or {start, end} <= down
    }


def agree(histories: ModuleType, oracle: ModuleType, history: Any) -> None:
    with histories.lived(history) as lived:
        for version in lived.versions[:1]:
            publish(lived, version)
        judge, truth = Judge(lived), oracle.truth(lived)
        nodes = {"dataset_versions", "transforms", "fits", "segments", "checkpoints",
                 "model_versions", "publications"}  # fmt: skip
        for table in sorted(nodes):
            for (node,) in lived.sql(f"SELECT id FROM {table} ORDER BY id")[:4]:
                assert_same(judge, trace(lived.store, node), {node})
        for run in truth.starts:
            found = trace(lived.store, run)
            assert_same(judge, found, judge.own[run])
            entered = {each.id: each.visits for each in found.parts if each.kind == "segment"}
            batches = truth.batches(run)
            assert entered == {
                lap: sum(len(batches.get(step, ())) for step in range(first, last))
                for owner, lap, _, first, last in truth.laps
                if owner == run
            }


def publish(lived: Any, version: str) -> None:
    with lived.store.catalogue.write() as session:
        session.add(
            tables.Publication(
                id=new_id("pub"),
                version_id=version,
                recipient="a hospital",
                created_at=lived.store.clock(),
            )
        )


def test_a_lineage_is_what_a_walk_over_the_catalogue_finds(
    histories: ModuleType, oracle: ModuleType
) -> None:
    @settings(max_examples=4)
    @given(histories.histories())
    def holds(history: Any) -> None:
        agree(histories, oracle, history)

    holds()


@pytest.mark.soak
def test_lineages_in_many_histories(histories: ModuleType, oracle: ModuleType) -> None:
    def holds(history: Any) -> None:
        agree(histories, oracle, history)

    histories.soak(12, holds, histories.histories())


@pytest.fixture
def tuned(histories: ModuleType) -> Any:
    """A training on ``a``, measured on ``b``; a fine-tune of its middle on ``b``."""
    rows = {
        "a": tuple((n, str(n), ("p1",) if n % 4 else ()) for n in range(24)),
        "b": tuple((100 + n, str(n), ("q",)) for n in range(8)),
    }
    recipe = Recipe(epochs=2, batch_size=4, checkpoint_every=4)
    first = histories.Training("a", recipe, evaluate=("b",))
    second = histories.Training("b", recipe, model="n", start=1)
    with histories.lived(histories.History(rows, (first, second))) as lived:
        yield lived


def test_data_that_was_only_measured_on_is_reported_apart(tuned: Any) -> None:
    ((measured,),) = tuned.sql("SELECT head_id FROM datasets WHERE name = 'b'")
    found = trace(tuned.store, tuned.versions[0])
    assert measured not in {each.id for each in found.upstream}
    assert {each.start for each in found.selection} == {measured}
    assert {each.semantics for each in found.selection} == {Semantics.SELECTION}
    assert measured in found.nodes
    of_data = trace(tuned.store, measured, up=False)
    assert {each.end for each in of_data.selection} == {each.end for each in found.selection}
    run, _ = tuned.diary
    assert not {each.id for each in of_data.downstream} & Judge(tuned).own[run]


def test_what_a_batch_led_to_follows_from_its_segment(tuned: Any, oracle: ModuleType) -> None:
    judge, truth = Judge(tuned), oracle.truth(tuned)
    run, _ = tuned.diary
    ((version,),) = tuned.sql(
        f"SELECT version_id FROM run_inputs WHERE run_id = '{run}' AND trains"
    )
    for owner, lap, _, first, _ in truth.laps:
        if owner == run:
            found = trace(tuned.store, run, first)
            assert (found.kind, found.step, found.parts) == ("batch", first, ())
            assert semantics(found.upstream) == {version: Semantics.REFERENCE}
            assert set(semantics(found.downstream)) == judge.after({lap}, influence_only=True)
            assert f"executed: {len(truth.batches(run)[first])} record" in found.label


def test_a_step_that_was_passed_over_led_to_nothing(
    histories: ModuleType, oracle: ModuleType
) -> None:
    with histories.lived(histories.small(Recipe(epochs=3, batch_size=3, min_batch=3))) as lived:
        (run,) = lived.diary
        skipped = next(step for step in range(21) if step not in oracle.truth(lived).batches(run))
        assert trace(lived.store, run, skipped).downstream == ()
        assert len(trace(lived.store, run, skipped).upstream) == 1


def test_what_was_purged_is_named_and_said_to_be(tuned: Any, apply: Any) -> None:
    before = trace(tuned.store, tuned.versions[0])
    assert not any(each.purged for each in before.upstream)
    apply(tuned.store, accept(tuned.store, "subject", ["p1"]).id)
    after = trace(tuned.store, tuned.versions[0])
    assert {each.id for each in after.upstream} == {each.id for each in before.upstream}
    purged = {each for (each,) in tuned.sql("SELECT id FROM checkpoints WHERE purged_at > 0")}
    assert {each.id for each in after.upstream if each.purged} == purged & {
        each.id for each in before.upstream
    }
    assert after.parts[0].purged


def test_directions_are_asked_for_apart(tuned: Any) -> None:
    ((middle,),) = tuned.sql("SELECT start_id FROM runs WHERE start_id IS NOT NULL")
    whole, up, down = (
        trace(tuned.store, middle),
        trace(tuned.store, middle, down=False),
        trace(tuned.store, middle, up=False),
    )
    assert (up.upstream, up.downstream) == (whole.upstream, ())
    assert (down.upstream, down.downstream) == ((), whole.downstream)
    assert {*up.edges, *down.edges} == set(whole.edges)
    assert set(up.edges).isdisjoint(down.edges)


@pytest.mark.parametrize("identifier", ["mv-0", "run-0"])
def test_what_is_not_there_has_no_lineage(tuned: Any, identifier: str) -> None:
    with pytest.raises(NotFoundError, match=identifier):
        trace(tuned.store, identifier)


def test_no_id_is_repeated_that_may_be_a_persons(tuned: Any) -> None:
    with pytest.raises(NotFoundError, match="not the id of anything") as refused:
        trace(tuned.store, "p1")
    assert "p1" not in f"{refused.value} {refused.value.hint}"

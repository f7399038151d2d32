"""Each pass by itself, on worlds small enough to be read.

A world is written run by run: ``B<A2: 4 5*`` is run B, which starts from the second checkpoint of A
and makes B1 with 4 visits and then B2 with 5. ``*`` is tainted, ``-`` purged, ``?`` damaged. Every
segment has ten steps. ``A!: 4`` is a run that was only observed.
"""

import re
from typing import Any

import pytest

from lineage.data.closure import Closure
from unlearn.impact import Impact
from unlearn.plan.model import Accuracy, Kept, Made, Rejected, Task
from unlearn.plan.passes.alternatives import (
    full_retrain,
    giving_up,
    later_restarts,
    retrained,
)
from unlearn.plan.passes.finish import finish
from unlearn.plan.passes.interim import interims
from unlearn.plan.passes.needed import needed, needed_checkpoints
from unlearn.plan.passes.probes import probes
from unlearn.plan.passes.replays import replays
from unlearn.plan.passes.restarts import Chain, restarts
from unlearn.plan.world import CheckpointFacts, Owner, RunFacts, VersionFacts, World

DAMAGED = "?"
OWNER = Owner(("python", "train.py"), "their-folder")


class Sketch:
    """A world from its notation, and from versions as lists of their members."""

    def __init__(self, notation: str, **versions: str) -> None:
        self.checkpoints: dict[str, CheckpointFacts] = {}
        self.damaged: set[str] = set()
        runs = dict(self._run(line) for line in notation.split(", "))
        self.world = World(
            self.checkpoints,
            {run: RunFacts(run, "prog-1", 0, (), owner) for run, owner in runs.items()},
            tuple(self._version(name, *text.split("; ")) for name, text in versions.items()),
            (),
            frozenset(c.segment_id for c in self.checkpoints.values() if c.tainted),
        )

    def usable(self, checkpoint: str) -> bool:
        return checkpoint not in self.damaged

    def chains(self, wanted: str) -> tuple[Chain, ...]:
        return restarts(self.world, wanted.split(), self.usable)

    def _run(self, line: str) -> tuple[str, Owner | None]:
        head, laps = line.split(": ")
        name, _, previous = head.partition("<")
        run = name.removesuffix("!")
        for number, lap in enumerate(laps.split(), 1):
            visits, marks = re.fullmatch(r"(\d+)([*?-]?)", lap).groups()
            name = f"{run}{number}"
            self.checkpoints[name] = CheckpointFacts(
                id=name,
                run_id=run,
                step=10 * number,
                first_step=10 * number - 10,
                previous=previous or None,
                kept="-" not in marks,
                tainted="*" in marks,
                visits=int(visits),
                seconds=float(visits),
                segment_id=f"seg-{name}",
            )
            if DAMAGED in marks:
                self.damaged.add(name)
            previous = name
        return run, OWNER if head.endswith("!") else None

    def _version(
        self, name: str, members: str, state: str = "newest", model: str = "m"
    ) -> VersionFacts:
        made_of = dict(enumerate(members.split()))
        return VersionFacts(
            id=name,
            model=model,
            sequence=1,
            members=made_of,
            live=state != "unused",
            newest=state == "newest",
            tainted=any(self.checkpoints[each].tainted for each in made_of.values()),
            interim=False,
        )


def drawn(chain: Chain) -> str:
    """A chain as one line: what is made from what, at what cost, and what was passed over."""
    again = " made again" if chain.again else ""
    line = (
        f"{'+'.join(c.id for c in chain.checkpoints)} from {chain.restart}{again}: {chain.visits}"
    )
    return line + (f", not {chain.fallback_from}" if chain.fallback_from else "")


@pytest.mark.parametrize(
    ("notation", "wanted", "expected"),
    [
        ("A: 5 6 7*", "A3", ["A3 from A2: 7"]),
        ("A: 5 6 7", "A3", []),
        ("A: 5* 6* 7*", "A3", ["A1+A2+A3 from None: 18"]),
        ("A: 5* 6* 7*", "A2", ["A1+A2 from None: 11"]),
        ("A: 5 6- 7*", "A3", ["A2+A3 from A1: 13"]),
        ("A: 5- 6- 7*", "A3", ["A1+A2+A3 from None: 18"]),
        ("A: 5 6? 7*", "A3", ["A2+A3 from A1: 13, not A2"]),
        ("A: 5? 6? 7*", "A3", ["A1+A2+A3 from None: 18, not A2"]),
        ("A: 5? 6- 7*", "A3", ["A1+A2+A3 from None: 18, not A1"]),
        ("A: 5 6 7?", "A3", ["A3 from A2: 7, not A3"]),
        ("A: 5 6 7-", "A3", ["A3 from A2: 7"]),
        ("A: 5 6*, B<A1: 4*", "A2 B1", ["A2 from A1: 6", "B1 from A1: 4"]),
        ("A: 5 6*, B<A2: 4*", "B1", ["A2 from A1: 6", "B1 from A2 made again: 4"]),
        ("A: 5 6* 7*, B<A2: 4*", "B1 A3", ["A2+A3 from A1: 13", "B1 from A2 made again: 4"]),
        ("A: 5?, B<A1: 4*", "B1", ["A1 from None: 5, not A1", "B1 from A1 made again: 4"]),
        (
            "A: 5 6- 7 8*, B<A2: 4*",
            "A4 B1",
            ["A4 from A3: 8", "A2 from A1: 6", "B1 from A2 made again: 4"],
        ),
        ("A!: 5 6 7*", "A3", ["A1+A2+A3 from None: 18"]),
        ("A!: 5 6 7", "A3", []),
        ("A!: 5 6? 7", "A2", ["A1+A2+A3 from None: 18, not A2"]),
        ("A!: 5 6* 7*, B: 3*", "A3 B1", ["A1+A2+A3 from None: 18", "B1 from None: 3"]),
        ("A!: 5 6*, B<A2: 4*", "B1", ["A1+A2 from None: 11", "B1 from A2 made again: 4"]),
        ("A!: 5 6-, B<A1: 4*", "B1", ["B1 from A1: 4"]),
        ("A!: 5- 6, B<A1: 4*", "B1", ["A1+A2 from None: 11", "B1 from A1 made again: 4"]),
        ("A!: 5 6*, B<A1: 4*", "A2 B1", ["A1+A2 from None: 11", "B1 from A1: 4"]),
        (
            "A: 1*, B<A1: 2*, C<B1: 3*",
            "C1",
            ["A1 from None: 1", "B1 from A1 made again: 2", "C1 from B1 made again: 3"],
        ),
    ],
)
def test_restarts_are_the_last_clean_states_that_are_left(
    notation: str, wanted: str, expected: list[str]
) -> None:
    assert sorted(map(drawn, Sketch(notation).chains(wanted))) == sorted(expected)


def test_a_chain_comes_after_the_one_that_makes_its_restart() -> None:
    chains = Sketch("A: 1*, B<A1: 2*, C<B1: 3*").chains("C1 B1 A1")
    assert [chain.run_id for chain in chains] == ["A", "B", "C"]


def test_only_live_versions_that_learned_from_the_forgotten_are_needed() -> None:
    sketch = Sketch("A: 5 6*, B: 4", v1="A2; unused", v2="A2; aliased", v3="B1", v4="A1 A2 B1")
    versions = needed(sketch.world)
    assert [version.id for version in versions] == ["v2", "v4"]
    assert needed_checkpoints(versions) == ("A2", "A1", "B1")


def test_a_replay_names_its_restart_by_checkpoint_or_by_the_task_that_makes_it() -> None:
    sketch = Sketch("A: 5 6* 7*, B<A2: 4*")
    first, second = replays(sketch.world, sketch.chains("B1 A3"), {"B": ("transform-1",)})
    assert (first.id, first.depends_on, first.visits, first.seconds) == ("replay-1", (), 13, 13.0)
    assert first.work.model_dump() == {
        "kind": "replay",
        "run_id": "A",
        "restart": "A1",
        "restart_step": 10,
        "restart_edition": 0,
        "first_step": 10,
        "until": 30,
        "fallback_from": None,
        "given": {},
    }
    assert second.depends_on == ("replay-1", "transform-1")
    assert (second.work.restart, second.work.restart_step) == ("replay-1", 20)
    assert (second.work.first_step, second.work.until) == (0, 10)


def test_what_was_only_observed_is_its_owners_to_train_and_a_fine_tune_waits_for_it() -> None:
    sketch = Sketch("A!: 5 6*, B<A2: 4*")
    owners, tuned = replays(sketch.world, sketch.chains("B1"), {"A": ("transform-1",)})
    assert (owners.id, owners.depends_on, owners.visits) == ("external-1", ("transform-1",), 11)
    assert owners.work.model_dump() == {
        "kind": "external",
        "run_id": "A",
        "command": ("python", "train.py"),
        "folder": "their-folder",
        "given": {},
    }
    assert (tuned.id, tuned.depends_on) == ("replay-2", ("external-1",))
    assert (tuned.work.restart, tuned.work.restart_step) == ("external-1", 20)


@pytest.mark.parametrize(
    ("notation", "wanted", "reason"),
    [
        (
            "A!: 5 6*",
            "A2",
            "only observed; its owner trains it again: python train.py, in their-folder$",
        ),
        ("A!: 5 6-", "A2", "A has lost a checkpoint that is needed, and was only observed"),
        ("A: 5 6*", "A2", "A trained on the forgotten records; A1 at step 10 is the last clean"),
        ("A: 5*", "A1", "A trained on the forgotten records; no checkpoint .* from scratch"),
        ("A: 5 6? 7*", "A3", "A1 at step 10 is the last clean state; A2 would have served but"),
        ("A: 5 6-", "A2", "A has lost a clean checkpoint that is needed; A1 at step 10"),
    ],
)
def test_a_replay_says_why_it_starts_where_it_does(notation: str, wanted: str, reason: str) -> None:
    sketch = Sketch(notation)
    (task,) = replays(sketch.world, sketch.chains(wanted), {})
    assert re.search(reason, task.reason)


def test_clean_members_that_are_there_serve_meanwhile() -> None:
    sketch = Sketch(
        "A: 5*, B: 4, C: 3?, D: 2-",
        v1="A1 B1 C1 D1",
        v2="A1",
        v3="A1 B1; aliased",
        v4="A1 C1 D1",
    )
    (task,) = interims(sketch.world, needed(sketch.world), sketch.usable)
    assert (task.work.version_id, task.work.members) == ("v1", {1: "B1"})
    assert task.visits == 0


@pytest.mark.parametrize(
    ("notation", "wanted", "segments"),
    [
        ("A: 5 6 7*", "A3", ["seg-A2"]),
        ("A: 9 6 4 7*", "A4", ["seg-A3"]),
        ("A: 9? 6 7*", "A3", []),
        ("A: 9- 6 7*", "A3", []),
        ("A: 0 6 7*", "A3", ["seg-A2"]),
        ("A: 5* 6* 7*", "A3", []),
        ("A: 5 7*", "A2", []),
        ("A: 5 6 7*, B: 2 1", "A3", ["seg-A2"]),
        ("A: 5 7*, B: 2 1", "A2", ["seg-B2"]),
        ("A: 5 7*, B!: 2 1", "A2", []),
    ],
)
def test_the_probe_takes_the_cheapest_clean_segment_that_went_on_from_another(
    notation: str, wanted: str, segments: list[str]
) -> None:
    sketch = Sketch(notation)
    tasks = probes(sketch.world, sketch.chains(wanted), {}, sketch.usable)
    assert [task.work.segment_id for task in tasks] == segments


def finished(sketch: Sketch) -> dict[str, Task]:
    nothing: frozenset[str] = frozenset()
    tainted = frozenset(c.id for c in sketch.checkpoints.values() if c.tainted)
    impact = Impact(Closure({}, {}, ()), (), nothing, nothing, tainted, nothing, nothing)
    affected = needed(sketch.world)
    chains = restarts(sketch.world, needed_checkpoints(affected), sketch.usable)
    tasks = finish(sketch.world, impact, affected, replays(sketch.world, chains, {}))
    return {task.id: task for task in tasks}


def test_a_replacement_takes_what_is_made_again_and_keeps_the_rest() -> None:
    tasks = finished(Sketch("A: 5 6*, B: 4, C: 3?", v1="A2 B1 C1"))
    aggregate: Any = tasks["aggregate-1"].work
    assert aggregate.members == {
        0: Made(task="replay-1", step=20),
        1: Kept(checkpoint_id="B1"),
        2: Made(task="replay-2", step=10),
    }
    assert tasks["aggregate-1"].depends_on == ("replay-1", "replay-2")


def test_a_replacement_takes_what_an_owner_makes() -> None:
    tasks = finished(Sketch("A!: 5 6 7*", v1="A3"))
    aggregate: Any = tasks["aggregate-1"].work
    assert aggregate.members == {0: Made(task="external-1", step=30)}
    assert tasks["aggregate-1"].depends_on == ("external-1",)


def test_the_purge_comes_last_and_names_all_that_is_tainted_and_left() -> None:
    tasks = finished(Sketch("A: 5 6* 7*, B: 4, C: 3*", v1="A3", v2="C1; unused", v3="B1"))
    assert list(tasks) == ["replay-1", "aggregate-1", "check", "publish", "purge"]
    assert tasks["check"].depends_on == ("replay-1", "aggregate-1")
    assert (tasks["publish"].depends_on, tasks["purge"].depends_on) == (("check",), ("publish",))
    purge: Any = tasks["purge"].work
    assert purge.checkpoints == ("A2", "A3", "C1")
    assert purge.versions == ("v1", "v2")


def test_a_full_retrain_counts_what_versions_share_once() -> None:
    sketch = Sketch("A: 5 6* 7*, B<A1: 4*, C: 3", v1="A3 C1", v2="B1; aliased", v3="C1")
    assert full_retrain(sketch.world, needed(sketch.world)) == (25, 25.0)


def rejected(sketch: Sketch, wanted: str, visits: int, full_visits: int) -> list[Rejected]:
    chains = sketch.chains(wanted)
    tasks = [task.id for task in replays(sketch.world, chains, {})]
    return [
        *later_restarts(sketch.world, chains, tasks, visits),
        *retrained(visits, full_visits),
    ]


def test_what_was_rejected_is_listed_with_what_it_would_have_saved() -> None:
    sketch = Sketch("A: 5 6? 7* 8*", v1="A4")
    found = rejected(sketch, "A4", 21, 26)
    assert [(each.name, each.visits, each.why) for each in found] == [
        ("restart A at step 20", 15, "A2 is clean, but was purged or is damaged"),
        ("full retrain", 26, "5 visits more than needed"),
    ]
    assert [each.task for each in found] == ["replay-1", None]
    assert list(retrained(0, 0)) == []


def test_an_observed_run_counts_as_a_whole_whatever_is_needed_of_it() -> None:
    sketch = Sketch("A!: 5- 6 7, B<A1: 4*", v1="B1")
    assert full_retrain(sketch.world, needed(sketch.world)) == (22, 22.0)
    found = rejected(sketch, "B1", 22, 22)
    assert [(each.name, each.visits) for each in found] == [
        ("restart A at step 10", 17),
        ("full retrain", 22),
    ]
    assert found[0].why == "A was only observed: its owner's command begins anew"


def given_up(sketch: Sketch, visits: int, **accuracy: Accuracy) -> dict[str, int]:
    affected = needed(sketch.world)
    found = giving_up(sketch.world, affected, sketch.usable, visits, accuracy)
    return {each.name: each.visits for each in found}


def test_retiring_a_model_saves_what_no_other_model_needs() -> None:
    sketch = Sketch("A: 5 6*, B<A2: 4*", v1="A2 B1; aliased", v2="A2")
    assert given_up(sketch, 10) == {"retire m": 0}
    sketch = Sketch("A: 5 6*, B<A2: 4*, C: 3*", v1="A2; newest; base", v2="B1; newest; tuned")
    assert given_up(sketch, 10) == {"retire base": 10, "retire tuned": 6}


def test_an_ensemble_may_go_on_without_its_affected_shards() -> None:
    sketch = Sketch("A: 5*, B: 4, C: 3?", v1="A1 B1 C1", v2="A1; aliased")
    assert given_up(sketch, 8) == {"retire m": 0, "keep m v1 without shards 0, 2 for good": 5}


def test_what_giving_up_shards_does_to_accuracy_is_said_where_it_was_measured() -> None:
    sketch = Sketch("A: 5*, B: 4", v1="A1 B1")
    affected = needed(sketch.world)
    measured = {"v1": Accuracy(dataset="held-out", whole=0.95, interim=0.9375)}
    for accuracy, said in (({}, "not measured$"), (measured, "held-out would go from .* 0.9375$")):
        _, without = giving_up(sketch.world, affected, sketch.usable, 5, accuracy)
        assert re.search(f"it would have 1 of 2 members; .*{said}", without.why)

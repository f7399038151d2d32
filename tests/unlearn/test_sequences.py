"""Requests in any order, accepted, carried out and withdrawn: what is in use is never a mixture.

At every moment each model in use has the bytes of a training from scratch on sets of rows, one a
chain, that its plans name. The judge folds the numbers of the rows by itself, step by step as they
were given to the first training, less those that a chain's plan leaves out.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import select

import lineage
import unlearn
from lineage.errors import PlacementError
from lineage.provenance.query import live_versions
from lineage.training.checkpoint import load
from storage.catalogue import tables
from tests.soak_counts import COUNTED
from tests.unlearn import folding
from tests.unlearn.histories import MEMORY, soak
from unlearn.claim import Claim, Verdict
from unlearn.plan.stored import decoded, load_plan, plan_of

PEOPLE, ROWS = 8, 64
FEWEST = 2

Step = tuple[str, int]
"""What happens next, and a number that picks of whom or of what."""

KINDS = ["accept", "accept", "apply", "withdraw", "train", "tune", "teach"]

sequences = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 23)), min_size=3, max_size=9)


@dataclass
class World:
    """A store, and what was given to the runs of each first training."""

    store: Any
    given: dict[str, list[tuple[int, list[int]]]] = field(default_factory=dict)
    waiting: list[str] = field(default_factory=list)
    people: dict[str, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    plans: list[str] = field(default_factory=list)
    claims: dict[str, str] = field(default_factory=dict)

    def accept(self, pick: int) -> None:
        """Somebody asks to be forgotten."""
        person = pick % PEOPLE
        if len({*self.people.values(), *self.done}) < PEOPLE // 2:
            request = unlearn.accept(self.store, "subject", [f"p{person}"])
            if request.state == "open" and request.request_id not in self.waiting:
                self.waiting.append(request.request_id)
                self.people[request.request_id] = person

    def withdraw(self, pick: int) -> None:
        """One of those who wait withdraws."""
        if self.waiting:
            request = self.waiting.pop(pick % len(self.waiting))
            del self.people[request]
            unlearn.cancel(self.store, request)

    def apply(self, pick: int) -> None:
        """Some of those who wait are forgotten."""
        chosen = self.waiting[pick % len(self.waiting) :] if self.waiting else []
        if chosen:
            plan, _ = unlearn.make_plan(self.store, chosen)
            results = unlearn.apply(self.store, plan, unlearn.InProcess(self.store))
            self.plans.append(plan)
            self.claims[plan] = results["check"]["claim"]["claim"]
            for request in chosen:
                self.waiting.remove(request)
                self.done.add(self.people.pop(request))

    def train(self, pick: int, model: str = "m", **recipe: Any) -> None:
        """A model is trained on who is there."""
        shards, slices = (1, 2)[pick % 2], (1, 2)[pick // 2 % 2]
        how = lineage.Recipe(
            shards=recipe.pop("shards", shards),
            slices=slices,
            epochs=2,
            batch_size=8,
            seed=pick,
            min_batch=FEWEST,
            checkpoint_every=(None, 3)[pick // 4 % 2],
            **recipe,
        )
        folding.EXECUTED.clear()
        with suppress(PlacementError):
            version = lineage.train(self.store, folding.train, {"d": "rows"}, model, how)
            for run_id, executed in zip(self._runs(version), folding.EXECUTED, strict=True):
                self.given[run_id] = executed

    def tune(self, pick: int) -> None:
        """A model begins with the newest one."""
        members = self._newest("m")
        if members:
            self.train(pick, "tuned", start=members[0], shards=1)

    def teach(self, pick: int) -> None:
        """A model learns from the newest one, beside the rows."""
        if self._newest("m"):
            self.train(pick, "student", given={"teacher": "m"}, config={"taught": True})

    def judge(self) -> None:
        """Compare each model in use with what its rows make, and look for the forgotten in it."""
        with self.store.catalogue.read() as session:
            live = live_versions(session)
            member = tables.ModelMember
            members = session.scalars(
                select(member.checkpoint_id).where(member.version_id.in_(live))
            )
            for checkpoint in dict.fromkeys(members):
                state: Any = load(self.store, checkpoint)
                assert np.array_equal(state["model"]["value"], self.fold(session, checkpoint))
                COUNTED["models compared"] += 1
                used = {number % PEOPLE for number in self.used(session, checkpoint)}
                assert not used & self.done

    def fold(self, session: Any, checkpoint_id: str) -> Any:
        """The value that a training from scratch gives a checkpoint."""
        checkpoint = session.get_one(tables.Checkpoint, checkpoint_id)
        run = session.get_one(tables.Run, checkpoint.run_id)
        fold, start = folding.Fold(), self._start(session, run)
        if start is not None:
            fold.value = self.fold(session, start)
        taught = sum(float(self.fold(session, each)[0]) for each in self._teachers(session, run))
        for step, numbers in self._left(session, run, checkpoint.step):
            fold.learn(step, numbers, taught)
        return fold.value

    def used(self, session: Any, checkpoint_id: str) -> Iterator[int]:
        """The numbers of the rows that a checkpoint descends from."""
        checkpoint = session.get_one(tables.Checkpoint, checkpoint_id)
        run = session.get_one(tables.Run, checkpoint.run_id)
        for _, numbers in self._left(session, run, checkpoint.step):
            yield from numbers
        start = self._start(session, run)
        for each in [*self._teachers(session, run), *([start] if start else [])]:
            yield from self.used(session, each)

    def _left(self, session: Any, run: Any, until: int) -> Iterator[tuple[int, list[int]]]:
        """What the first training of a chain was given, less what the run's plan leaves out."""
        plan = plan_of(run.task_id)
        gone: set[int] = set()
        if plan is not None:
            for positions in decoded(load_plan(session, plan)[1].forget).values():
                gone |= set(positions)
        for step, numbers in self.given[self._first(session, run).id]:
            left = [number for number in numbers if number not in gone]
            if step < until and len(left) >= FEWEST:
                yield step, left

    def _first(self, session: Any, run: Any) -> Any:
        while run.replay_of is not None:
            run = session.get_one(tables.Run, run.replay_of)
        return run

    def _start(self, session: Any, run: Any) -> str | None:
        """The checkpoint of another training that a chain began with."""
        first = self._first(session, run)
        while run.start_id is not None:
            before = session.get_one(
                tables.Run, session.get_one(tables.Checkpoint, run.start_id).run_id
            )
            if self._first(session, before).id != first.id:
                return str(run.start_id)
            run = before
        return None

    def _teachers(self, session: Any, run: Any) -> list[str]:
        model = tables.RunModel
        read = select(model.checkpoint_id).where(model.run_id == run.id).order_by(model.shard)
        return list(session.scalars(read))

    def _newest(self, model: str) -> list[str]:
        with self.store.catalogue.read() as session:
            version, member = tables.ModelVersion, tables.ModelMember
            newest = session.scalar(
                select(version.id)
                .join(tables.Model, tables.Model.id == version.model_id)
                .where(
                    tables.Model.name == model,
                    version.purged_at.is_(None),
                    version.interim.is_(False),
                )
                .order_by(version.place.desc(), version.sequence.desc())
                .limit(1)
            )
            found = select(member.checkpoint_id).where(member.version_id == newest)
            return list(session.scalars(found.order_by(member.shard)))

    def _runs(self, version: Any) -> list[str]:
        with self.store.catalogue.read() as session:
            member = tables.ModelMember
            made = (
                select(tables.Checkpoint.run_id)
                .join(member, member.checkpoint_id == tables.Checkpoint.id)
                .where(member.version_id == version.id)
                .order_by(member.shard)
            )
            return list(session.scalars(made))


def live(sequence: list[Step], *, twins: bool = False) -> None:
    """Let a sequence happen to a new store, and judge after each step."""
    COUNTED["sequences"] += 1
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        rows = Path(folder, "rows.csv")
        lines = (f"p{number % PEOPLE},{number}" for number in range(ROWS))
        rows.write_text("\n".join(["person,number", *lines]) + "\n", "utf-8")
        with lineage.Store.create(Path(folder, "store")) as store:
            lineage.add_dataset(store, "rows", rows, subject_columns=("person",), salt=b"s" * 32)
            world = World(store)
            world.train(0)
            for kind, pick in sequence:
                getattr(world, kind)(pick)
                world.judge()
            if twins:
                _with_twins(world)


def _with_twins(world: World) -> None:
    """The claim of the last plan is what its twin bears out."""
    for plan in world.plans[-1:]:
        found = unlearn.verify_plan(world.store, plan, twin=True)
        COUNTED["claims compared"] += 1
        assert found.verdict is Verdict.PASSED, found.statement.reason
        if found.twins:
            assert found.statement.claim is Claim.REPLAY_VERIFIED


@settings(max_examples=int(os.environ.get("SEQUENCES", "12")))
@given(sequence=sequences)
def test_every_model_in_use_is_a_training_from_scratch_at_every_moment(
    sequence: list[Step],
) -> None:
    live(sequence)


@pytest.mark.parametrize("topology", [0, 1, 2, 3, 6, 7])
def test_case_o_withdrawn(topology: int) -> None:
    """A waits, B is carried out, A is withdrawn, C follows; A comes back and is carried out."""
    live(
        [
            ("train", topology),
            ("accept", 1),
            ("accept", 2),
            ("apply", 1),
            ("withdraw", 0),
            ("accept", 3),
            ("apply", 0),
            ("accept", 1),
            ("apply", 0),
        ],
        twins=topology == 3,
    )


@pytest.mark.soak
def test_ever_new_sequences_leave_no_mixture_behind() -> None:
    soak(12, lambda sequence: live(sequence, twins=len(sequence) % 4 == 0), sequences)

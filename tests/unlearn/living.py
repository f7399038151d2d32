"""A store to which things happen, in any order, and what each model in use must be then."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from sqlalchemy import select

import lineage
import unlearn
from lineage.errors import DatasetError, PlacementError, RunError
from lineage.provenance.query import live_versions
from lineage.training import registry
from lineage.training.checkpoint import load
from lineage.training.ensemble import resume
from lineage.training.reshard import reshard
from storage.catalogue import tables
from tests.soak_counts import COUNTED
from tests.unlearn import folding
from tests.unlearn.refolding import FEWEST, Refolding
from unlearn.cli.examination import examine
from unlearn.errors import PlanError, RequestError, StalePlanError, TaskError
from unlearn.thinning import thin

PEOPLE, ROWS = 8, 64
IN_HOUSE = 2

TWINS_ALONE = ("mates", "scholar")
"""Models of what a transform of groups or of a teacher makes: only twins know what they are."""

DERIVED = {"moved": folding.moved, "shared": folding.shared, "labelled": folding.labelled}


@dataclass
class World:
    """A store, whom its rows are about, and who waits or is gone."""

    store: Any
    folder: Path
    judge_of: Refolding = field(default_factory=Refolding)
    owners: list[int] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    people: dict[str, int] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    plans: list[str] = field(default_factory=list)
    holds: list[str] = field(default_factory=list)
    given_out: list[str] = field(default_factory=list)

    def accept(self, pick: int) -> None:
        """Somebody asks to be forgotten."""
        person = pick % PEOPLE
        if len({*self.people.values(), *self.done}) < PEOPLE // 2:
            request = unlearn.accept(self.store, "subject", [f"p{person}"])
            if request.state == "open" and request.request_id not in self.waiting:
                self.waiting.append(request.request_id)
                self.people[request.request_id] = person

    def withdraw(self, pick: int) -> None:
        """One of those who wait withdraws, unless a plan is about to carry it out."""
        if self.waiting:
            request = self.waiting[pick % len(self.waiting)]
            with suppress(RequestError):
                unlearn.cancel(self.store, request)
                self.waiting.remove(request)
                del self.people[request]

    def apply(self, pick: int) -> None:
        """Some of those who wait are forgotten."""
        chosen = self.waiting[pick % len(self.waiting) :] if self.waiting else []
        if chosen:
            plan, _ = unlearn.make_plan(self.store, chosen)
            unlearn.apply(self.store, plan, unlearn.InProcess(self.store))
            self._settle(plan)

    def race(self, pick: int) -> None:
        """Two plans for others of those who wait are carried out at once; one may have to stop."""
        at = 1 + pick % max(1, len(self.waiting) - 1)
        shares = [each for each in (self.waiting[:at], self.waiting[at:]) if each]
        plans = [unlearn.make_plan(self.store, share)[0] for share in shares]
        with ThreadPoolExecutor(len(plans) or 1) as pool:
            list(pool.map(self._carry_out, plans))
        for plan in plans:
            self._settle(plan)

    def train(self, pick: int, model: str = "m", data: str = "rows", **recipe: Any) -> None:
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
            self._keep(lineage.train(self.store, folding.train, {"d": data}, model, how))

    def tune(self, pick: int) -> None:
        """A model begins with the newest one."""
        members = self._newest("m")
        if members:
            self.train(pick, "tuned", start=members[0], shards=1)

    def teach(self, pick: int) -> None:
        """A model learns from the newest one, beside the rows."""
        if self._newest("m"):
            self.train(pick, "student", given={"teacher": "m"}, config={"taught": True})

    def pupil(self, pick: int) -> None:
        """A model is trained on rows that were made one by one."""
        self._derived(pick, "moved", "pupil")

    def mates(self, pick: int) -> None:
        """A model is trained on rows that were made house by house."""
        self._derived(pick, "shared", "mates")

    def scholar(self, pick: int) -> None:
        """A model is trained on rows that the newest one labelled."""
        if self._newest("m"):
            self._derived(pick, "labelled", "scholar", teacher="m")

    def grow(self, pick: int) -> None:
        """Rows are added of people who are there."""
        here = sorted({*range(PEOPLE)} - {*self.people.values(), *self.done})
        self.add([here[(pick + number) % len(here)] for number in range(PEOPLE)])

    def redraw(self, pick: int) -> None:
        """The newest model is trained under another placement, if it has one."""
        folding.EXECUTED.clear()
        if self._newest("m"):
            with suppress(PlacementError, RunError):
                self._keep(resume(self.store, reshard(self.store, "m")))

    def hold(self, pick: int) -> None:
        """A version is kept from purge, or one that was is no more."""
        versions = self._versions()
        if self.holds and pick % 2:
            registry.release(self.store, self.holds.pop())
        elif versions:
            version = versions[pick % len(versions)]
            self.holds.append(registry.hold(self.store, version, "a court asks for it").id)

    def give(self, pick: int) -> None:
        """A version is given to somebody, or nobody uses one any more."""
        versions = self._versions()
        if self.given_out and pick % 2:
            registry.withdraw(self.store, self.given_out.pop())
        elif versions:
            version = versions[pick % len(versions)]
            self.given_out.append(registry.publish(self.store, version, "a partner").id)

    def prune(self, pick: int) -> None:
        """A run keeps few of its checkpoints."""
        runs = [*self.judge_of.given]
        with suppress(PlanError):
            thin(self.store, runs[pick % len(runs)], keep=1 + pick % 4)

    def add(self, owners: list[int]) -> None:
        """Add a row about each of these people, whose number is its position."""
        first = len(self.owners)
        self.owners += owners
        file = self.folder / f"rows-{first}.csv"
        lines = (f"p{who},{n // IN_HOUSE},{n}" for n, who in enumerate(owners, first))
        file.write_text("\n".join(["person,house,number", *lines]) + "\n", "utf-8")
        salt = None if first else b"s" * 32
        lineage.add_dataset(self.store, "rows", file, subject_columns=("person",), salt=salt)

    def judge(self) -> None:
        """Compare each model in use with what its rows make, and look for the forgotten in it."""
        assert examine(self.store, sweep=False).problems == ()
        with self.store.catalogue.read() as session:
            for checkpoint in dict.fromkeys(self._members(session)):
                state: Any = load(self.store, checkpoint)
                expected = self.judge_of.fold(session, checkpoint)
                assert np.array_equal(state["model"]["value"], expected)
                COUNTED["models compared"] += 1
                used = self.judge_of.used(session, checkpoint)
                assert not {self.owners[number] for number in used} & self.done

    def _members(self, session: Any) -> Iterator[str]:
        """The members of what is in use and can be loaded."""
        member, version = tables.ModelMember, tables.ModelVersion
        found = (
            select(member.checkpoint_id)
            .join(version, version.id == member.version_id)
            .join(tables.Model, tables.Model.id == version.model_id)
            .where(
                version.id.in_(live_versions(session)),
                version.purged_at.is_(None),
                tables.Model.name.not_in(TWINS_ALONE),
            )
        )
        yield from session.scalars(found)

    def _derived(self, pick: int, data: str, model: str, **teachers: str) -> None:
        lineage.derive(self.store, DERIVED[data], "rows", data, given=teachers)
        self.train(pick, model, data)

    def _carry_out(self, plan: str) -> None:
        stopped = suppress(PlanError, StalePlanError, TaskError, DatasetError)
        with lineage.Store.open(self.store.path) as store, stopped:
            unlearn.apply(store, plan, unlearn.InProcess(store))

    def _settle(self, plan: str) -> None:
        """Look who is forgotten now."""
        with self.store.catalogue.read() as session:
            if session.get_one(tables.Plan, plan).state == "applied":
                self.plans.append(plan)
            for request in list(self.waiting):
                if session.get_one(tables.Request, request).state == "done":
                    self.waiting.remove(request)
                    self.done.add(self.people.pop(request))

    def _keep(self, version: Any) -> None:
        """Remember what the runs of a version were given."""
        with self.store.catalogue.read() as session:
            member, checkpoint = tables.ModelMember, tables.Checkpoint
            made = (
                select(checkpoint.run_id)
                .join(member, member.checkpoint_id == checkpoint.id)
                .where(member.version_id == version.id)
                .order_by(member.shard)
            )
            runs = list(session.scalars(made))
        self.judge_of.given.update(zip(runs, folding.EXECUTED, strict=True))

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

    def _versions(self) -> list[str]:
        with self.store.catalogue.read() as session:
            version = tables.ModelVersion
            kept = (
                select(version.id).where(version.purged_at.is_(None)).order_by(version.created_at)
            )
            return list(session.scalars(kept))

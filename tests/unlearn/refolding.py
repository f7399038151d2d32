"""The judge of models that fold numbers: what a training from scratch gives, folded by itself.

It is told what each first training was given, step by step, and takes from that what the plan of a
replay leaves out.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select

from storage.catalogue import tables
from tests.unlearn import folding
from unlearn.plan.stored import decoded, load_plan, plan_of

FEWEST = 2

Steps = list[tuple[int, list[int]]]
"""What a run was given: steps, and the numbers of the rows at each."""


@dataclass
class Refolding:
    """What the runs of each first training were given."""

    given: dict[str, Steps] = field(default_factory=dict)

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
            yield from (number % folding.MOVED for number in numbers)
        start = self._start(session, run)
        for each in [*self._teachers(session, run), *([start] if start else [])]:
            yield from self.used(session, each)

    def _left(self, session: Any, run: Any, until: int) -> Iterator[tuple[int, list[int]]]:
        """What the first training of a chain was given, less what the run's plan leaves out."""
        plan, gone = plan_of(run.task_id), frozenset[int]()
        if plan is not None:
            rows = session.scalar(select(tables.Dataset.id).where(tables.Dataset.name == "rows"))
            gone = frozenset(decoded(load_plan(session, plan)[1].forget).get(rows, ()))
        for step, numbers in self.given[self._first(session, run).id]:
            left = [number for number in numbers if number % folding.MOVED not in gone]
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

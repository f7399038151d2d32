"""The watcher under test: lineage, as its users meet it."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from typing import Any

import lineage
from lineage.store import Store
from storage.errors import InvalidInputError
from tests.lineage.loops.samples import IDS
from tests.lineage.loops.verdict import Answer

NUMBERS = {name: number for number, name in enumerate(IDS)}


class LineageWatcher:
    """Watches one loop, and answers by `lineage.batch_at`.

    Of one record, ``asked``, it is asked too who saw it: both answers must be one.
    """

    def __init__(self, store: Store, asked: int = 0) -> None:
        self._store = store
        self._run = ""
        self._asked = asked

    @contextmanager
    def observe(
        self, function: Callable[..., AbstractContextManager[Any]], *args: Any, **given: Any
    ) -> Iterator[Any]:
        """Watch the block with one of the functions that observe."""
        with function(self._store, "rows", "m", *args, **given) as run:
            self._run = run.id
            yield run

    def answers(self) -> list[Answer]:
        """Return what is said of each step, which both questions must say alike."""
        answers = self._told()
        self._check(self._asked, answers)
        return answers

    def _told(self) -> list[Answer]:
        answers: list[Answer] = []
        for step in count():
            try:
                told = lineage.batch_at(self._store, self._run, step)
            except InvalidInputError:  # the run has no such step
                break
            named = frozenset(NUMBERS[record.id] for record in told.records if record.applied)
            answers.append(Answer(named, told.bound, told.complete))
        return answers

    def _check(self, number: int, answers: list[Answer]) -> None:
        """Ask who saw a record: the steps at which it is named, and whether they are bounds."""
        told = lineage.who_saw(self._store, "record", IDS[number])
        assert told.state != "erased"
        steps = [step for step, answer in enumerate(answers) if number in answer.named]
        bounds = [step for step in steps if answers[step].bound]
        said = [*told.steps.get(self._run, ())], [*told.bounds.get(self._run, ())]
        assert said == (steps, bounds), f"who_saw and batch_at differ: {said}, {steps}, {bounds}"
        complete = self._run not in told.incomplete
        assert complete is all(answer.complete for answer in answers)

"""A trial: loops of plain torch over numbered records, watched by us and by the judge."""

from collections import Counter
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from sqlalchemy import select
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import lineage
from lineage.integrations.torch import Observation, observe
from lineage.provenance.query import WhoSaw
from lineage.training.recording import bounds_of, open_recording
from storage.catalogue import tables


class Samples(Dataset[dict[str, Any]]):
    """Sample ``i`` knows its number, the id of its record, and an input."""

    def __init__(self, rows: Sequence[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> dict[str, Any]:
        row = self.rows[number]
        return {"id": row["id"], "number": number, "x": torch.tensor([float(row["x"])])}


class Trial:
    """A store with 12 records, a judged model and optimizer, and what is to be compared."""

    def __init__(self, store: Any, judging: Any, rows: Sequence[dict[str, Any]]) -> None:
        torch.manual_seed(0)
        self.store = store
        self.judging = judging
        self.judge = judging.Judge()
        self.samples = Samples(rows)
        self.model = judging.Traced(self.judge)
        self.optimizer = self.made(torch.optim.SGD, self.model)

    def made(self, kind: type[torch.optim.Optimizer], *models: Any, **options: Any) -> Any:
        """A judged optimizer of some models."""
        parameters = [each for model in models for each in model.parameters()]
        return self.judge.optimizer(kind, parameters, lr=0.01, **options)

    def observe(self, **changed: Any) -> AbstractContextManager[Observation]:
        """Watch the block; by default it trains the model with the optimizer."""
        given = {"optimizer": self.optimizer, "model": self.model, **changed}
        return observe(self.store, "people", "m", **given)

    def loader(self, dataset: Any = None, **options: Any) -> DataLoader[Any]:
        """A shuffling loader of batches of 5, unless told otherwise."""
        plain = {"batch_size": 5, "shuffle": True}
        own = {"batch_sampler", "sampler"} & options.keys() or options.get("batch_size", 1) is None
        return DataLoader(dataset or self.samples, **({} if own else plain) | options)

    def loss(self, batch: Any) -> Tensor:
        """A loss of which every record of a batch has a part."""
        total: Tensor = self.model(batch["x"], batch["number"]).sum()
        return total

    def learn(self, batch: Any) -> None:
        """One whole step on a batch."""
        self.optimizer.zero_grad()
        self.loss(batch).backward()
        self.optimizer.step()

    def epochs(self, loader: Any, count: int = 2) -> None:
        """Some epochs of whole steps."""
        for _ in range(count):
            for batch in loader:
                self.learn(batch)

    def answers(self) -> dict[int, WhoSaw]:
        """What `lineage.who_saw` says of each record, by its number."""
        return {
            number: lineage.who_saw(self.store, "record", row["id"])
            for number, row in enumerate(self.samples.rows)
        }

    def recorded(self) -> dict[int, set[int]]:
        """Record number → the steps that learned from it, as `lineage.who_saw` says."""
        found = {}
        for number, answer in self.answers().items():
            assert answer.complete
            found[number] = {step for steps in answer.steps.values() for step in steps}
            told = {step for steps in answer.bounds.values() for step in steps}
            assert told == found[number] & self.bounds()
        return found

    def complete(self) -> bool:
        """Return True if nothing was given to the run that nobody knows."""
        (complete,) = {answer.complete for answer in self.answers().values()}
        return complete

    def bounds(self) -> set[int]:
        """Return the steps that may have learned from less, as the recording says."""
        with self.store.catalogue.read() as session:
            return set(bounds_of(session.scalars(select(tables.RunRecording)).one()))

    def idle(self) -> Counter[int]:
        """How often each record was visited without an update, as the recording says."""
        with self.store.catalogue.read() as session:
            recording_id = session.scalar(select(tables.RunRecording.recording_id))
        recording = open_recording(self.store, recording_id)
        visits = recording.visits(np.arange(len(self.samples)))
        applied = recording.batches.applied[visits.batches]
        return Counter(visits.rows[~applied].tolist())

    def assert_as_judged(self) -> None:
        """The lineage is exactly what the judge saw, and says so."""
        self.assert_steps_as_judged()
        assert self.idle() == self.judge.idle()

    def assert_steps_as_judged(self) -> None:
        """Each step is exactly what the judge saw; records may have been looked at in vain."""
        assert sum(map(len, self.judge.learned().values())) > 0
        assert self.recorded() == self.judge.learned()
        assert self.bounds() == set()

    def assert_nothing_missing(self, *, bounds: Collection[int] | None = None) -> None:
        """Each step is what the judge saw, or is marked as a bound and names that and more.

        ``bounds`` are the steps that have to be marked; None: any that need it.
        """
        recorded, learned, marked = self.recorded(), self.judge.learned(), self.bounds()
        idle = self.idle()
        for number, steps in learned.items():
            assert steps <= recorded[number]
            assert recorded[number] - steps <= marked
        assert all(recorded[number] or idle[number] for number in self.judge.idle())
        if bounds is not None:
            assert marked == set(bounds)

"""Loops of plain PyTorch inside a program: loaders of their own, and the same bytes every time."""

from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.errors import LineageError, ProgramError, ProgramFailedError, ScheduleError
from lineage.training.ensemble import Recipe, prepare, resume, train
from lineage.training.execute import execute
from lineage.training.program import load_program
from storage.catalogue import tables

PROGRAM = '''
import json
import os
import random
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler, DataLoader, Dataset, IterableDataset, RandomSampler, WeightedRandomSampler
)

import lineage
from lineage.integrations.torch import Rows, loaded


class Own(Dataset):
    """Augments its rows with everything there is; ``reads`` says which rows item i reads."""

    def __init__(self, rows, reads):
        self.rows = rows
        self.reads = reads

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        places = {"own": [i], "twice": [i, i], "other": [i - 1], "two": [i, 0, 5], "none": []}
        read = [self.rows[place] for place in places[self.reads]]
        x = sum((float(each["x"]) for each in read), 0.0)
        noise = torch.randn(()).item() + np.random.normal() + random.random()
        return {"id": str(read[0]["id"]) if read else "", "x": x + 0.1 * noise}


class Stream(IterableDataset):
    def __iter__(self):
        return iter([{"id": "", "x": 0.0}])


class Turning:
    """Batches of five that begin one row later in each epoch that is drawn."""

    def __init__(self, rows):
        self.rows = rows
        self.epoch = 0

    def __len__(self):
        return 3

    def __iter__(self):
        self.epoch += 1
        order = np.roll(np.arange(self.rows), self.epoch).tolist()
        return iter([order[:4], order[4:8], order[8:]])


def collate(samples):
    x = torch.tensor([each["x"] for each in samples])[:, None] + random.random()
    return [each["id"] for each in samples], x + np.random.normal() + torch.randn(len(x), 1)


def loader_for(run, dataset):
    kind = run.config.get("loader", "shuffle")
    generator = torch.Generator()
    options = {
        "shuffle": {"batch_size": 4, "shuffle": True},
        "generator": {"batch_size": 4, "shuffle": True, "generator": generator},
        "weighted": {
            "batch_size": 4,
            "sampler": WeightedRandomSampler(torch.ones(len(dataset)), 12, generator=generator),
        },
        "batches": {"batch_sampler": BatchSampler(RandomSampler(dataset), 5, drop_last=True)},
        "turning": {"batch_sampler": Turning(len(dataset))},
        "single": {"batch_size": None, "collate_fn": None},
        "stream": {"batch_size": 4},
    }
    workers = run.config.get("workers", 0)
    plain = {"collate_fn": collate, "num_workers": workers}
    if workers:
        plain["prefetch_factor"] = run.config.get("prefetch", 2)
    return DataLoader(Stream() if kind == "stream" else dataset, **(plain | options[kind]))


def note(step, ids):
    with open(os.environ["TALLY_LOG"], "a") as log:
        log.write(json.dumps({"kind": "batch", "step": step, "ids": ids}) + "\\n")


def trapped(step):
    trap = Path(os.environ["TALLY_TRAP"])
    if trap.is_file() and int(trap.read_text().split()[0]) == step:
        trap.unlink()
        raise OSError(f"the trap at step {step}")


@lineage.program
def train(run):
    people = run.dataset("people")
    run.randomness("numpy", "random")
    model = nn.Sequential(nn.Linear(1, 4), nn.Dropout(0.5), nn.Linear(4, 1))
    optimizer = torch.optim.Adam(model.parameters())
    run.track(model=model, optimizer=optimizer)
    own = Own(Rows(run, people), run.config.get("reads", "own"))
    for ids, x in loaded(run, people, loader_for(run, own)):
        trapped(run.step)
        note(run.step, ids)
        optimizer.zero_grad()
        (model(x).square().mean() + np.random.normal() + random.random()).backward()
        optimizer.step()


@lineage.program
def draws(run):
    run.draw([[0, 1, 2], [3, 4]])
    for _ in run.batches(run.dataset("people")):
        pass


@lineage.program
def forgets(run):
    for _ in run.batches(run.dataset("people")):
        pass
'''
SCHEDULES = ("stable", "recorded")


class Bench:
    """Trains the program on twelve records, in steps of about four."""

    def __init__(self, store: Any, tally: Any, workshop: Any, root: Path) -> None:
        (root / "looped.py").write_text(PROGRAM)
        self.store, self.tally, self.root = store, tally, root
        tally.register(store, rows=workshop.people(4, 3))

    def recipe(self, schedule: str, **config: Any) -> Recipe:
        return Recipe(
            epochs=4,
            batch_size=4,
            min_batch=1,
            checkpoint_every=5,
            schedule=schedule,  # type: ignore[arg-type]
            config=config,
        )

    def train(self, schedule: str, name: str = "train", **config: Any) -> tables.ModelVersion:
        program = load_program(f"looped.py:{name}", self.root)
        recipe = self.recipe(schedule, **config)
        return train(self.store, program, {"people": "people"}, "m", recipe)

    def prepare(self, schedule: str, **config: Any) -> tuple[str, str]:
        """A training, and its run."""
        program = load_program("looped.py:train", self.root)
        recipe = self.recipe(schedule, **config)
        training = prepare(self.store, program, {"people": "people"}, "m", recipe)
        with self.store.catalogue.read() as session:
            return training, session.query(tables.Run).filter_by(training_id=training).one().id

    def assert_recorded(self) -> None:
        """Who_saw names the steps in which the program was given each record."""
        given: dict[str, set[int]] = {}
        for step, ids in self.tally.consumed():
            for each in ids:
                given.setdefault(each, set()).add(step)
        assert given
        for row in range(12):
            name = f"record-{row:04d}"
            answer = lineage.who_saw(self.store, "record", name)
            assert {s for steps in answer.steps.values() for s in steps} == given.get(name, set())


@pytest.fixture
def bench(store: Any, tally: Any, workshop: Any, tmp_path: Path) -> Bench:
    return Bench(store, tally, workshop, tmp_path)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_bytes_depend_on_no_worker_and_no_interruption(bench: Bench, schedule: str) -> None:
    whole = bench.train(schedule).digest
    given = bench.tally.consumed()
    for workers, prefetch in ((1, 2), (2, 4)):
        bench.tally.forget_the_log()
        assert bench.train(schedule, workers=workers, prefetch=prefetch).digest == whole
        assert bench.tally.consumed() == given
    for workers, trap in ((0, 7), (2, 4)):
        bench.tally.forget_the_log()
        training, _ = bench.prepare(schedule, workers=workers)
        bench.tally.spring(trap, "error")
        with pytest.raises(ProgramFailedError, match="OSError"):
            resume(bench.store, training)
        assert resume(bench.store, training).digest == whole
        assert bench.tally.consumed()[-5:] == given[-5:]


def test_a_run_can_be_executed_in_parts(bench: Bench) -> None:
    whole = bench.train("stable").digest
    training, run_id = bench.prepare("stable", workers=2)
    execute_partly(bench, run_id, 5)
    execute_partly(bench, run_id, 10)
    assert resume(bench.store, training).digest == whole


def execute_partly(bench: Bench, run_id: str, until: int) -> None:
    """Go on to a step, as a worker that is asked for a part of a run."""
    execute(bench.store, run_id, until=until)
    with bench.store.catalogue.write() as session:
        session.get_one(tables.Run, run_id).state = "pending"


@pytest.mark.parametrize("loader", ["shuffle", "generator", "weighted", "batches"])
def test_a_recorded_order_is_that_of_the_loader_and_is_known_to_the_step(
    bench: Bench, loader: str
) -> None:
    whole = bench.train("recorded", loader=loader).digest
    bench.assert_recorded()
    sizes = [len(ids) for _, ids in bench.tally.consumed()]
    assert sizes == ([5] * 8 if loader == "batches" else [4] * 12)
    orders = {tuple(ids) for _, ids in bench.tally.consumed()}
    assert len(orders) == len(sizes)
    training, _ = bench.prepare("recorded", loader=loader, workers=2)
    bench.tally.spring(7, "error")
    with pytest.raises(ProgramFailedError, match="OSError"):
        resume(bench.store, training)
    assert resume(bench.store, training).digest == whole


@pytest.mark.parametrize("loader", ["shuffle", "batches"])
def test_under_a_stable_schedule_the_sampler_is_not_asked(bench: Bench, loader: str) -> None:
    bench.train("stable", loader=loader)
    bench.assert_recorded()
    by_sampler = bench.tally.consumed()
    bench.tally.forget_the_log()
    bench.train("stable", loader="turning")
    assert bench.tally.consumed() == by_sampler


def test_what_a_loader_reads_long_before_is_what_is_recorded(bench: Bench) -> None:
    bench.train("recorded", loader="turning", workers=2, prefetch=4)
    bench.assert_recorded()


def test_a_row_may_be_read_twice(bench: Bench) -> None:
    bench.train("stable", reads="twice")
    bench.assert_recorded()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    ("reads", "rows"), [("other", "-?[0-9]+"), ("two", "0, [0-9, ]+"), ("none", "none")]
)
def test_an_item_must_be_made_of_its_own_row(
    bench: Bench, reads: str, rows: str, workers: int
) -> None:
    match = f"^item [0-9]+ of the loader's dataset read these rows: {rows}$"
    with pytest.raises(ProgramError, match=match) as found:
        bench.train("recorded", reads=reads, workers=workers)
    assert "row i of lineage's Rows" in found.value.hint
    with bench.store.catalogue.read() as session:
        assert session.query(tables.Run).one().state == "failed"


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("loader", ["single", "stream"])
def test_a_loader_whose_rows_cannot_be_chosen_is_refused(
    bench: Bench, loader: str, schedule: str
) -> None:
    with pytest.raises(ProgramError, match="its rows cannot be chosen") as found:
        bench.train(schedule, loader=loader)
    assert "watch the loop" in found.value.hint


@pytest.mark.parametrize(
    ("schedule", "name", "kind", "sentence", "hint"),
    [
        ("stable", "draws", ProgramError, "has a stable schedule", "--schedule recorded"),
        ("recorded", "forgets", ProgramError, "has not said how to draw it", "run.draw"),
    ],
)
def test_who_draws_and_who_does_not_is_agreed_on(
    bench: Bench, schedule: str, name: str, kind: type[LineageError], sentence: str, hint: str
) -> None:
    with pytest.raises(kind, match=sentence) as found:
        bench.train(schedule, name)
    assert hint in found.value.hint


@pytest.mark.parametrize("cells", [{"shards": 2}, {"slices": 2}])
def test_a_recorded_order_has_no_shards_and_no_slices(bench: Bench, cells: Any) -> None:
    program = load_program("looped.py:draws", bench.root)
    with pytest.raises(ScheduleError, match="isolates no shards and no slices"):
        train(bench.store, program, {"people": "people"}, "m", Recipe(schedule="recorded", **cells))


def test_an_order_of_ones_own_is_recorded(bench: Bench) -> None:
    bench.train("recorded", "draws")
    steps = lineage.who_saw(bench.store, "record", "record-0003").steps
    assert [*steps.values()] == [(1, 3, 5, 7)]

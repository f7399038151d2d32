"""Rows of a run are read where it is known what they are read for, and nowhere else."""

from pathlib import Path
from typing import Any

import pytest

import lineage
from lineage.errors import ProgramError, UnattributedReadError
from lineage.training.ensemble import Recipe
from lineage.training.program import load_program

PROGRAM = '''
import copy
import json
import os

import numpy as np
from torch.utils.data import DataLoader, Dataset

import lineage
from lineage.integrations.torch import Rows, loaded

class Sum:
    def __init__(self):
        self.total = np.zeros(1)

    def state_dict(self):
        return {"total": self.total.copy()}

    def load_state_dict(self, state):
        self.total = state["total"].copy()


def nothing(item):
    pass


class Items(Dataset):
    """Reads its row, and what else it is told to."""

    def __init__(self, rows, also=nothing):
        self.rows, self.also = rows, also

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, item):
        self.also(item)
        return float(self.rows[item]["x"])


class Swallows(Items):
    def __getitem__(self, item):
        try:
            self.also(item)
        except lineage.errors.ProgramError:
            pass
        return float(self.rows[item]["x"])


def note(what):
    with open(os.environ["TALLY_LOG"], "a") as log:
        log.write(json.dumps({"kind": "batch", "step": 0, "ids": what}) + "\\n")


@lineage.program
def train(run):
    a, v = run.dataset("a"), run.dataset("v")
    model = Sum()
    run.track(model=model)
    rows, others = Rows(run, a, ["x"]), Rows(run, v, ["x"])
    WHERE[run.config.where](run, model, a, v, rows, others)


def learn(run, model, a, items):
    workers = run.config.get("workers", 0)
    loader = DataLoader(items, batch_size=4, num_workers=workers)
    for batch in loaded(run, a, loader):
        model.total = model.total + float(batch.sum())


def before(run, model, a, v, rows, others):
    model.total = model.total + rows[0]["x"]
    learn(run, model, a, Items(rows))


def between(run, model, a, v, rows, others):
    for _ in run.batches(a):
        model.total = model.total + rows[1]["x"]


def of_another(run, model, a, v, rows, others):
    for _ in run.batches(a):
        model.total = model.total + others[2]["x"]


def columns(run, model, a, v, rows, others):
    run.columns(v)


def upcoming(run, model, a, v, rows, others):
    next(run.upcoming(v))


def in_an_item(run, model, a, v, rows, others):
    learn(run, model, a, Items(rows, others.__getitem__))


def swallowed(run, model, a, v, rows, others):
    learn(run, model, a, Swallows(rows, others.__getitem__))


def copied(run, model, a, v, rows, others):
    learn(run, model, a, copy.deepcopy(Items(rows)))


def measure(rows, count):
    return {"mean": float(np.mean([rows[row]["x"] for row in range(count)]))}


def evaluated(run, model, a, v, rows, others):
    for _ in run.batches(a):
        got = run.evaluate(lambda batch: measure(others, len(batch)), v)
        note([got["mean"]])


def evaluated_of_another(run, model, a, v, rows, others):
    run.evaluate(lambda batch: measure(rows, len(batch)), v)


def fitted(run, model, a, v, rows, others):
    run.fit(lambda batch: measure(others, 12)["mean"], v)
    learn(run, model, a, Items(rows))


def kept_from_evaluate(run, model, a, v, rows, others):
    kept = []
    run.evaluate(lambda batch: kept.append(batch) or {"n": 0.0}, v)
    kept[0]["x"]


def kept_batch(run, model, a, v, rows, others):
    last = None
    for batch in run.batches(a):
        if last is not None:
            last["x"]
        last = next(batch.micro(1))


def workers_of_evaluate(run, model, a, v, rows, others):
    loader = DataLoader(Items(others), batch_size=4, num_workers=2)
    run.evaluate(lambda batch: {"sum": float(sum(map(sum, loader)))}, v)


def late(run, model, a, v, rows, others):
    loader = DataLoader(Items(others), batch_size=4)
    kept = []
    run.evaluate(lambda batch: kept.append(iter(loader)) or {"n": 0.0}, v)
    next(kept[0])


class ByValue:
    """Sorts its rows by what they hold."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return 3

    def __iter__(self):
        order = sorted(range(12), key=lambda row: -self.rows[row]["x"])
        return iter([order[:4], order[4:8], order[8:]])


def drawn(run, model, a, v, rows, others):
    run.draw(ByValue(rows))
    for batch in run.batches(a):
        note(batch["x"].tolist())


WHERE = {
    each.__name__: each
    for each in (
        before, between, of_another, columns, upcoming, in_an_item, swallowed, copied, evaluated,
        evaluated_of_another, fitted, kept_from_evaluate, kept_batch, workers_of_evaluate, late,
        drawn,
    )
}
'''


class Bench:
    """Twelve rows in ``a``, which is trained on, and twelve in ``v``."""

    def __init__(self, store: Any, tally: Any, workshop: Any, root: Path) -> None:
        (root / "reads.py").write_text(PROGRAM)
        self.store, self.tally, self.root = store, tally, root
        for name in ("a", "v"):
            tally.register(store, name, workshop.people(4, 3))

    def train(self, where: str, **changed: Any) -> Any:
        settings = {"schedule": "stable", "shards": 1, **changed}
        config = {"where": where, "workers": settings.pop("workers", 0)}
        recipe = Recipe(epochs=1, batch_size=4, min_batch=1, config=config, **settings)
        program = load_program("reads.py:train", self.root)
        return lineage.train(self.store, program, {"a": "a", "v": "v"}, "m", recipe)


@pytest.fixture
def bench(store: Any, tally: Any, workshop: Any, tmp_path: Path) -> Bench:
    return Bench(store, tally, workshop, tmp_path)


@pytest.mark.parametrize(
    ("where", "alias", "hint"),
    [
        ("before", "a", "inside `loaded`"),
        ("between", "a", "run.fit fits on rows, run.evaluate measures them"),
        ("of_another", "v", "to learn from its rows train on 'v'"),
        ("evaluated_of_another", "a", "run.evaluate"),
        ("late", "v", "run.evaluate"),
    ],
)
def test_case_m_second_dataset_by_rows_and_other_reads_that_no_step_has_are_refused(
    bench: Bench, where: str, alias: str, hint: str
) -> None:
    with pytest.raises(UnattributedReadError, match=f"row . of dataset '{alias}' is read") as found:
        bench.train(where)
    assert hint in found.value.hint


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("where", ["in_an_item", "swallowed"])
def test_case_m_second_dataset_by_rows_is_refused_inside_items_of_the_first(
    bench: Bench, where: str, workers: int
) -> None:
    match = "row [0-9]+ of dataset 'v' is read by item [0-9]+ of the loader's dataset"
    with pytest.raises(ProgramError, match=match):
        bench.train(where, workers=workers)


def test_columns_of_a_run_are_not_handed_out_whole(bench: Bench) -> None:
    with pytest.raises(ProgramError, match="ended with AttributeError"):
        bench.train("columns")


def test_the_steps_of_another_dataset_cannot_be_asked_for(bench: Bench) -> None:
    with pytest.raises(ProgramError, match="schedule is over 'a', not 'v'"):
        bench.train("upcoming")


@pytest.mark.parametrize("where", ["kept_from_evaluate", "kept_batch"])
def test_a_batch_that_is_kept_cannot_be_read_later(bench: Bench, where: str) -> None:
    with pytest.raises(UnattributedReadError, match=r"is read after (run\.evaluate|step)"):
        bench.train(where)


def test_worker_processes_read_the_items_that_are_due(bench: Bench) -> None:
    whole = bench.train("copied").digest
    assert bench.train("copied", workers=2).digest == whole


def test_a_copied_dataset_reads_its_own_rows(bench: Bench) -> None:
    bench.train("copied")
    assert lineage.who_saw(bench.store, "record", "record-0003", "a").state == "trained"


def test_rows_are_read_in_the_evaluation_of_their_dataset(bench: Bench) -> None:
    bench.train("evaluated")
    mean = sum(row / 7 - 3 for row in range(12)) / 12
    assert bench.tally.consumed()[0][1] == [pytest.approx(mean)]
    seen = lineage.who_saw(bench.store, "record", "record-0003", "v")
    assert (seen.state, bool(seen.measured)) == ("not-trained", True)


def test_rows_are_read_in_a_fit_of_their_dataset(bench: Bench) -> None:
    bench.train("fitted")
    assert lineage.who_saw(bench.store, "record", "record-0003", "v").state == "trained"


def test_the_fit_of_a_shard_reads_no_rows_of_another(bench: Bench) -> None:
    with pytest.raises(UnattributedReadError, match="by the fit of a shard that it is not in"):
        bench.train("fitted", shards=2)


def test_worker_processes_of_an_evaluation_read_nothing(bench: Bench) -> None:
    with pytest.raises(
        UnattributedReadError, match="of dataset 'v' is read outside of what a step"
    ):
        bench.train("workers_of_evaluate")


def test_an_order_may_look_at_the_rows_while_it_is_drawn(bench: Bench) -> None:
    bench.train("drawn", schedule="recorded")
    given = [x for _, batch in bench.tally.consumed() for x in batch]
    assert given == sorted(given, reverse=True)
    assert len(given) == 12

"""State that a program keeps between steps and does not track is named at the first checkpoint."""

import json
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lineage.errors import ProgramFailedError
from lineage.provenance import listing
from lineage.store import Store
from lineage.training.ensemble import Recipe, train
from lineage.training.kept_state import is_covered, mark
from lineage.training.program import load_program
from storage.catalogue import tables
from tests.workshop import Bench, Clock, rows_of

PROGRAM = """
import random
from collections import deque
from functools import lru_cache
import math
import numpy as np
import lineage

COUNT, TABLE, MEMORY, RATE = 0, {{"a": 1}}, [], 0.1
NOISE = np.random.default_rng(1)

class Model:
    def __init__(self): self.w = np.zeros(2)
    def state_dict(self): return {{"w": self.w.copy()}}
    def load_state_dict(self, state): self.w = state["w"].copy()
    def learn(self, x, by=RATE): self.w = self.w + by * np.tanh(x.mean() - self.w)

class Average:
    def __init__(self): self.slow, self.told = np.zeros(2), 0.0

class Slotted:
    __slots__ = ("slow",)
    def __init__(self): self.slow = np.zeros(2)

@lru_cache
def square(n): return n * n

@lineage.program
def train(run):
    global COUNT, MEMORY
    model = Model()
    run.track(model=model)
    records = run.dataset("people")
{before}
    for batch in run.batches(records):
        model.learn(batch["x"])
{step}
"""

Trains = Callable[..., tuple[str, ...]]


@pytest.fixture
def trains(tmp_path: Path) -> Trains:
    """Trains a program with these lines, and returns what it was found not to track."""

    def found(before: str = "", step: str = "", program: str = PROGRAM, **recipe: Any) -> Any:
        lines = {"before": indent(dedent(before), " " * 4), "step": indent(dedent(step), " " * 8)}
        (tmp_path / "keeper.py").write_text(program.format(**lines))
        with Store.create(tmp_path / "store", clock=Clock()) as store:
            Bench(tmp_path, tmp_path).register(store)
            program_ = load_program("keeper.py:train", tmp_path)
            sizes = Recipe(epochs=2, batch_size=8, checkpoint_every=6, **recipe)
            train(store, program_, {"people": "people"}, "m", sizes)
            runs = [listing.run(store, row.id) for row in rows_of(store, tables.Run)]
        assert len({each.untracked for each in runs}) == 1
        return runs[0].untracked

    return found


@pytest.mark.parametrize(
    ("before", "step", "name"),
    [
        ("slow = np.zeros(2)", "slow = 0.9 * slow + model.w", "slow (ndarray)"),
        ("slow = np.zeros(2)", "slow += model.w", "slow (ndarray)"),
        ("slow = Average()", "slow.slow = slow.slow + model.w", "slow.slow (ndarray)"),
        ("slow = Slotted()", "slow.slow = slow.slow + model.w", "slow.slow (ndarray)"),
        ("memory = deque()", "memory.append(model.w)", "memory (ndarray)"),
        ("seen = {'k': [np.zeros(2)]}", "seen['k'][0] += 1", "seen (ndarray)"),
        ("draws = np.random.default_rng(0)", "draws.random()", "draws (Generator)"),
        ("draws = np.random.RandomState(0)", "draws.rand()", "draws (RandomState)"),
        ("draws = random.Random(0)", "draws.random()", "draws (Random)"),
        ("holder = [random.Random(0)]", "holder[0].random()", "holder (Random)"),
        ("", "COUNT += 1", "keeper.COUNT (int)"),
        ("", "TABLE['a'] += 1", "keeper.TABLE (dict)"),
        ("", "MEMORY.append('x')", "keeper.MEMORY (list)"),
        ("", "NOISE.random()", "keeper.NOISE (Generator)"),
        ("MEMORY = [0] * 20_000", "MEMORY.append(0)", "keeper.MEMORY (list)"),
    ],
)
def test_what_changes_and_is_not_tracked_is_named(
    trains: Trains, capsys: pytest.CaptureFixture[str], before: str, step: str, name: str
) -> None:
    assert trains(before, step) == (name,)
    said = capsys.readouterr().err
    assert f"the program keeps {name} between steps, which is not tracked" in said


@pytest.mark.parametrize(
    ("before", "step"),
    [
        ("", "loss = model.w.sum(); answer = [model.w]"),
        ("loss = None", "loss = model.w - 1"),
        ("total = 0.0; history = []", "total += model.w.sum(); history.append(float(total))"),
        ("rng = np.random.default_rng(0); first = rng.random(2)", "first.sum()"),
        ("rng = random.Random(0); rng.random()", "square(run.step)"),
        ("table = np.arange(100)", "table.sum() + math.pi"),
        ("weights = model.w", "weights = model.w"),
        ("inner = [model, {'m': model}]", "inner[0].w.sum()"),
        ("average = Average()", "average.told += 1"),
        ("system = random.SystemRandom()", "system.random()"),
        ("", "np.random.normal(); random.random()"),
        ("strange = np.array([object()]); sums = np.zeros(3, 'U4')", "strange[0] = object()"),
    ],
)
def test_what_is_no_state_raises_no_alarm(
    trains: Trains, capsys: pytest.CaptureFixture[str], before: str, step: str
) -> None:
    assert trains(before, step) == ()
    assert capsys.readouterr().err == ""


def test_what_is_tracked_under_another_name_or_inside_something_is_no_alarm(
    trains: Trains,
) -> None:
    whole = """
    class All:
        def state_dict(self): return {"parts": [slow.slow, draws.bit_generator.state]}
        def load_state_dict(self, state): pass
    slow, draws = Average(), np.random.default_rng(0)
    run.track(rest=All())
    """
    assert trains(whole, "slow.slow = slow.slow + 1; draws.random()") == ()


def test_it_is_said_once_for_all_shards_and_kept_for_each(
    trains: Trains, capsys: pytest.CaptureFixture[str]
) -> None:
    found = trains("slow = np.zeros(2)", "slow += 1", shards=2, slices=2)
    assert found == ("slow (ndarray)",)
    assert capsys.readouterr().err.count("which is not tracked") == 1


def test_a_generator_that_wraps_the_batches_is_looked_into(trains: Trains) -> None:
    wrapped = """
    def stream(batches):
        carried = np.zeros(2)
        for batch in batches:
            carried += batch["x"].mean()
            yield batch
    source = stream(run.batches(records))
    """
    program = PROGRAM.replace("run.batches(records):", "source:")
    assert trains(wrapped, program=program) == ("carried (ndarray)",)


def test_a_frame_keeps_nothing_of_what_was_read(trains: Trains) -> None:
    """An object of a step must end with its step, or the memory of a device would fill."""
    watched = """
    import weakref
    class Big: pass
    ends = []
    """
    step = """
    big = Big()
    ends.append(weakref.ref(big))
    assert all(end() is None for end in ends[:-1]), run.step
    """
    assert trains(watched, step) == ()


def test_a_run_that_failed_before_its_first_checkpoint_was_not_looked_at(
    trains: Trains, tmp_path: Path
) -> None:
    with pytest.raises(ProgramFailedError):
        trains("slow = np.zeros(2)", "slow += 1\nraise OSError")
    with Store.open(tmp_path / "store") as store:
        (row,) = rows_of(store, tables.Run)
        assert listing.run(store, row.id).untracked is None


plain = st.one_of(st.integers(), st.floats(), st.text(max_size=3), st.booleans(), st.none())
arrays = st.lists(st.integers(-3, 3), max_size=3).map(lambda values: np.array(values, float))
contents = st.recursive(
    plain | arrays,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


def spelled(content: Any) -> str:
    """A content as text: another way to tell contents apart."""

    def array(value: Any) -> Any:
        return ["array", value.tolist(), str(value.dtype)]

    return json.dumps(content, default=array)


@given(contents, contents)
def test_contents_have_equal_marks_where_they_are_equal(one: Any, other: Any) -> None:
    assert (mark(one) == mark(other)) == (spelled(one) == spelled(other))
    assert mark(one) == mark(one)


@given(st.dictionaries(st.text(max_size=2), contents, min_size=1))
def test_whatever_is_in_a_state_is_covered_by_it(state: dict[str, Any]) -> None:
    marks: set[bytes] = set()
    mark(state, marks)
    assert is_covered(state, marks)
    for part in state.values():
        is_plain = isinstance(part, (int, float, str, bool))
        assert is_covered(part, marks) is not is_plain

"""Small random training histories, really executed, beside the diary of every row they used."""

import math
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from lineage.data.dataset import append, head
from lineage.data.transform import TransformFunction
from lineage.errors import PlacementError
from lineage.source import load
from lineage.store import Store
from lineage.training.ensemble import Recipe, prepare, resume
from lineage.training.execute import execute
from lineage.training.lesson import derive
from lineage.training.program import load_program
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.intake import Column, ColumnKind
from storage.rows import Rows

Row = tuple[int, str, tuple[str, ...]]
"""A number that no other row has, the record's id, and whom it is about: nobody, one or two."""

MEMORY = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where stores are made: what is asked here is who saw whom, not whether a disk is durable."""

COLUMNS = (
    Column(name="id", kind=ColumnKind.INTEGER),
    Column(name="x", kind=ColumnKind.REAL),
    Column(name="risk", kind=ColumnKind.REAL),
)
PEOPLE = [(), ("p1",), ("p2",), ("p3",), ("p4",), ("p5", "p1"), ("p2", "p6")]


@dataclass(frozen=True)
class Training:
    """One training: what of, how, and what befalls it.

    ``start`` picks one of the checkpoints there are then, to fine-tune from, and ``given`` some of
    the versions, to be read. Without a dataset it takes no step: it is made of these alone. ``new``
    rows are added to the dataset before it. ``teacher`` picks a version that makes of the dataset
    what is trained on instead. At step ``interrupt`` its first run is interrupted;
    then it is resumed or given up.
    """

    dataset: str | None
    recipe: Recipe
    model: str = "m"
    fit: tuple[str, ...] = ()
    evaluate: tuple[str, ...] = ()
    start: int | None = None
    given: tuple[int, ...] = ()
    new: tuple[Row, ...] = ()
    teacher: int | None = None
    interrupt: int | None = None
    resumed: bool = True


@dataclass(frozen=True)
class History:
    """Rows of datasets, transforms between them (function, from, to), and trainings in order."""

    rows: dict[str, tuple[Row, ...]]
    trainings: tuple[Training, ...]
    derived: tuple[tuple[str, str, str], ...] = ()


@dataclass
class Lived:
    """A history that happened: the store, and what each run's program wrote in its diary."""

    store: Store
    program: Any
    entries: list[tuple[str, int, list[int]]]
    diary: dict[str, list[tuple[str, int, list[int]]]] = field(default_factory=dict)
    rows: dict[str, list[Row]] = field(default_factory=dict)
    aggregated: list[tuple[int, list[int]]] = field(default_factory=list)
    taught: set[tuple[int, int]] = field(default_factory=set)
    versions: list[str] = field(default_factory=list)

    def questions(self) -> Iterator[tuple[str, str, str, set[int]]]:
        """What can be asked: the kind of id, the id, where it is one, and the numbers of its rows.

        Everybody there is, and a few records of the first dataset.
        """
        every = [row for rows in self.rows.values() for row in rows]
        for person in sorted({person for _, _, people in every for person in people}):
            numbers = {number for number, _, people in every if person in people}
            yield "subject", person, "people", numbers
        for _, record, _ in self.rows["a"][:: len(self.rows["a"]) // 3]:
            yield "record", record, "a", {n for n, name, _ in self.rows["a"] if name == record}

    def sql(self, query: str) -> list[Any]:
        """Ask the catalogue's file directly."""
        with sqlite3.connect(self.store.path / "catalogue.db") as connection:
            return connection.execute(query).fetchall()

    def take(self) -> list[tuple[str, int, list[int]]]:
        """The diary since this was last asked."""
        taken = self.entries[:]
        self.entries.clear()
        self.aggregated += [(first, rows) for kind, first, rows in taken if kind == "aggregate"]
        self.taught |= {
            (first, row) for kind, first, rows in taken if kind == "taught" for row in rows
        }
        return [each for each in taken if each[0] != "taught"]

    @property
    def lessons(self) -> dict[int, set[str]]:
        """The first number that a model gave to rows → its checkpoints."""
        known = self.program.function.__globals__["LESSONS"]
        return {first: set(checkpoints) for (checkpoints, _), first in known.items()}


@contextmanager
def lived(history: History) -> Iterator[Lived]:
    """Live through a history in a store of its own."""
    folder = Path(__file__).parent
    with tempfile.TemporaryDirectory(dir=MEMORY) as place, Store.create(Path(place)) as store:
        program = load_program("diary.py:train", folder)
        diary: dict[str, Any] = program.function.__globals__
        diary["ENTRIES"].clear()
        diary["LESSONS"].clear()
        life = Lived(store, program, diary["ENTRIES"])
        for name, rows in history.rows.items():
            _add(life, name, rows)
        for function, given, made in history.derived:
            made_of = load(f"diary.py:{function}", folder)
            assert isinstance(made_of, TransformFunction)
            derive(store, made_of, given, made)
        life.take()
        for training in history.trainings:
            _train(life, training, diary["INTERRUPT_AT"])
        yield life


def _add(life: Lived, name: str, rows: tuple[Row, ...]) -> None:
    life.rows.setdefault(name, []).extend(rows)
    known = life.sql(f"SELECT id FROM datasets WHERE name = '{name}'")
    dataset = tables.Dataset(
        id=new_id("ds"),
        name=name,
        namespace="people",
        columns=[column.model_dump(mode="json") for column in COLUMNS],
        id_columns=[],
        subject_columns=[],
        created_at=life.store.clock(),
    )
    if known:
        dataset = head(life.store, name).dataset
    numbers, records, people = zip(*rows, strict=True)
    batch = pa.record_batch(
        {"id": numbers, "x": list(map(math.sin, numbers)), "risk": [_risk(*row) for row in rows]}
    )
    piece = Rows(batch, pa.array(records), pa.array(map(list, people), pa.list_(pa.string())))
    append(life.store, dataset, [piece], source=name, update=True, salt=name.encode() * 16)


def _risk(number: int, _: str, people: tuple[str, ...]) -> float:
    """The risk of a row: that of whom it is about first."""
    return int(people[0][-1:], 36) % 7 / 7 if people else number % 5 / 5


def _train(life: Lived, training: Training, interrupt_at: set[int]) -> None:
    if training.new and training.dataset:
        _add(life, training.dataset, training.new)
    checkpoints = life.sql("SELECT id FROM checkpoints ORDER BY created_at, step")
    start = None
    if training.start is not None and checkpoints:
        start = checkpoints[training.start % len(checkpoints)][0]
    given = {}
    if life.versions:
        given = {f"m{n}": life.versions[n % len(life.versions)] for n in training.given}
    dataset = _taught(life, training)
    config = {
        "train": dataset,
        "fit": training.fit,
        "evaluate": training.evaluate,
        "given": list(given),
    }
    recipe = replace(training.recipe, config=config, start=start, given=given)
    names = (*filter(None, [dataset]), *training.fit, *training.evaluate)
    wanted = life.store, life.program, dict(zip(names, names, strict=True)), training.model
    try:
        training_id = prepare(*wanted, recipe)
    except PlacementError:
        plain = {"shard_sizes": None, "risk": None, "epochs": 3}
        recipe = replace(recipe, shards=1, slices=1, refreeze=True, **plain)
        training_id = prepare(*wanted, recipe)
    if training.interrupt is not None:
        interrupt_at.add(training.interrupt)
    if _execute(life, training_id, resumed=training.resumed):
        life.versions.append(resume(life.store, training_id).id)
    interrupt_at.clear()


def _taught(life: Lived, training: Training) -> str | None:
    """What is trained on: the dataset, or what a teacher makes of it."""
    if training.teacher is None or training.dataset is None or not life.versions:
        return training.dataset
    function = load("diary.py:taught", Path(__file__).parent)
    assert isinstance(function, TransformFunction)
    teacher = life.versions[training.teacher % len(life.versions)]
    name = f"{training.dataset}-taught"
    derive(life.store, function, training.dataset, name, {"teacher": teacher})
    life.take()
    return name


def _execute(life: Lived, training_id: str, *, resumed: bool) -> bool:
    """Execute each run of a training; whether it came to its end."""
    query = f"SELECT id FROM runs WHERE training_id = '{training_id}' ORDER BY rowid"
    for (run,) in life.sql(query):
        try:
            execute(life.store, run)
        except KeyboardInterrupt:
            if resumed:
                execute(life.store, run)
        life.diary[run] = life.take()
        if life.sql(f"SELECT state FROM runs WHERE id = '{run}'") != [("complete",)]:
            return False
    return True


HALVED, CENTRED = ("halved", "a", "c"), ("centred", "a", "c")
DERIVED: list[tuple[tuple[str, str, str], ...]] = [
    (),
    (),
    (HALVED,),
    (CENTRED,),
    (HALVED, ("centred", "c", "d")),
    (CENTRED, ("halved", "c", "d")),
]


def rows(first: int, records: int, least: int, most: int) -> st.SearchStrategy[tuple[Row, ...]]:
    """Rows numbered from ``first``, with record ids from ``records`` on."""
    people = st.lists(st.sampled_from(PEOPLE), min_size=least, max_size=most)
    return people.map(
        lambda each: tuple((first + i, str(records + i), them) for i, them in enumerate(each))
    )


@st.composite
def recipes(draw: st.DrawFn) -> Recipe:
    """Any topology, small."""
    shards, slices = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    return Recipe(
        shards=shards,
        slices=slices,
        shard_sizes=draw(st.none() | st.tuples(*[st.integers(1, 2)] * shards)),
        risk=draw(st.sampled_from([None, "risk"])),
        epochs=draw(st.integers(slices, 4) | st.tuples(*[st.integers(1, 2)] * slices)),
        batch_size=draw(st.sampled_from([3, 4, 8, 16])),
        seed=draw(st.integers(0, 9)),
        min_batch=draw(st.sampled_from([1, 2, 2, 3])),
        checkpoint_every=draw(st.sampled_from([None, 2, 3, 7])),
    )


@st.composite
def trainings(draw: st.DrawFn, names: list[str], number: int) -> Training:
    """A training on one of these datasets; any of them may be fitted on or measured with.

    A later one may be made of earlier versions, with or without steps of its own.
    """
    dataset: str | None = draw(st.sampled_from(names))
    given = draw(st.just(()) | st.sets(st.integers(0, 9), min_size=1, max_size=2).map(tuple))
    recipe = draw(recipes())
    if number and given and draw(st.booleans()):
        dataset, recipe = None, Recipe(epochs=0)
    roles = [(name, draw(st.sampled_from(["", "", "fit", "evaluate"]))) for name in names]
    records = draw(st.sampled_from([15, 100 * number]))
    return Training(
        dataset,
        recipe,
        model=draw(st.sampled_from(["m", "n"])),
        fit=tuple(name for name, role in roles if role == "fit"),
        evaluate=tuple(name for name, role in roles if role == "evaluate"),
        start=draw(st.none() | st.integers(0, 99)) if number else None,
        given=given if number else (),
        new=draw(rows(100 * number, records, 1, 9)) if number and dataset == "a" else (),
        interrupt=draw(st.none() | st.integers(1, 20)),
        resumed=draw(st.booleans()),
    )


@st.composite
def histories(draw: st.DrawFn) -> History:
    """One or two datasets, perhaps others made of the first, and one to three trainings."""
    datasets = {"a": draw(rows(0, 0, 20, 60))}
    if draw(st.booleans()):
        datasets["b"] = draw(rows(1_000, 0, 20, 30))
    derived = draw(st.sampled_from(DERIVED))
    names = [*datasets, *(made for _, _, made in derived)]
    number = draw(st.integers(1, 3))
    return History(datasets, tuple(draw(trainings(names, n)) for n in range(number)), derived)


@st.composite
def schools(draw: st.DrawFn) -> History:
    """A model, and others that learn what it or one of them made of rows, or of derived ones."""
    derived = draw(st.sampled_from(DERIVED[1:]))
    names = ["a", *(made for _, _, made in derived)]
    first = replace(draw(trainings(names, 0)), interrupt=None)
    later = tuple(
        replace(
            draw(trainings(names, number)),
            dataset=draw(st.sampled_from(names)),
            recipe=draw(recipes()),
            teacher=draw(st.integers(0, 9)),
            new=(),
        )
        for number in range(1, 2 + draw(st.integers(1, 2)))
    )
    return History({"a": draw(rows(0, 0, 20, 30))}, (first, *later), derived)


def small(recipe: Recipe, **training: Any) -> History:
    """Twenty rows, every other one about ``p1``, and one training on them."""
    people = [("p1",), ("p2",), ("p3", "p1"), ()]
    rows = tuple((n, str(n), people[n % 4]) for n in range(20))
    return History({"a": rows}, (Training("a", recipe, **training),))


def soak(share: int, holds: Callable[..., None], *strategies: st.SearchStrategy[Any]) -> None:
    """Check a property on ever new examples, for one part in ``share`` of SOAK_SECONDS."""
    until = time.monotonic() + float(os.environ.get("SOAK_SECONDS", "0")) / share
    for number in count(int(os.environ.get("SEED", "0"))):
        searched = settings(max_examples=10)(given(*strategies)(holds))
        seed(number)(searched)()
        if time.monotonic() > until:
            return

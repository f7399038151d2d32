"""What a program is given: its data, its step counter, and the way to be restored.

Rows enter only through the run, where it is recorded what they are read for. Everything a program
may know of a dataset beforehand is nominal, so the same function trains with and without some
records and nothing else changes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import tee
from typing import Any

from numpy.typing import ArrayLike

from lineage.data.statistics import Statistic
from lineage.data.version import Version
from lineage.errors import ProgramError
from lineage.schedule import Epoch, Forward
from lineage.schedule.contract import Rows
from lineage.training.batch import Batch, Handle, Measure
from lineage.training.config import Config
from lineage.training.contract import Recorder, Stateful
from lineage.training.given import State
from lineage.training.lap import Lap, LapClock, cadence
from lineage.training.order import Order
from lineage.training.own_process import OwnProcess
from lineage.training.reading import Drawing, Lent, Loading, Permit, RowReader
from lineage.training.rows import RunRows
from lineage.training.seeds import LoadingSeeds
from lineage.training.specification import RunSpec
from lineage.training.vocabulary import columns_of

Predictor = Callable[[Batch], ArrayLike]
"""From a batch to one row of probabilities, or one value, a record."""

GENERATORS = frozenset({"numpy", "random"})
"""The generators that a program may ask to be seeded a step."""


class Run:
    """One execution of a program, from a start state, over immutable dataset versions.

    ``step`` counts nominal optimizer steps done; ``until`` is where this execution ends (None: with
    the schedule). ``start`` is the state to restore, at ``first_step``. ``arrange`` makes the
    schedule out of an order that the program draws; without it ``schedule`` is known beforehand.
    ``given`` finds the states of a model by its alias. ``rank`` is the number of this process among
    the ``world_size`` that train together.
    """

    def __init__(
        self,
        spec: RunSpec,
        inputs: Mapping[str, Version],
        schedule: Forward | None,
        recorder: Recorder,
        *,
        arrange: Callable[[Order], Forward] | None = None,
        given: Callable[[str], tuple[State, ...]],
        rank: int = 0,
        start: Mapping[str, object],
        first_step: int,
        consumed: str,
    ) -> None:
        self.config = Config(**spec.config)
        self.step = first_step
        self.rank, self.world_size = rank, spec.world_size
        self.until: int | None = None
        self.tracked: dict[str, Stateful] = {}
        self.predict: Predictor | None = None
        self.generators: set[str] = set()
        self._process = OwnProcess()
        self._spec = spec
        self._inputs = inputs
        self._schedule, self._arrange = schedule, arrange
        self._given = given
        self._recorder = recorder
        self._start, self._consumed = start, consumed
        self._epochs: Iterator[Epoch] | None = None
        self._fits, self._began = 0, False
        self._rows = RunRows(spec, inputs, Permit(spec.train))
        self.seed: Callable[[int], None] = lambda step: None

    @property
    def steps(self) -> int:
        """The nominal number of optimizer steps of the whole run.

        Raises:
            ProgramError: the run's order is the program's to draw, and it has not said how.
        """
        return self._arranged.steps

    @property
    def end(self) -> int:
        """The step this execution ends after."""
        return self.steps if self.until is None else self.until

    def dataset(self, alias: str) -> Handle:
        """A handle to the input of this alias: by default the dataset's name.

        Raises:
            ProgramError: the run has no such input.
        """
        if alias not in self._spec.handles:
            known = ", ".join(sorted(self._spec.handles))
            raise ProgramError(
                f"the program asks for dataset {alias!r}, but this run has {known}",
                hint=f"pass --dataset {alias}=NAME",
            )
        return Handle(alias, self._spec.handles[alias])

    def given(self, alias: str) -> tuple[State, ...]:
        """The state of each member of a model the run was given: what its program tracked, by name.

        A plain model has one member, an ensemble one a shard. Everything that the run makes
        descends from them. They are not part of its checkpoints, unless they are tracked too.

        Raises:
            ProgramError: the run was given no model of this name.
            CheckpointError: it was purged.
        """
        return self._given(alias)

    def track(self, **objects: Stateful) -> None:
        """Make objects part of every checkpoint; each is restored here where the run has a start.

        Raises:
            ProgramError: training has begun, or the start does not hold one of them.
        """
        self._not_begun("track")
        for name, thing in objects.items():
            self.tracked[name] = thing
            if not self._start or (self.step == 0 and name not in self._spec.restore):
                continue
            if name not in self._start:
                hint = "track the same names as the program that wrote it"
                raise ProgramError(f"the checkpoint it starts from holds no {name!r}", hint=hint)
            thing.load_state_dict(self._start[name])

    def predictor(self, function: Predictor) -> None:
        """Say how the tracked model predicts: from a batch to probabilities, a row a record."""
        self.predict = function

    def randomness(self, *generators: str) -> None:
        """Ask for other generators than torch's to be seeded a step: ``numpy``, ``random``.

        Raises:
            ProgramError: training has begun, or there is no such generator.
        """
        self._not_begun("randomness")
        if unknown := sorted(set(generators) - GENERATORS):
            raise ProgramError(
                f"the program asks for randomness, and there is no generator {unknown[0]!r}",
                hint=f"one of {', '.join(sorted(GENERATORS))}; torch's need not be asked for",
            )
        self.generators.update(generators)

    def draw(self, order: Order) -> None:
        """Let an order of the program's own decide which rows come when; it is recorded.

        Its rows count the records of the dataset that is trained on: ``range(len(handle))``. What
        was recorded is followed where the run is executed again, and then nothing is drawn.

        Raises:
            ProgramError: training has begun, or the run follows a stable schedule.
            ScheduleError: the order has no batches.
        """
        self._not_begun("draw")
        if self._arrange is None:
            raise ProgramError(
                "the program draws an order of its own, and this run has a stable schedule",
                hint="train with --schedule recorded, or leave run.draw out",
            )
        assert self._spec.train is not None
        self._schedule = self._arrange(Drawing(order, self._rows.permit, self._spec.train))

    @property
    def draws(self) -> bool:
        """Whether the program has to say in which order rows come: see ``draw``."""
        return self._arrange is not None

    def rows(self, handle: Handle, names: Sequence[str] | None = None) -> RowReader:
        """Return a reader of single present rows, for a loader to make its items of.

        A due item can read its own row; ``evaluate`` and ``fit`` of a dataset the rows they see; an
        order, while it is drawn, those it orders. Rows count the present records.
        """
        return self._rows.reader(handle, names)

    def loading(self) -> Loading:
        """Return what loads a batch needs in its process: seeds by step, and rows by item."""
        return Loading(LoadingSeeds(self._spec.seed, self.generators), self._rows.permit)

    def fit(self, function: Callable[[Batch], Any], handle: Handle) -> Any:
        """Fit something on all present rows that this run may see; they all influence every step.

        In a sharded run these are the rows of its own shard: other shards stay isolated. With a
        statistic as the ``function`` (`Moments`, `Counts`, `TokenCounts`), the forgotten rows are
        subtracted from what was fitted where the run is replayed: the others are not read again.

        Raises:
            ProgramError: training has begun, or this is another process.
        """
        self._not_begun("fit")
        value = None
        if isinstance(function, Statistic):
            value = self._recorder.carried(self._fits, handle.alias, function)
        if value is None:
            value = self._rows.fitted(function, handle)
        self._recorder.fitted(self._fits, handle.alias, value)
        self._fits += 1
        return value

    def labels(self, handle: Handle, column: str) -> tuple[str | None, ...]:
        """Fit the labels of a category, by code; None where no row that the run may see has it.

        A label tells of who has it, so it influences every step, as all that is fitted does.

        Raises:
            ProgramError: training has begun, or the column is no category.
        """
        self._not_begun("labels")
        return self.fit(self._rows.labels(handle, column), handle)  # type: ignore[no-any-return]

    def evaluate(self, function: Measure, handle: Handle, *, steers: bool = True) -> Any:
        """Measure on all present rows of a dataset; recorded as selection, not as training.

        What is returned may steer the training, unless the program declares that it never does.

        Raises:
            ProgramError: the function changes what is tracked: it learned.
        """
        self._process.require_for("run.evaluate")
        metrics = self._rows.measured(function, handle, self.tracked)
        self._recorder.evaluated(handle.alias, self.step, metrics, steers=steers)
        return metrics

    def batches(self, handle: Handle) -> Iterator[Batch]:
        """The scheduled batches from the present step on; one batch is one optimizer step.

        Random numbers are seeded for each step. Steps with fewer than ``min_batch`` present records
        are passed over: they count, and have no effect.

        Raises:
            ProgramError: another dataset than the scheduled one, or asked for twice.
        """
        if self._spec.train is None:
            raise ProgramError(
                "the program asks for batches, and its run takes no step",
                hint="train it for an epoch or more: --dataset NAME --epochs N",
            )
        self._scheduled(handle)
        self._process.require_for("run.batches")
        if self._began:
            raise ProgramError("run.batches was called twice", hint="loop over it once")
        schedule = self._arranged
        self._began = True
        return self._train(handle, schedule)

    def finish(self, seconds: float) -> None:
        """Keep what a program made of the models it was given, where its run takes no step.

        Raises:
            ProgramError: it tracked nothing.
        """
        if not self.tracked:
            raise ProgramError(
                "the program made nothing: it takes no step and tracks no object",
                hint="hand what it makes to run.track",
            )
        self._recorder.checkpoint(0, self._state(), Lap(0, 0, 0, seconds, ""))

    def upcoming(self, handle: Handle) -> Iterator[tuple[int, Rows]]:
        """The steps that ``batches`` will hand out, from the present one on, and the rows of each.

        Rows count the present records. For loaders that read ahead of the loop that trains: what
        is drawn for them is what that loop gets. Another dataset is refused, as there.
        """
        self._scheduled(handle)
        records = self._inputs[handle.alias].present.records
        ahead, self._epochs = tee(self._arranged.epochs(records, self.step))
        return self._coming(ahead, self.step)

    def _coming(self, epochs: Iterator[Epoch], first: int) -> Iterator[tuple[int, Rows]]:
        for epoch in epochs:
            for step in range(max(first, epoch.first), min(self.end, epoch.steps.stop)):
                rows = epoch.rows(step)
                if len(rows) >= self._spec.min_batch:
                    yield step, rows[self.rank :: self.world_size]

    @property
    def _arranged(self) -> Forward:
        if self._schedule is None:
            raise ProgramError(
                "the order of this run is recorded, and the program has not said how to draw it",
                hint="call run.draw(order) first, or train without --schedule recorded",
            )
        return self._schedule

    def _scheduled(self, handle: Handle) -> None:
        if handle.alias != self._spec.train:
            raise ProgramError(
                f"the run's schedule is over {self._spec.train!r}, not {handle.alias!r}",
                hint="name the dataset to train on first: --dataset NAME",
            )

    def _not_begun(self, what: str) -> None:
        self._process.require_for(f"run.{what}")
        if self._began:
            raise ProgramError(
                f"run.{what} was called after training began", hint="call it before run.batches"
            )

    def _train(self, handle: Handle, schedule: Forward) -> Iterator[Batch]:
        version, until, visited = self._inputs[handle.alias], self.end, self._recorder.visited
        present, clock = version.present, LapClock(self.step, version.salt, self._consumed)
        due = cadence(schedule.boundaries, self._spec.checkpoint_every)
        fewest, column = self._spec.min_batch, columns_of(version, handle.specification)
        if self.step >= until:
            return
        for epoch in self._epochs or schedule.epochs(present.records, self.step):
            rows = present.positions[epoch.order]
            keys = present.records.keys[epoch.order]
            begin = max(self.step - epoch.first, 0)
            ends = epoch.offsets[begin:].tolist()
            unread = low = ends[0]
            for step, high in enumerate(ends[1:], epoch.first + begin):
                if high - low < fewest:
                    clock.consume(keys[unread:low])
                    clock.skipped += 1
                    unread = high
                else:
                    self.seed(step)
                    share = slice(low + self.rank, high, self.world_size)
                    lent = Lent(column, handle.alias, f"step {step}")
                    yield Batch(lent, rows[share], keys[share], high - low)
                    lent.close()
                    if visited is not None:
                        visited(step, rows[low:high])
                low = high
                self.step = step + 1
                if self.step in due:
                    clock.consume(keys[unread:high])
                    unread = high
                    self._recorder.checkpoint(self.step, self._state(), clock.lap())
                    if self.step >= until:
                        return
                    clock = LapClock(self.step, version.salt, clock.digest())
            clock.consume(keys[unread:])

    def _state(self) -> dict[str, object]:
        return {name: thing.state_dict() for name, thing in self.tracked.items()}

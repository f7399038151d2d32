"""Watching a loop of somebody's own: what it drew, what it learned from, what it kept.

Nothing here can execute the loop again. Its run says what happened, and its owner's ``command`` is
what retrains it.
"""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select, update

from lineage.data.dataset import head
from lineage.data.fences import check_versions
from lineage.data.version import Version, open_version
from lineage.errors import ProgramError, RunError, UnknownRecordError
from lineage.schedule import RecordedSpec
from lineage.schedule.contract import Positions
from lineage.source import Source, digest_files
from lineage.store import Store
from lineage.training import recording
from lineage.training.checkpoint import Lap, load, newest
from lineage.training.commission import Answer, Commission
from lineage.training.ensemble import (
    add_run,
    handle_spec,
    named_model,
    publish_training,
    record_program,
)
from lineage.training.execute import claimed, open_inputs, record_environment, start_of
from lineage.training.locate import MISSING, Locator
from lineage.training.model import find_version
from lineage.training.recorder import StoreRecorder
from lineage.training.run import Stateful
from lineage.training.specification import RunSpec
from lineage.training.window import Drawn, Window
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.exposures import File, Log

OnUnknown = Literal["stop", "record"]
"""What a record does that the dataset does not hold."""

INTERACTIVE = "(interactive)"


@dataclass(frozen=True, slots=True)
class Watch:
    """How a loop is watched.

    ``on_unknown``: ``stop`` training at a record that the dataset does not hold, or ``record`` that
    there was one, which leaves the run's lineage incomplete. ``ordered`` keeps the order inside
    batches. ``command`` is what retrains the model; None: the command of this process.
    """

    on_unknown: OnUnknown = "stop"
    ordered: bool = False
    command: Sequence[str] | None = None
    uses_torch: bool = False


class Observed:
    """A run of a loop that is being watched; see `observe`."""

    def __init__(
        self,
        version: Version,
        recorder: StoreRecorder,
        log: Log,
        chain: "Chain",
        tracked: Mapping[str, Stateful],
        watch: Watch,
        step: int,
    ) -> None:
        self.id = recorder.run_id
        self.locator = Locator(version)
        self._version = version
        self._recorder = recorder
        self._log = log
        self._chain = chain
        self._tracked = dict(tracked)
        self._watch = watch
        self.step = step
        self._windows: list[Window] = []
        self._kept = step
        self._since = time.perf_counter()
        self._drawn = 0
        self._unknown = 0

    def track(self, **objects: Stateful) -> None:
        """Keep more objects in checkpoints, whose state somebody else restores."""
        self._tracked.update(objects)

    def continues(self, step: int) -> None:
        """Make sure that a loop that goes on has done as many steps as the last checkpoint knows.

        Raises:
            RunError: it has not.
        """
        if step != self.step:
            raise RunError(
                f"the loop goes on after step {step}, and run {self.id} was kept at {self.step}",
                hint="go on from the state that was saved at that step, or watch a new run",
            )

    def window(self) -> Window:
        """The window of one more optimizer whose steps are watched."""
        window = Window()
        self._windows.append(window)
        return window

    def draw(self, positions: Positions) -> None:
        """A batch was handed to the loop: the positions of its records, from the locator.

        Raises:
            UnknownRecordError: one of them is not known, and that stops training.
        """
        if len(positions) and positions.min() < 0:
            positions = self._known(positions)
        self._drawn += 1
        batch = Drawn(positions)
        for window in self._windows:
            window.draw(batch)

    def discard(self) -> None:
        """Say that the batch drawn last is not learned from, as after a loss that is no number."""
        for window in self._windows:
            window.discard()

    def update(self, window: Window) -> None:
        """The optimizer of a window did a step.

        Raises:
            RunError: no batch was drawn yet, so nobody knows what it learned from.
        """
        if not self._drawn:
            raise RunError(
                f"run {self.id} did an optimizer step before any watched loader gave it a batch",
                hint="loop over the loader that watch() returns",
            )
        lost, learned = window.update()
        for batch in lost:
            self._log.append(self.step, batch.records, False)
        for batch in learned:
            self._log.append(self.step, batch.records)
        self.step += 1

    def checkpoint(self) -> None:
        """Keep the state of everything tracked, and what was drawn up to here.

        Raises:
            RunError: no step was done since the last checkpoint.
            RecordingError: what was drawn could not be written down; nothing was kept.
            RunStoppedError: a record of the run is to be forgotten.
        """
        if self.step == self._kept:
            raise RunError(
                f"run {self.id} has done no step since step {self._kept}",
                hint="keep one after a step of the optimizer that was given to observe",
            )
        self._pause()
        visits = self._log.seal()
        self._keep_unknown()
        self._recorder.publish(self.step, self._state(), self._lap(visits), visits)
        self._kept = self.step
        self._since = time.perf_counter()

    def evaluated(self, metrics: Mapping[str, float]) -> None:
        """Note measures on the dataset that may steer a choice: selection, never training."""
        self._recorder.evaluated(self._version.dataset.name, self.step, metrics)

    @property
    def unkept(self) -> bool:
        """Whether steps were done since the last checkpoint."""
        return self.step > self._kept

    def _pause(self) -> None:
        """Write down what the state has seen, and no update has learned from yet, or ever will.

        Such visits belong to the last step that was done; what waits may be learned later.
        """
        waiting = dict.fromkeys(batch for window in self._windows for batch in window.pending)
        for batch in waiting:
            if not batch.learned:
                self._log.append(self.step - 1, batch.records, False)
        for window in self._windows:
            window.forget_lost()

    def _state(self) -> dict[str, object]:
        return {name: thing.state_dict() for name, thing in self._tracked.items()}

    def _lap(self, visits: File | None) -> Lap:
        seconds = time.perf_counter() - self._since
        given = 0 if visits is None else visits.visits
        return Lap(self._kept, given, 0, seconds, self._chain.link())

    def _known(self, positions: Positions) -> Positions:
        if self._watch.on_unknown == "stop":
            row = int(np.flatnonzero(positions < 0)[0])
            what = "does not say its id"
            if positions[row] != MISSING:
                what = f"is not in dataset {self._version.dataset.name!r}"
            raise UnknownRecordError(
                f"record {row} of batch {self._drawn} {what}, after step {self.step} of {self.id}",
                hint="register it with `expunge dataset add`, or observe with on_unknown='record'",
                batch=self._drawn,
                row=row,
            )
        known = positions[positions >= 0]
        self._unknown += len(positions) - len(known)
        return known

    def _keep_unknown(self) -> None:
        if self._unknown:
            with self._recorder.store.catalogue.write() as session:
                session.execute(
                    update(tables.RunRecording)
                    .where(tables.RunRecording.run_id == self.id)
                    .values(unknown=tables.RunRecording.unknown + self._unknown)
                )
            self._unknown = 0


def restore(store: Store, name: str, tracked: Mapping[str, Stateful]) -> str:
    """Fill objects with the state of an observed model: a version by id, or a model's newest.

    Returns the id of the version.

    Raises:
        NotFoundError: there is none.
        CheckpointError: its checkpoint was purged.
        ProgramError: it holds no object of one of the names, or is an ensemble.
    """
    version = find_version(store, name)
    members = select(tables.ModelMember.checkpoint_id)
    with store.catalogue.read() as session:
        found = session.scalars(members.where(tables.ModelMember.version_id == version.id)).all()
    if len(found) != 1:
        raise ProgramError(
            f"model version {version.id} is an ensemble of {len(found)}",
            hint="open it with lineage.load_model",
        )
    _restore(tracked, load(store, found[0]))
    return version.id


class Chain:
    """The keyed chain hash of what was consumed; it goes on from an earlier one."""

    def __init__(self, version: Version, consumed: str) -> None:
        records = version.present.records
        self._keys = np.zeros(version.row.rows, np.uint64)
        self._keys[records.positions] = records.keys
        self._salt = version.salt
        self._hash = self._after(consumed)

    def add(self, positions: NDArray[np.uint32]) -> None:
        """Consume records, in order."""
        self._hash.update(self._keys[positions].data)

    def link(self) -> str:
        """The hash so far (hex); what comes now goes on from it, as a run that is resumed does."""
        consumed = self._hash.hexdigest()
        self._hash = self._after(consumed)
        return consumed

    def _after(self, consumed: str) -> "blake2b":
        return blake2b(bytes.fromhex(consumed), digest_size=32, key=self._salt)


@contextmanager
def observe(
    store: Store,
    dataset: str,
    model: str,
    tracked: Mapping[str, Stateful],
    watch: Watch,
    resume: str | None = None,
) -> Iterator[Observed]:
    """Watch a loop that trains ``model`` on a dataset; at the end its last state is published.

    ``resume`` is a run of this loop that ended early: what is tracked gets the state of its last
    checkpoint, and the loop has to go on from there. Where a plan asked for the loop, it trains on
    the version that the plan names, and the plan publishes.

    Raises:
        NotFoundError: there is no such dataset or run.
        RunError: the run is complete, is watched by another process, or was no observed one.
        FencedError: the dataset descends from rows that are being forgotten.
    """
    commission = Commission.given(store, dataset)
    run_id = resume or _write_down(store, dataset, model, watch, commission)
    with store.catalogue.read() as session:
        drawn = recording.recording_of(session, run_id)
        if resume is not None and session.get(tables.ObservedRun, resume) is None:
            raise RunError(f"run {resume} was not observed", hint=f"expunge run resume {resume}")
    assert drawn is not None
    with claimed(store, run_id) as row:
        inputs = open_inputs(store, run_id)
        check_versions(store, inputs.values())
        version = next(iter(inputs.values()))
        start = start_of(store, row)
        environment = record_environment(store, uses_torch=watch.uses_torch).digest
        chain = Chain(version, start.consumed)
        log = recording.open_log(store, drawn.recording_id, chain.add)
        try:
            recorder = StoreRecorder(store, run_id, environment, inputs, log)
            if start.state:
                _restore(tracked, start.state)
            run = Observed(version, recorder, log, chain, tracked, watch, start.step)
            yield run
            if run.unkept:
                run.checkpoint()
            elif not run.step:
                raise RunError(
                    f"run {run_id} did no optimizer step",
                    hint="was the optimizer that does the steps given to observe?",
                )
        finally:
            log.close()
        recording.settle(store, run_id)
    if commission is not None:
        _answer(store, commission, run_id)
    elif row.training_id is not None:
        publish_training(store, row.training_id)


def _write_down(
    store: Store, dataset: str, model: str, watch: Watch, commission: Commission | None
) -> str:
    version = head(store, dataset)
    if commission is not None:
        version = open_version(store, commission.version)
    alias = version.dataset.name
    present = len(version.present.records)
    spec = RunSpec(
        schedule=RecordedSpec(epochs=None, seed=0, nominal=(present,)),
        train=alias,
        handles={alias: handle_spec(version, present)},
        min_batch=1,
    )
    with store.catalogue.write() as session:
        training = None
        if commission is None:
            training = tables.Training(
                id=new_id("train"),
                model_id=named_model(session, store, model).id,
                state="running",
                created_at=store.clock(),
            )
            session.add(training)
            session.flush()
        else:  # an attempt that died is history, and this one is the task's
            earlier = update(tables.Run).where(tables.Run.task_id == commission.task)
            session.execute(earlier.values(task_id=None))
        run = add_run(
            session,
            store,
            spec,
            record_program(session, store, _source()),
            {alias: version.id},
            training_id=None if training is None else training.id,
            task_id=None if commission is None else commission.task,
            replay_of=None if commission is None else commission.run,
            ordered=watch.ordered,
        )
        command = watch.command or [sys.executable, *sys.orig_argv[1:]]
        session.add(
            tables.ObservedRun(run_id=run.id, command=list(command), folder=str(Path.cwd()))
        )
        return run.id


def _answer(store: Store, commission: Commission, run_id: str) -> None:
    with store.catalogue.read() as session:
        last = newest(session, run_id)
    assert last is not None
    answer = Answer(run=run_id, dataset_version=commission.version, model_digest=last.digest)
    commission.answer.write_text(answer.model_dump_json(), "utf-8")


def _restore(tracked: Mapping[str, Stateful], state: Mapping[str, Any]) -> None:
    for name, thing in tracked.items():
        if name not in state:
            raise ProgramError(
                f"the checkpoint holds no {name!r}, but {', '.join(sorted(state))}",
                hint="give the names that the loop was observed with",
            )
        thing.load_state_dict(state[name])


def _source() -> Source:
    """The script of this process, with what it imports from its own folder."""
    file = getattr(sys.modules["__main__"], "__file__", None)
    if file is None or not Path(file).is_file():
        return Source(INTERACTIVE, Path.cwd(), {})
    path = Path(file).resolve()
    return Source(path.name, path.parent, digest_files(path, path.parent))

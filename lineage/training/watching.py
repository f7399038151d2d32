"""Watching a loop from its beginning to its end, and opening what it left."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import update

from lineage.data.dataset import head
from lineage.data.fences import check_versions
from lineage.data.given import standing_in
from lineage.data.version import Version, open_version
from lineage.errors import ProgramError, RunError
from lineage.schedule import RecordedSpec
from lineage.source import Source, digest_files
from lineage.store import Store
from lineage.training import recording
from lineage.training.aggregation import Aggregation
from lineage.training.checkpoint import load, newest
from lineage.training.command import Retraining, retraining
from lineage.training.commission import Answer, Commission
from lineage.training.contract import Stateful
from lineage.training.entries import add_run, named_model, record_program
from lineage.training.events import EventReplayer
from lineage.training.execute import claimed, open_inputs, record_environment, start_of
from lineage.training.given import members_of
from lineage.training.locate import Locator
from lineage.training.model import find_version
from lineage.training.models_read import note_read, read_in
from lineage.training.observed import Chain, Observed, Watch
from lineage.training.recorder import StoreRecorder
from lineage.training.specification import RunSpec
from lineage.training.team import Alone, Team
from lineage.training.versions import publish_training
from lineage.training.vocabulary import handle_spec
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.processes import this_process

INTERACTIVE = "(interactive)"


@contextmanager
def observe(
    store: Store,
    dataset: str,
    model: str,
    tracked: Mapping[str, Stateful],
    watch: Watch,
    resume: str | None = None,
    team: Team = Alone(),  # noqa: B008
) -> Iterator[Observed]:
    """Watch a loop that trains ``model`` on a dataset; at the end its last state is published.

    ``resume`` is a run of this loop that ended early: what is tracked gets the state of its last
    checkpoint, and the loop has to go on from there. Where a plan asked for the loop, it trains on
    the version that the plan names, and the plan publishes. Every process of a ``team`` watches its
    own loaders; the first one keeps and publishes.

    Raises:
        NotFoundError: there is no such dataset or run.
        RunError: the run is complete, is watched by another process, or was no observed one.
        FencedError: the dataset descends from rows that are being forgotten.
    """
    commission = Commission.given()
    if commission is not None:
        commission.check(store, dataset, model)
    run_id = resume
    if run_id is None and team.rank == 0:
        run_id = _write_down(store, dataset, model, watch, commission, team.size)
    run_id = team.tell(run_id)
    _check_observed(store, run_id)
    with claimed(store, run_id) if team.rank == 0 else nullcontext():
        with _watched(store, run_id, tracked, watch, team) as run:
            yield run
        if team.rank == 0:
            recording.settle(store, run_id)
    if team.rank == 0:
        _publish(store, run_id, commission)
    team.tell(None)


def holds(store: Store, dataset: str, ids: Sequence[object]) -> NDArray[np.bool_]:
    """Which of these record ids a loop may be given now (n,): those that the dataset holds.

    A script that leaves the others out can be started again when some were forgotten, by a plan
    too. Ids are compared as text: a number is the same id whatever type carries it, as long as the
    type cannot have lost digits of it.

    Raises:
        NotFoundError: there is no such dataset.
        InvalidInputError: an id may have lost digits, or is of a type that names nothing.
    """
    return Locator(_offered(store, dataset, Commission.given())).ids(ids) >= 0


def restore(store: Store, name: str, tracked: Mapping[str, Stateful]) -> str:
    """Fill objects with the state of an observed model: a version by id, or a model's newest.

    Returns the id of the version. Whatever this process watches and has not ended by then descends
    from it: what was read of one model may be in any other. Where a plan asked for the loop, what
    it made in place of the version is read.

    Raises:
        NotFoundError: there is none.
        CheckpointError: its checkpoint was purged.
        ProgramError: it holds no object of one of the names, or is an ensemble.
    """
    version = find_version(store, name)
    commission = Commission.given()
    with store.catalogue.read() as session:
        members = members_of(session, version.id)
    if len(members) != 1:
        raise ProgramError(
            f"model version {version.id} is an ensemble of {len(members)}",
            hint="open it with lineage.load_model",
        )
    if commission is not None:
        members = standing_in({version.id: members}, commission.stands_in)[version.id]
    (checkpoint,) = members.values()
    _restore(tracked, load(store, checkpoint))
    note_read(store, version.id, members)
    return version.id


@contextmanager
def _watched(
    store: Store, run_id: str, tracked: Mapping[str, Stateful], watch: Watch, team: Team
) -> Iterator[Observed]:
    """The run of one process, whose last state is kept where the block ends without an error."""
    with store.catalogue.read() as session:
        row = session.get_one(tables.Run, run_id)
        drawn = session.get_one(tables.RunRecording, run_id).recording_id
    inputs = open_inputs(store, run_id)
    check_versions(store, inputs.values())
    (version,) = inputs.values()
    start = start_of(store, row)
    if start.state:
        _restore(tracked, start.state)
    environment = record_environment(
        store, uses_torch=watch.uses_torch, world_size=team.size
    ).digest
    chain = Chain(version, start.consumed)
    told = chain.add if team.size == 1 else _untold
    locator = Locator(version)
    replayer = EventReplayer(start.step)
    with closing(recording.open_log(store, drawn, told, replayer.read)) as log:
        owner = this_process() if team.rank == 0 else None
        recorder = StoreRecorder(store, run_id, environment, inputs, log, owner)
        read = read_in(store)
        run = Observed(
            version, locator, recorder, log, replayer, chain, tracked, watch, team, start.step, read
        )
        try:
            yield run
        finally:
            run.sink.close()
        if not run.step:
            raise RunError(
                f"run {run_id} did no optimizer step",
                hint="was the optimizer that does the steps given to observe?",
            )
        run.checkpoint()


def _untold(_records: NDArray[np.uint32]) -> None:
    """What one of several processes drew is chained when it is merged with the others'."""


def _check_observed(store: Store, run_id: str) -> None:
    with store.catalogue.read() as session:
        if session.get(tables.ObservedRun, run_id) is None:
            raise RunError(f"run {run_id} was not observed", hint=f"expunge run resume {run_id}")


def _publish(store: Store, run_id: str, commission: Commission | None) -> None:
    """Make a version of the model, or answer the plan that asked for it."""
    with store.catalogue.read() as session:
        training = session.get_one(tables.Run, run_id).training_id
    if commission is not None:
        _answer(store, commission, run_id)
    elif training is not None:
        publish_training(store, training)


def _offered(store: Store, dataset: str, commission: Commission | None) -> Version:
    """The version that a loop trains on: the newest, or the one that a plan asks for."""
    version = head(store, dataset)
    if commission is not None and commission.dataset == version.dataset.name:
        return open_version(store, commission.version)
    return version


def _write_down(
    store: Store,
    dataset: str,
    model: str,
    watch: Watch,
    commission: Commission | None,
    processes: int,
) -> str:
    again = _retraining(store, watch, commission, processes)
    version = _offered(store, dataset, commission)
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
                aggregation=Aggregation.MEAN,
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
        session.add(
            tables.ObservedRun(run_id=run.id, command=list(again.command), folder=str(again.folder))
        )
        return run.id


def _retraining(
    store: Store, watch: Watch, commission: Commission | None, processes: int
) -> Retraining:
    """How a run is trained again; one that a plan asked for, by the command that the plan used."""
    if watch.command is None and commission is not None:
        with store.catalogue.read() as session:
            before = session.get_one(tables.ObservedRun, commission.run)
        return Retraining(tuple(before.command), Path(before.folder))
    return retraining(watch.command, processes)


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

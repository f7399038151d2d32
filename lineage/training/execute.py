"""The one executor: training, resumption, slice retraining and replay are this call.

It runs a program under a schedule over a dataset version from a state, until the schedule ends.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select

from lineage.data.fences import check_versions
from lineage.data.version import Version, open_version
from lineage.errors import ProgramError, RunError, RunStoppedError
from lineage.schedule import Forward, NoSteps, RecordedSchedule, schedule_for
from lineage.store import Store
from lineage.training import checkpoint as checkpoints
from lineage.training import ownership
from lineage.training import recording as recordings
from lineage.training.environment import Environment, deterministic, fingerprint
from lineage.training.given import GivenModels, given_to
from lineage.training.models_read import executing
from lineage.training.order import DrawnSchedule, Order
from lineage.training.program import Program, load_program, refuse_changes, require_source
from lineage.training.recorder import StoreRecorder
from lineage.training.run import Run
from lineage.training.seeds import RANKS, drawing, seeder
from lineage.training.specification import RunSpec
from lineage.training.team import Alone, Team, TeamRecorder, launch
from lineage.training.untracked import UntrackedSearch, is_news, tell
from storage.catalogue import tables
from storage.exposures import Log
from storage.processes import this_process


def execute(
    store: Store,
    run_id: str,
    *,
    until: int | None = None,
    allow_changed: bool = False,
    overtake: bool = False,
) -> None:
    """Run from its last checkpoint, its start, or from scratch, to a step or the schedule's end.

    ``until`` is a step at which a checkpoint is due. ``allow_changed`` accepts other source than
    was recorded; whoever allows it must say so in the claim. ``overtake`` takes the run from a
    process that executes it, where that one has no right to it any more.

    Raises:
        RunError: the run is complete, was only observed, or another process is executing it.
        RunStoppedError: a request to forget was accepted meanwhile; progress is kept.
        ProgramError: the program cannot be imported, has changed, or did not use its batches up.
        ProgramFailedError: the program raised an error of its own, or asked to exit.
        FencedError: an input holds rows that are being forgotten.
    """
    with store.catalogue.read() as session:
        if session.get(tables.ObservedRun, run_id) is not None:
            raise RunError(
                f"run {run_id} was observed, and only its owner's loop can go on with it",
                hint=f"run its script again, with observe(…, resume={run_id!r})",
            )
    with claimed(store, run_id, overtake=overtake) as row:
        size = RunSpec.model_validate(row.specification).world_size
        if size > 1:
            launch(store, run_id, size, until, allow_changed=allow_changed)
            _tell_untracked(store, run_id)
        else:
            owner = this_process()
            execute_in(Alone(), store, run_id, until, allow_changed=allow_changed, owner=owner)
        recordings.settle(store, run_id)


def _tell_untracked(store: Store, run_id: str) -> None:
    """Say what processes of a team found: what they print themselves is not shown."""
    with store.catalogue.read() as session:
        run = session.get_one(tables.Run, run_id)
        names = run.untracked or ()
        news = is_news(session, run, names)
    if names and news:
        tell(names)


@contextmanager
def claimed(store: Store, run_id: str, *, overtake: bool = False) -> Iterator[tables.Run]:
    """Own a run while it is executed; it is complete where the block ends without an error.

    Raises:
        NotFoundError: there is no such run.
        RunError: the run is complete, or another process is executing it or took it over.
    """
    row, owner = ownership.take(store, run_id, overtake=overtake), this_process()
    state = "failed"
    try:
        yield row
        state = "complete"
    except (RunStoppedError, KeyboardInterrupt):
        state = "stopped"
        raise
    finally:
        ownership.let_go(store, run_id, owner, state)


def execute_in(
    team: Team, store: Store, run_id: str, until: int | None, *, allow_changed: bool, owner: str
) -> None:
    """Execute a run that ``owner`` claimed, as a process of a team; see `execute`."""
    with store.catalogue.read() as session:
        row = session.get_one(tables.Run, run_id)
        kept = checkpoints.newest(session, run_id)
    spec = RunSpec.model_validate(row.specification)
    if spec.train is None and kept is not None:
        return
    program = pinned_program(store, row.program_id, allow_changed=allow_changed)
    inputs = open_inputs(store, row.id)
    check_versions(store, inputs.values())
    start = start_of(store, row)
    with deterministic(threads=spec.threads, uses_torch=program.uses_torch):
        uses_torch = program.uses_torch
        environment = record_environment(store, uses_torch=uses_torch, world_size=team.size)
        with recording(store, row.id) as log:
            search = UntrackedSearch(program) if kept is None and team.rank == 0 else None
            recorder = StoreRecorder(store, row.id, environment.digest, inputs, log, owner, search)
            run = prepared(spec, inputs, recorder, start, Run, program, team)
            run.until = until
            # What began with nothing before it was refused can still be made again.
            is_new = row.training_id is not None and kept is None
            filled = spec.restore if is_new else ()
            _seed_by_step(run, spec, program, search, filled)
            began = time.perf_counter()
            with executing(row.id), program.calling():
                program(run)
                if spec.train is None:
                    _check_filled(run, filled)
                    run.finish(time.perf_counter() - began)
    if run.step < run.end:
        raise ProgramError(
            f"the program returned after step {run.step} of {run.end}",
            hint="loop over run.batches to its end",
        )


@contextmanager
def recording(store: Store, run_id: str) -> Iterator[Log | None]:
    """The log of a run that draws its order, while it is executed."""
    with store.catalogue.read() as session:
        row = recordings.recording_of(session, run_id)
    if row is None or not row.draws:
        yield None
        return
    log = recordings.open_log(store, row.recording_id)
    try:
        yield log
    finally:
        log.close()


@dataclass(frozen=True, slots=True)
class Start:
    """Where an execution begins: a state, the steps done, and the chain hash up to there."""

    state: Mapping[str, object]
    step: int
    consumed: str


SCRATCH = Start({}, 0, "")


R = TypeVar("R", bound=Run)


def prepared(
    spec: RunSpec,
    inputs: Mapping[str, Version],
    recorder: StoreRecorder,
    start: Start,
    kind: type[R],
    program: Program,
    team: Team = Alone(),  # noqa: B008
) -> R:
    """A run ready to be given to its program."""
    schedule: Forward | None = None
    arrange = None
    if spec.train is None:
        schedule = NoSteps()
    elif spec.schedule.kind == "stable/1":
        schedule = schedule_for(spec.schedule, inputs[spec.train].salt)
    else:
        arrange = partial(_arranged, recorder, spec, uses_torch=program.uses_torch)
    with recorder.store.catalogue.read() as session:
        models = GivenModels(recorder.store, given_to(session, recorder.run_id))
    return kind(
        spec,
        inputs,
        schedule,
        recorder if team.size == 1 else TeamRecorder(recorder, team),
        arrange=arrange,
        given=models.states,
        rank=team.rank,
        start=start.state,
        first_step=start.step,
        consumed=start.consumed,
    )


def _arranged(recorder: StoreRecorder, spec: RunSpec, order: Order, *, uses_torch: bool) -> Forward:
    """The schedule of a program's own order: drawn from it, or what was drawn before."""
    assert spec.schedule.kind == "recorded/1"
    assert spec.schedule.epochs is not None
    seeding = partial(drawing, spec.seed, uses_torch=uses_torch)
    drawn = DrawnSchedule(order, spec.schedule.epochs, seeding)
    if recorder.log is not None:
        return drawn
    store = recorder.store
    with store.catalogue.read() as session:
        followed = session.get_one(tables.RunRecording, recorder.run_id).recording_id
    exposures = recordings.open_recording(store, followed)
    if exposures.batches.step.max(initial=-1) >= drawn.steps:
        raise ProgramError(
            f"the program's order has {drawn.steps} steps, and more were recorded",
            hint="its sampler must be as long as before: len(handle) is nominal, count by that",
        )
    return RecordedSchedule(exposures, drawn.steps)


def pinned_program(store: Store, program_id: str, *, allow_changed: bool = False) -> Program:
    """Import a recorded program, and refuse it where its source is no longer what was recorded.

    Raises:
        ProgramError: it is no longer where it was, cannot be imported, or has changed and that is
            not allowed.
    """
    with store.catalogue.read() as session:
        recorded = session.get_one(tables.Program, program_id)
    root = Path(recorded.root)
    require_source(recorded.ref, root, recorded.files, allow_changed=allow_changed)
    program = load_program(recorded.ref, root)
    changed = sorted(
        name
        for name in recorded.files.keys() | program.source.files.keys()
        if recorded.files.get(name) != program.source.files.get(name)
    )
    if not allow_changed:
        refuse_changes(recorded.ref, changed)
    return program


def _check_filled(run: Run, names: Sequence[str]) -> None:
    """Make sure that a program tracks all that a fine-tune is to begin with."""
    if missing := [name for name in names if name not in run.tracked]:
        raise ProgramError(
            f"the program tracks no {missing[0]!r}, so a fine-tune cannot begin with it",
            hint=f"it tracks {', '.join(sorted(run.tracked))}: name what it is to begin with",
        )


def open_inputs(store: Store, run_id: str) -> dict[str, Version]:
    """The dataset versions a run was given, by alias."""
    with store.catalogue.read() as session:
        found = session.scalars(select(tables.RunInput).where(tables.RunInput.run_id == run_id))
        versions = {each.alias: each.version_id for each in found}
    return {alias: open_version(store, version_id) for alias, version_id in versions.items()}


def record_environment(store: Store, *, uses_torch: bool, world_size: int = 1) -> Environment:
    """Fingerprint this environment and make sure that the catalogue knows it."""
    environment = fingerprint(uses_torch=uses_torch, world_size=world_size)
    with store.catalogue.write() as session:
        if session.get(tables.Environment, environment.digest) is None:
            session.add(
                tables.Environment(
                    digest=environment.digest, fingerprint=environment.model_dump(mode="json")
                )
            )
    return environment


def start_of(store: Store, row: tables.Run) -> Start:
    """Where the next execution of a run begins: at its newest checkpoint, its start, or scratch."""
    with store.catalogue.read() as session:
        own = checkpoints.newest(session, row.id)
        given = None if row.start_id is None else session.get_one(tables.Checkpoint, row.start_id)
    if own is not None:
        return Start(checkpoints.load(store, own.id), own.step, own.consumed)
    if given is not None:
        consumed = given.consumed if row.first_step else ""
        return Start(checkpoints.load(store, given.id), row.first_step, consumed)
    return SCRATCH


def _seed_by_step(
    run: Run,
    spec: RunSpec,
    program: Program,
    search: UntrackedSearch | None,
    filled: Sequence[str],
) -> None:
    """Seed what comes before the first step now, and each step from then on.

    Which generators a program asks for, and what it tracks, is known only before its first batch.
    """
    index = 0
    sow: Callable[[int], None] | None = None

    def seed(step: int) -> None:
        nonlocal sow
        if sow is None:
            _check_filled(run, filled)
            if search is not None:
                search.begin(run.tracked)
            sow = seeder(
                (spec.seed + run.rank * RANKS) % 2**63,
                uses_torch=program.uses_torch,
                numpy="numpy" in run.generators,
                python="random" in run.generators,
            )
        sow(step + 1)

    seeder(spec.seed, uses_torch=program.uses_torch, numpy=True, python=True)(index)
    run.seed = seed

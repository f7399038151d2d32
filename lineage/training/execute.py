"""The one executor: training, resumption, slice retraining and replay are this call.

It runs a program under a schedule over a dataset version from a state, until the schedule ends.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from sqlalchemy import select, update

from lineage.data.fences import check_versions
from lineage.data.version import Version, open_version
from lineage.errors import ProgramError, RunError, RunStoppedError
from lineage.schedule import schedule_for
from lineage.store import Store
from lineage.training import checkpoint as checkpoints
from lineage.training.environment import Environment, deterministic, fingerprint
from lineage.training.program import Program, load_program
from lineage.training.recorder import StoreRecorder
from lineage.training.run import Run
from lineage.training.seeds import seeder
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.processes import is_alive, this_process


def execute(
    store: Store, run_id: str, *, until: int | None = None, allow_changed: bool = False
) -> None:
    """Run from its last checkpoint, its start, or from scratch, to a step or the schedule's end.

    ``until`` is a step at which a checkpoint is due. ``allow_changed`` accepts other source than
    was recorded; whoever allows it must say so in the claim.

    Raises:
        RunError: the run is complete, or another process is executing it.
        RunStoppedError: a request to forget was accepted meanwhile; progress is kept.
        ProgramError: the program cannot be imported, has changed, or did not use its batches up.
        FencedError: an input holds rows that are being forgotten.
    """
    row = _claim(store, run_id)
    state = "failed"
    try:
        _execute(store, row, until, allow_changed)
        state = "complete"
    except (RunStoppedError, KeyboardInterrupt):
        state = "stopped"
        raise
    finally:
        with store.catalogue.write() as session:
            session.execute(
                update(tables.Run)
                .where(tables.Run.id == run_id)
                .values(state=state, owner=None, ended_at=store.clock())
            )


def _execute(store: Store, row: tables.Run, until: int | None, allow_changed: bool) -> None:
    spec = RunSpec.model_validate(row.specification)
    program = pinned_program(store, row.program_id, allow_changed=allow_changed)
    inputs = open_inputs(store, row.id)
    check_versions(store, inputs.values())
    start = _start(store, row)
    with deterministic(threads=spec.threads, uses_torch=program.uses_torch):
        environment = record_environment(store, program)
        recorder = StoreRecorder(store, row.id, environment.digest, inputs)
        run = prepared(spec, inputs, recorder, start, Run)
        run.until = run.steps if until is None else until
        _seed_by_step(run, spec, program)
        program(run)
    if run.step < run.until:
        raise ProgramError(
            f"the program returned after step {run.step} of {run.until}",
            hint="loop over run.batches to its end",
        )


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
) -> R:
    """A run ready to be given to its program."""
    schedule = schedule_for(spec.schedule, inputs[spec.train].salt)
    return kind(
        spec,
        inputs,
        schedule,
        recorder,
        start=start.state,
        first_step=start.step,
        consumed=start.consumed,
    )


def pinned_program(store: Store, program_id: str, *, allow_changed: bool = False) -> Program:
    """Import a recorded program, and refuse it where its source is no longer what was recorded.

    Raises:
        ProgramError: it cannot be imported, or has changed and that is not allowed.
    """
    with store.catalogue.read() as session:
        recorded = session.get_one(tables.Program, program_id)
    program = load_program(recorded.ref, Path(recorded.root))
    changed = sorted(
        name
        for name in recorded.files.keys() | program.source.files.keys()
        if recorded.files.get(name) != program.source.files.get(name)
    )
    if changed and not allow_changed:
        raise ProgramError(
            f"program {recorded.ref} has changed since it trained: {', '.join(changed)}",
            hint="restore the source, or pass --allow-changed: then the claim says so",
            changed=changed,
        )
    return program


def open_inputs(store: Store, run_id: str) -> dict[str, Version]:
    """The dataset versions a run was given, by alias."""
    with store.catalogue.read() as session:
        found = session.scalars(select(tables.RunInput).where(tables.RunInput.run_id == run_id))
        versions = {each.alias: each.version_id for each in found}
    return {alias: open_version(store, version_id) for alias, version_id in versions.items()}


def record_environment(store: Store, program: Program) -> Environment:
    """Fingerprint this environment and make sure that the catalogue knows it."""
    environment = fingerprint(uses_torch=program.uses_torch)
    with store.catalogue.write() as session:
        if session.get(tables.Environment, environment.digest) is None:
            session.add(
                tables.Environment(
                    digest=environment.digest, fingerprint=environment.model_dump(mode="json")
                )
            )
    return environment


def _claim(store: Store, run_id: str) -> tables.Run:
    with store.catalogue.write() as session:
        row = session.get(tables.Run, run_id)
        if row is None:
            raise NotFoundError(f"there is no run {run_id}", hint="see `expunge run list`")
        if row.state == "complete":
            raise RunError(f"run {run_id} is complete", hint="see `expunge show " + run_id + "`")
        if row.owner is not None and is_alive(row.owner):
            raise RunError(
                f"run {run_id} is being executed by process {row.owner}",
                hint="wait for it, or stop that process first",
            )
        row.owner = this_process()
        row.state = "running"
        row.ended_at = None
    return row


def _start(store: Store, row: tables.Run) -> Start:
    with store.catalogue.read() as session:
        own = checkpoints.newest(session, row.id)
        given = None if row.start_id is None else session.get_one(tables.Checkpoint, row.start_id)
    if own is not None:
        return Start(checkpoints.load(store, own.id), own.step, own.consumed)
    if given is not None:
        consumed = given.consumed if row.first_step else ""
        return Start(checkpoints.load(store, given.id), row.first_step, consumed)
    return SCRATCH


def _seed_by_step(run: Run, spec: RunSpec, program: Program) -> None:
    """Seed what comes before the first step now, and each step from then on.

    Which generators a program asks for is known only once it asks, before its first batch.
    """
    index = 0
    sow: Callable[[int], None] | None = None

    def seed(step: int) -> None:
        nonlocal sow
        if sow is None:
            sow = seeder(
                spec.seed,
                uses_torch=program.uses_torch,
                numpy="numpy" in run.generators,
                python="random" in run.generators,
            )
        sow(step + 1)

    seeder(spec.seed, uses_torch=program.uses_torch, numpy=True, python=True)(index)
    run.seed = seed

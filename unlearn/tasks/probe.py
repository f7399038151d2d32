"""Probe: execute one recorded segment again, and compare digests."""

from typing import Any

from sqlalchemy import select

from lineage.store import Store
from lineage.training.entries import add_run
from lineage.training.environment import deterministic
from lineage.training.execute import execute as execute_run
from lineage.training.execute import pinned_program, record_environment
from lineage.training.given import given_to
from lineage.training.recording import followed
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from unlearn.dispatch.worker import Context
from unlearn.plan.model import Probe
from unlearn.tasks.replay import retained_inputs


def execute(context: Context) -> dict[str, Any]:
    """Execute the segment again, unless this environment's answer is already known.

    It is clean, so it comes out the same without the forgotten rows, which are fenced by now.
    """
    work = context.task.work
    assert isinstance(work, Probe)
    store = context.store
    program = pinned_program(store, work.program_id, allow_changed=context.options.allow_changed)
    with deterministic(uses_torch=program.uses_torch):
        environment = record_environment(store, uses_torch=program.uses_torch).digest
    known = cached(store, environment, work.segment_id)
    if known is None:
        known = _measure(context, work, environment)
    return {"passed": known, "environment": environment, "segment": work.segment_id}


def cached(store: Store, environment: str, segment_id: str) -> bool | None:
    """What an earlier probe of the same run found in this environment, if there was one.

    One that began where the run did could not show what is lost at a checkpoint.
    """
    probe, segment = tables.Probe, tables.Segment
    with store.catalogue.read() as session:
        run = session.get_one(tables.Run, session.get_one(segment, segment_id).run_id)
        return session.scalar(
            select(probe.passed)
            .join(segment, segment.id == probe.segment_id)
            .where(
                probe.environment == environment,
                segment.run_id == run.id,
                segment.first_step > run.first_step,
            )
            .order_by(probe.created_at.desc())
            .limit(1)
        )


def _measure(context: Context, work: Probe, environment: str) -> bool:
    store = context.store
    task_id = f"{context.plan_id}/{context.task.id}"
    with context.writing() as session:
        segment = session.get_one(tables.Segment, work.segment_id)
        recorded = session.get_one(tables.Checkpoint, segment.checkpoint_id)
        original = session.get_one(tables.Run, segment.run_id)
        run = session.scalar(select(tables.Run).where(tables.Run.task_id == task_id))
        if run is None:
            before = session.scalar(
                select(tables.Checkpoint.id).where(
                    tables.Checkpoint.run_id == original.id,
                    tables.Checkpoint.step == segment.first_step,
                )
            )
            run = add_run(
                session,
                store,
                RunSpec.model_validate(original.specification),
                original.program_id,
                retained_inputs(session, context, original.id),
                task_id=task_id,
                start_id=before or original.start_id,
                first_step=segment.first_step,
                follows=followed(session, original.id),
                given=given_to(session, original.id),
            )
    if run.state != "complete":
        execute_run(
            store,
            run.id,
            until=recorded.step,
            allow_changed=context.options.allow_changed,
            overtake=True,
        )
    with context.writing() as session:
        again = session.scalar(
            select(tables.Checkpoint.digest).where(
                tables.Checkpoint.run_id == run.id, tables.Checkpoint.step == recorded.step
            )
        )
        passed = again == recorded.digest
        session.add(
            tables.Probe(
                id=new_id("probe"),
                environment=environment,
                program_id=work.program_id,
                segment_id=work.segment_id,
                passed=passed,
                created_at=store.clock(),
            )
        )
    return passed

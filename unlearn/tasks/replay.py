"""Replay: execute a run again over the retained rows, from its restart point."""

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.given import standing_in
from lineage.data.retained import retained
from lineage.training.entries import add_run
from lineage.training.execute import execute as execute_run
from lineage.training.given import given_to
from lineage.training.recording import followed
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from unlearn.dispatch.worker import Context
from unlearn.plan.model import External, Replay, key_of
from unlearn.plan.stored import decoded


def execute(context: Context) -> dict[str, Any]:
    """Write the run down once, and execute it to its end; a run that was interrupted goes on."""
    work = context.task.work
    assert isinstance(work, Replay)
    with context.writing() as session:
        run = session.scalar(select(tables.Run).where(tables.Run.task_id == task_id(context)))
        if run is None:
            run = _write_down(session, context, work)
    if run.state != "complete":
        execute_run(
            context.store,
            run.id,
            until=work.until,
            allow_changed=context.options.allow_changed,
            overtake=True,
        )
    return result_of(context, run.id)


def _write_down(session: Session, context: Context, work: Replay) -> tables.Run:
    original = session.get_one(tables.Run, work.run_id)
    start = work.restart
    if start in context.results:
        start = context.results[start]["checkpoints"][
            key_of(work.restart_step, work.restart_edition)
        ]
    return add_run(
        session,
        context.store,
        RunSpec.model_validate(original.specification),
        original.program_id,
        retained_inputs(session, context, work.run_id),
        task_id=task_id(context),
        replay_of=work.run_id,
        start_id=start,
        first_step=work.first_step,
        follows=followed(session, original.id),
        given=standing_in(given_to(session, original.id), stand_ins(context, work)),
    )


def retained_inputs(session: Session, context: Context, run_id: str) -> dict[str, str]:
    """The versions a run was given, by alias, as they would be had nothing forgotten been there."""
    gone, taught = decoded(context.plan.forget), context.plan.taught(context.results)
    return {
        given.alias: retained(
            session,
            context.store,
            session.get_one(tables.DatasetVersion, given.version_id),
            gone,
            f"plan {context.plan_id}",
            taught,
        ).id
        for given in session.scalars(
            select(tables.RunInput).where(tables.RunInput.run_id == run_id)
        )
    }


def stand_ins(context: Context, work: Replay | External) -> dict[str, str]:
    """What earlier tasks made in place of checkpoints that a run was given: id → id."""
    return {
        old: context.results[new.task]["checkpoints"][new.key] for old, new in work.given.items()
    }


def result_of(context: Context, run_id: str) -> dict[str, Any]:
    """What a run of a task left: its checkpoints and their digests by key, and what it took."""
    with context.store.catalogue.read() as session:
        rows = session.execute(
            select(tables.Checkpoint, tables.Segment)
            .join(tables.Segment, tables.Segment.checkpoint_id == tables.Checkpoint.id)
            .where(tables.Checkpoint.run_id == run_id)
            .order_by(tables.Checkpoint.step, tables.Checkpoint.edition)
        ).all()
    return {
        "run": run_id,
        "checkpoints": {key_of(c.step, c.edition): c.id for c, _ in rows},
        "digests": {key_of(c.step, c.edition): c.digest for c, _ in rows},
        "visits": sum(segment.visits for _, segment in rows),
        "seconds": round(sum(segment.seconds for _, segment in rows), 3),
    }


def task_id(context: Context) -> str:
    """The id under which the run of a task is recorded, once."""
    return f"{context.plan_id}/{context.task.id}"

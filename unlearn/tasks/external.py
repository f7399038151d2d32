"""External: have the owner of an observed run train it again, by their own command.

The command gets a commission (see ``lineage.training.commission``) and must leave a run of its loop
that was observed in this store, on the version that was asked for.
"""

import os
import shlex
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from lineage.data.version import Version, open_version
from lineage.training.checkpoint import newest
from lineage.training.commission import VARIABLE, Answer, Commission
from storage import manifests
from storage.catalogue import tables
from storage.rows import rows_table
from unlearn.dispatch.worker import Context
from unlearn.errors import TaskError
from unlearn.plan.model import External
from unlearn.tasks.replay import result_of, retained_inputs, task_id
from unlearn.twin.compare import own_folder
from unlearn.twin.kit import no_rows


def execute(context: Context) -> dict[str, Any]:
    """Run the command, unless an earlier attempt was done, and check what it left.

    Raises:
        TaskError: the command failed, or trained on something else than it was asked to.
    """
    work = context.task.work
    assert isinstance(work, External)
    with context.store.catalogue.write() as session:
        (version_id,) = retained_inputs(session, context, work.run_id).values()
        run = session.scalar(_run_of(context))
    if run is None or run.state != "complete":
        version = open_version(context.store, version_id)
        with own_folder(context.store) as folder:
            commission = _commission(context, work, version, folder)
            place = folder / "task.json"
            place.write_text(commission.model_dump_json(indent=2), "utf-8")
            _execute(work, place)
            _check(context, work, commission)
    return _result(context, work, version_id)


def _execute(work: External, place: Path) -> None:
    """Start the owner's command, and wait for it."""
    try:
        done = subprocess.run(
            work.command,
            cwd=work.folder,
            env={**os.environ, VARIABLE: str(place)},
            input=place.read_text("utf-8"),
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise TaskError(
            f"the command that trains {work.run_id} again cannot be started: {error}",
            hint=f"make it work again: {shlex.join(work.command)}, in {work.folder}",
        ) from error
    if done.returncode != 0:
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise TaskError(
            f"the command that trains {work.run_id} again ended with status "
            f"{done.returncode}: {said}",
            hint=f"mend it, and apply the plan again: {shlex.join(work.command)}, in {work.folder}",
        )


def _check(context: Context, work: External, commission: Commission) -> None:
    """The command must have left its run of this task, complete, on the version asked for."""
    fault = _fault(context, commission)
    if fault:
        raise TaskError(
            f"the command that trains {work.run_id} again {fault}",
            hint="let it train on the dataset version of the task, in a loop that is observed",
        )


def _fault(context: Context, commission: Commission) -> str:
    with context.store.catalogue.read() as session:
        run = session.scalar(_run_of(context))
        if run is None or run.state != "complete" or not commission.answer.is_file():
            return "left no complete run of an observed loop"
        answer = Answer.model_validate_json(commission.answer.read_text("utf-8"))
        given = session.scalars(
            select(tables.RunInput.version_id).where(tables.RunInput.run_id == run.id)
        ).all()
        last = newest(session, run.id)
        if (answer.run, [answer.dataset_version], list(given)) != (
            run.id,
            [commission.version],
            [commission.version],
        ):
            return f"did not train on {commission.version} alone"
        if last is None or last.digest != answer.model_digest:
            return "answers with another digest than its run has"
    return ""


def _result(context: Context, work: External, version_id: str) -> dict[str, Any]:
    """What the run left; its checkpoints stand for the original's in order, or the last alone."""
    with context.store.catalogue.read() as session:
        run = session.scalars(_run_of(context)).one()
        before, after = _checkpoints(session, work.run_id), _checkpoints(session, run.id)
    pairs = (
        zip(before, after, strict=True) if len(before) == len(after) else [(before[-1], after[-1])]
    )
    stands = {str(old.step): new.id for old, new in pairs}
    return {
        **result_of(context, run.id),
        "checkpoints": stands,
        "dataset_version": version_id,
        "command": list(work.command),
    }


def _checkpoints(session: Session, run_id: str) -> Sequence[tables.Checkpoint]:
    return session.scalars(
        select(tables.Checkpoint)
        .where(tables.Checkpoint.run_id == run_id)
        .order_by(tables.Checkpoint.step)
    ).all()


def _run_of(context: Context) -> Select[tables.Run]:
    return select(tables.Run).where(tables.Run.task_id == task_id(context))


def _model_of(session: Session, run_id: str) -> str:
    run = session.get_one(tables.Run, run_id)
    while run.replay_of is not None:
        run = session.get_one(tables.Run, run.replay_of)
    training = session.get_one(tables.Training, run.training_id)
    return session.get_one(tables.Model, training.model_id).name


def _commission(context: Context, work: External, version: Version, folder: Path) -> Commission:
    records = folder / f"{version.dataset.name}.parquet"
    rows = manifests.read_identified(
        context.store.objects, version.chunks, version.present.positions
    )
    pq.write_table(rows_table([no_rows(version.columns), *rows]), records)
    with context.store.catalogue.read() as session:
        model = _model_of(session, work.run_id)
    return Commission(
        task=task_id(context),
        store=context.store.path,
        run=work.run_id,
        model=model,
        dataset=version.dataset.name,
        version=version.id,
        retained=version.row.live,
        records=records,
        answer=folder / "answer.json",
    )

"""External: have the owner of an observed run train it again, by their own command.

The command gets a commission (see ``lineage.training.commission``) and must leave a run of its loop
that was observed in this store, on the version that was asked for.
"""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import ValidationError
from sqlalchemy import Select, select, update
from sqlalchemy.orm import Session

from lineage.data.version import Version, open_version
from lineage.training.checkpoint import newest
from lineage.training.command import Retraining
from lineage.training.commission import VARIABLE, Answer, Commission
from storage import child, manifests
from storage.catalogue import tables
from storage.rows import rows_table
from unlearn.dispatch.worker import Context
from unlearn.errors import TaskError
from unlearn.plan.model import Aggregate, External, Kept, Made, Replay, Task, Transform, key_of
from unlearn.tasks.replay import result_of, retained_inputs, stand_ins, task_id
from unlearn.twin.compare import own_folder


def execute(context: Context) -> dict[str, Any]:
    """Run the command, unless an earlier attempt was done, and check what it left.

    Raises:
        TaskError: the command failed, or trained on something else than it was asked to.
    """
    work = context.task.work
    assert isinstance(work, External)
    with context.writing() as session:
        (version_id,) = retained_inputs(session, context, work.run_id).values()
        run = session.scalar(_run_of(context))
    if run is None or run.state != "complete":
        version = open_version(context.store, version_id)
        with own_folder(context.store) as folder:
            commission = _commission(context, work, version, folder)
            place = folder / "task.json"
            place.write_text(commission.model_dump_json(indent=2), "utf-8")
            before = _made(context, work)
            _execute(work, place)
            made = _made(context, work) - before
            _accept(context, work, _fault(context, commission, len(made)))
    _accept(context, work, _shortfall(context, work))
    return _result(context, work, version_id)


def _execute(work: External, place: Path) -> None:
    """Start the owner's command, and wait for it; what it printed is shown where it failed."""
    fault = Retraining(work.command, Path(work.folder)).fault()
    if fault:
        raise TaskError(
            f"the command that trains {work.run_id} again cannot be started: {fault}",
            hint=f"make it work again: {shlex.join(work.command)}, in {work.folder}",
        )
    try:
        done = child.run(
            work.command,
            cwd=work.folder,
            env={**os.environ, VARIABLE: str(place)},
            input=place.read_text("utf-8"),
        )
    except OSError as error:
        raise TaskError(
            f"the command that trains {work.run_id} again cannot be started: {error}",
            hint=f"make it work again: {shlex.join(work.command)}, in {work.folder}",
        ) from error
    if done.returncode != 0:
        sys.stderr.write(done.stdout + done.stderr)
        said = (done.stderr.strip() or "it said nothing").splitlines()[-1]
        raise TaskError(
            f"the command that trains {work.run_id} again ended with status "
            f"{done.returncode}: {said}",
            hint=f"mend it, and apply the plan again: {shlex.join(work.command)}, in {work.folder}",
        )


def _accept(context: Context, work: External, fault: str) -> None:
    """Refuse what the command left where there is a fault in it: the next attempt begins anew."""
    if fault:
        with context.writing() as session:
            refused = update(tables.Run).where(tables.Run.task_id == task_id(context))
            session.execute(refused.values(task_id=None))
        raise TaskError(
            f"the command that trains {work.run_id} again {fault}",
            hint="let it train what the task names, once, in a loop that is observed",
        )


def _made(context: Context, work: External) -> set[str]:
    """The complete runs that were made in place of the observed one."""
    made = select(tables.Run.id).where(
        tables.Run.replay_of == work.run_id, tables.Run.state == "complete"
    )
    with context.store.catalogue.read() as session:
        return set(session.scalars(made))


def _fault(context: Context, commission: Commission, made: int) -> str:
    """Why what was left is not what was asked for: a complete run of this task, and the answer.

    Which of several that were ``made`` stands for the one that was asked for, nobody can tell.
    """
    with context.store.catalogue.read() as session:
        run = session.scalar(_run_of(context))
        if run is None or run.state != "complete" or not commission.answer.is_file():
            return "left no complete run of an observed loop"
        if made > 1:
            return f"left {made} runs, and only that of model {commission.model!r} was asked for"
        try:
            answer = Answer.model_validate_json(commission.answer.read_bytes())
        except ValidationError:
            return "left an answer that cannot be read"
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


def _shortfall(context: Context, work: External) -> str:
    """Which checkpoint is missing that other tasks go on from."""
    with context.store.catalogue.read() as session:
        stands = _stands(session, work, session.scalars(_run_of(context)).one())
        kept = len(_checkpoints(session, work.run_id))
    wanted = {key for task in context.plan.tasks for key in _built_on(task, context.task.id)}
    if wanted <= stands.keys():
        return ""
    return f"did not keep {kept} checkpoints, as the run before, from which others go on"


def _built_on(task: Task, external: str) -> list[str]:
    """The keys of this task's checkpoints that another task goes on from."""
    used: list[Made | Kept] = []
    match task.work:
        case Replay(restart=restart, restart_step=step, restart_edition=edition, given=given):
            used = [*given.values()]
            used += [Made(task=restart, step=step, edition=edition)] if restart is not None else []
        case External(given=given) | Transform(given=given):
            used = [*given.values()]
        case Aggregate(members=members):
            used = [*members.values()]
    return [each.key for each in used if isinstance(each, Made) and each.task == external]


def _result(context: Context, work: External, version_id: str) -> dict[str, Any]:
    """What the run left; its checkpoints have the keys of those they stand for."""
    with context.store.catalogue.read() as session:
        run = session.scalars(_run_of(context)).one()
        stands = _stands(session, work, run)
    return {
        **result_of(context, run.id),
        "checkpoints": stands,
        "dataset_version": version_id,
        "command": list(work.command),
    }


def _stands(session: Session, work: External, run: tables.Run) -> dict[str, str]:
    """Return, by the key of each checkpoint of the original, the one that stands for it now.

    Checkpoints after a step are paired in order. Where there are not as many steps with one, only
    the last checkpoint stands for the last. Whether a change without a step leaves an edition can
    differ: best weights may be those of the last step.
    """
    before, after = _checkpoints(session, work.run_id), _checkpoints(session, run.id)
    if len(before) != len(after):
        before, after = [before[-1][-1:]], [after[-1][-1:]]
    return {
        key_of(old.step, old.edition): new.id
        for olds, news in zip(before, after, strict=True)
        for old, new in _paired(olds, news)
    }


def _paired(
    before: Sequence[tables.Checkpoint], after: Sequence[tables.Checkpoint]
) -> Iterator[tuple[tables.Checkpoint, tables.Checkpoint]]:
    """Pair the editions at one step with those at another, the last with the last."""
    *earlier, last = before
    for number, old in enumerate(earlier):
        yield old, after[min(number, len(after) - 1)]
    yield last, after[-1]


def _checkpoints(session: Session, run_id: str) -> list[list[tables.Checkpoint]]:
    """The checkpoints of a run in order, those at one step together."""
    found = session.scalars(
        select(tables.Checkpoint)
        .where(tables.Checkpoint.run_id == run_id)
        .order_by(tables.Checkpoint.step, tables.Checkpoint.edition)
    )
    return [list(together) for _, together in groupby(found, lambda each: each.step)]


def _run_of(context: Context) -> Select[tables.Run]:
    return select(tables.Run).where(tables.Run.task_id == task_id(context))


def _model_of(session: Session, run_id: str) -> str:
    run = session.get_one(tables.Run, run_id)
    while run.replay_of is not None:
        run = session.get_one(tables.Run, run.replay_of)
    training = session.get_one(tables.Training, run.training_id)
    return session.get_one(tables.Model, training.model_id).name


def _commission(context: Context, work: External, version: Version, folder: Path) -> Commission:
    records = folder / f"{version.id}.parquet"
    rows = manifests.read_identified(
        context.store.objects, version.chunks, version.present.positions
    )
    pq.write_table(rows_table([manifests.no_rows(version.columns), *rows]), records)
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
        stands_in=stand_ins(context, work),
        answer=folder / "answer.json",
    )

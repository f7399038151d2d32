"""Views of what the catalogue lists: datasets, runs, segments, checkpoints and models."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import pyarrow as pa
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lineage.provenance.query import live_versions
from lineage.provenance.sql.view import Column, Part, View, schema_of
from lineage.store import Store
from lineage.training.specification import RunSpec
from storage.catalogue import tables

Rows = Iterable[Sequence[Any]]


def _view(
    name: str, about: str, rows: Callable[[Session], Rows], columns: tuple[Column, ...]
) -> View:
    """A view whose rows are read at once: there are few of them."""

    def parts(_store: Store, session: Session) -> Iterable[Part]:
        schema = schema_of(columns)
        cells = list(zip(*rows(session), strict=True)) or [()] * len(columns)
        arrays = [pa.array(each, kind) for each, kind in zip(cells, schema.types, strict=True)]
        batch = pa.record_batch(arrays, schema)
        return [Part({}, schema, lambda: iter([batch]))]

    return View(name, about, columns, parts)


def _datasets(session: Session) -> Rows:
    dataset, version = tables.Dataset, tables.DatasetVersion
    return session.execute(
        select(
            dataset.name,
            dataset.namespace,
            version.id,
            version.sequence,
            version.live,
            dataset.created_at,
        )
        .join(version, version.id == dataset.head_id)
        .order_by(dataset.name)
    )


def _runs(session: Session) -> Iterator[tuple[Any, ...]]:
    last = select(tables.Checkpoint.run_id, func.max(tables.Checkpoint.step).label("step"))
    done = last.group_by(tables.Checkpoint.run_id).subquery()
    found = session.execute(
        select(
            tables.Run,
            tables.Model.name,
            tables.Program.ref,
            tables.DatasetVersion.id,
            tables.Dataset.name,
            func.coalesce(done.c.step, tables.Run.first_step),
            func.coalesce(tables.RunRecording.unknown, 0),
        )
        .join(tables.Program, tables.Program.id == tables.Run.program_id)
        .outerjoin(
            tables.RunInput, (tables.RunInput.run_id == tables.Run.id) & tables.RunInput.trains
        )
        .outerjoin(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .outerjoin(tables.Dataset, tables.Dataset.id == tables.DatasetVersion.dataset_id)
        .outerjoin(tables.Training, tables.Training.id == tables.Run.training_id)
        .outerjoin(tables.Model, tables.Model.id == tables.Training.model_id)
        .outerjoin(tables.RunRecording, tables.RunRecording.run_id == tables.Run.id)
        .outerjoin(done, done.c.run_id == tables.Run.id)
        .order_by(tables.Run.created_at, tables.Run.id)
    )
    for run, model, program, version, dataset, step, unknown in found:
        spec = RunSpec.model_validate(run.specification)
        schedule = spec.schedule
        yield (
            *(run.id, model, run.training_id, program, dataset, version, schedule.kind),
            *(schedule.shard, schedule.shards, schedule.seed, _epochs(schedule.epochs), run.state),
            *(run.first_step, step, schedule.steps, run.start_id, run.replay_of, unknown == 0),
            *(run.created_at, run.ended_at),
        )


def _epochs(asked: int | tuple[int, ...] | None) -> int | None:
    """All epochs, where they were asked for slice by slice."""
    return sum(asked) if isinstance(asked, tuple) else asked


def _segments(session: Session) -> Rows:
    segment, checkpoint = tables.Segment, tables.Checkpoint
    return session.execute(
        select(
            segment.id,
            segment.run_id,
            checkpoint.id,
            segment.first_step,
            checkpoint.step,
            segment.skipped,
            segment.visits,
            segment.seconds,
        )
        .join(checkpoint, checkpoint.id == segment.checkpoint_id)
        .order_by(segment.run_id, checkpoint.step, checkpoint.edition)
    )


def _checkpoints(session: Session) -> Rows:
    each = tables.Checkpoint
    return session.execute(
        select(
            *(each.id, each.run_id, each.step, each.edition, each.digest, each.size),
            *(each.created_at, each.purged_at),
        ).order_by(each.run_id, each.step, each.edition)
    )


def _models(session: Session) -> Iterator[tuple[Any, ...]]:
    live = live_versions(session)
    found = session.execute(
        select(tables.ModelVersion, tables.Model)
        .join(tables.Model, tables.Model.id == tables.ModelVersion.model_id)
        .order_by(tables.Model.name, tables.ModelVersion.sequence)
    )
    for version, model in found:
        yield (
            *(version.id, model.name, version.sequence, version.digest, version.id in live),
            *(version.interim, version.plan_id, version.replaces_id),
            *(version.created_at, version.purged_at, model.retired_at),
        )


def _members(session: Session) -> Rows:
    each = tables.ModelMember
    return session.execute(
        select(each.version_id, each.shard, each.checkpoint_id).order_by(
            each.version_id, each.shard
        )
    )


def _given(session: Session) -> Iterator[Sequence[Any]]:
    run, transform = tables.RunModel, tables.TransformModel
    for reader, each in ((run.run_id, run), (transform.transform_id, transform)):
        read = select(reader, each.alias, each.shard, each.checkpoint_id)
        yield from session.execute(read.order_by(reader, each.alias, each.shard))


def _choices(session: Session) -> Iterator[tuple[Any, ...]]:
    for each in session.scalars(select(tables.Choice).order_by(tables.Choice.created_at)):
        for version in each.over:
            yield each.id, each.version_id, version, None, None, each.created_at
        for data, metric in each.by.items():
            yield each.id, each.version_id, None, data, metric, each.created_at


_CREATED = Column("created_at", "TIMESTAMP", "when it was written down")

CATALOGUE_VIEWS = (
    _view(
        "datasets",
        "the datasets that have rows",
        _datasets,
        (
            Column("dataset", "VARCHAR", "name"),
            Column("namespace", "VARCHAR", "where the ids of its subjects are unique"),
            Column("version", "VARCHAR", "id of the newest version, which new runs read"),
            Column("sequence", "BIGINT", "number of that version"),
            Column("records", "BIGINT", "present rows of that version"),
            _CREATED,
        ),
    ),
    _view(
        "runs",
        "the runs, replays too",
        _runs,
        (
            Column("run", "VARCHAR", "id"),
            Column("model", "VARCHAR", "name of the model it was trained for; null for a replay"),
            Column("training", "VARCHAR", "id of its training; null for a replay"),
            Column("program", "VARCHAR", "import path of the program"),
            Column("dataset", "VARCHAR", "name of what it trained on; null without steps"),
            Column("version", "VARCHAR", "id of the version of it"),
            Column("schedule", "VARCHAR", "stable/1, recorded/1 or none"),
            Column("shard", "BIGINT", "number of its shard, from 0"),
            Column("shards", "BIGINT", "of how many"),
            Column("seed", "BIGINT", "seed of the schedule"),
            Column("epochs", "BIGINT", "epochs asked for; null where the loop decides"),
            Column("state", "VARCHAR", "how far it is"),
            Column("first_step", "BIGINT", "the step that it began with"),
            Column("step", "BIGINT", "steps done and kept"),
            Column("steps", "BIGINT", "nominal steps; null where the loop decides"),
            Column("start", "VARCHAR", "id of the checkpoint that it began from"),
            Column("replay_of", "VARCHAR", "id of the run that it replays"),
            Column("complete", "BOOLEAN", "false where it was given records that nobody knows"),
            _CREATED,
            Column("ended_at", "TIMESTAMP", "when it ended"),
        ),
    ),
    _view(
        "segments",
        "the steps of each run between two checkpoints",
        _segments,
        (
            Column("segment", "VARCHAR", "id"),
            Column("run", "VARCHAR", "id of the run"),
            Column("checkpoint", "VARCHAR", "id of the checkpoint at its end"),
            Column("first_step", "BIGINT", "its first step"),
            Column("step", "BIGINT", "the first step after it"),
            Column("skipped", "BIGINT", "steps passed over, for too few records"),
            Column("visits", "BIGINT", "visits when it was carried out, forgotten ones too"),
            Column("seconds", "DOUBLE", "how long it took"),
        ),
    ),
    _view(
        "checkpoints",
        "the training states that runs left",
        _checkpoints,
        (
            Column("checkpoint", "VARCHAR", "id"),
            Column("run", "VARCHAR", "id of the run"),
            Column("step", "BIGINT", "steps done"),
            Column("edition", "BIGINT", "0, or which state that changed without a step"),
            Column("digest", "VARCHAR", "digest of the state"),
            Column("size", "BIGINT", "bytes"),
            _CREATED,
            Column("purged_at", "TIMESTAMP", "when it was purged"),
        ),
    ),
    _view(
        "models",
        "the versions of models",
        _models,
        (
            Column("version", "VARCHAR", "id"),
            Column("model", "VARCHAR", "name of the model"),
            Column("sequence", "BIGINT", "number of the version"),
            Column("digest", "VARCHAR", "model digest"),
            Column("live", "BOOLEAN", "whether anything uses it"),
            Column("interim", "BOOLEAN", "whether it only stands in for a later one"),
            Column("plan", "VARCHAR", "id of the plan that made it"),
            Column("replaces", "VARCHAR", "id of the version that it replaces"),
            _CREATED,
            Column("purged_at", "TIMESTAMP", "when it was purged"),
            Column("retired_at", "TIMESTAMP", "when the model was retired"),
        ),
    ),
    _view(
        "members",
        "the checkpoints that each version of a model is made of",
        _members,
        (
            Column("version", "VARCHAR", "id of the version of a model"),
            Column("shard", "BIGINT", "number of the shard"),
            Column("checkpoint", "VARCHAR", "id of the checkpoint"),
        ),
    ),
    _view(
        "given",
        "the models that runs and transforms were given beside their data",
        _given,
        (
            Column("reader", "VARCHAR", "id of the run or transform"),
            Column("alias", "VARCHAR", "name of the model in the program or function"),
            Column("shard", "BIGINT", "number of the shard"),
            Column("checkpoint", "VARCHAR", "id of the checkpoint"),
        ),
    ),
    _view(
        "choices",
        "what versions were chosen over and by, a row each",
        _choices,
        (
            Column("choice", "VARCHAR", "id"),
            Column("version", "VARCHAR", "id of the version that was chosen"),
            Column("loser", "VARCHAR", "id of a version that lost"),
            Column("data", "VARCHAR", "id of a dataset version that was looked at"),
            Column("metric", "VARCHAR", "the measure on it that decided"),
            _CREATED,
        ),
    ),
)

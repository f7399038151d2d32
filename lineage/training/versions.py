"""Making versions of models out of checkpoints: of what a training left, or a plan made again."""

from collections.abc import Mapping

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from lineage.errors import RunError
from lineage.store import Store
from lineage.training.aggregation import Aggregation, model_digest, weights_of
from lineage.training.given import members_of
from lineage.training.specification import RunSpec
from lineage.training.upstream import require_members
from storage import ledger
from storage.catalogue import tables
from storage.catalogue.tables import new_id


def publish_version(
    session: Session,
    store: Store,
    model_id: str,
    members: Mapping[int, tables.Checkpoint],
    aggregation: Aggregation,
    *,
    interim: bool = False,
    plan_id: str | None = None,
    replaces_id: str | None = None,
) -> tables.ModelVersion:
    """Make the next version of a model out of a checkpoint a shard, with its commitment.

    Raises:
        RunStoppedError: a member is purged.
    """
    require_members(session, members.values())
    latest = select(func.max(tables.ModelVersion.sequence)).where(
        tables.ModelVersion.model_id == model_id
    )
    sequence = (session.scalar(latest) or 0) + 1
    replaced = None if replaces_id is None else session.get_one(tables.ModelVersion, replaces_id)
    ordered = [members[shard] for shard in sorted(members)]
    digests = [member.digest for member in ordered]
    version = tables.ModelVersion(
        id=new_id("mv"),
        model_id=model_id,
        sequence=sequence,
        place=sequence if replaced is None else replaced.place,
        aggregation=aggregation,
        digest=model_digest(aggregation, digests, weights_of(session, ordered)),
        interim=interim,
        plan_id=plan_id,
        replaces_id=replaces_id,
        created_at=store.clock(),
    )
    session.add(version)
    session.flush()
    session.add_all(
        tables.ModelMember(version_id=version.id, shard=shard, checkpoint_id=checkpoint.id)
        for shard, checkpoint in members.items()
    )
    ledger.commit(session, "model-version", version.id, {"digest": version.digest}, store.clock())
    return version


def publish_training(store: Store, training_id: str) -> tables.ModelVersion:
    """Make a version out of the last checkpoints of a training's runs, which are complete.

    Where it extends a version, its shards are numbered on from the members of that version.

    Raises:
        RunError: it was made before, or nothing is left of what it extends.
    """
    with store.catalogue.write() as session:
        training = session.get_one(tables.Training, training_id)
        if training.state == "complete":
            raise RunError(f"training {training_id} is complete", hint="see `expunge model list`")
        members = _extended(session, training)
        first = max(members, default=-1) + 1
        for run in session.scalars(select(tables.Run).where(tables.Run.training_id == training_id)):
            last = _last(session, run.id)
            require_members(session, [last])
            members[first + RunSpec.model_validate(run.specification).schedule.shard] = last
        session.get_one(tables.Model, training.model_id).retired_at = None  # in use again
        training.state = "complete"
        training.ended_at = store.clock()
        how = Aggregation(training.aggregation)
        return publish_version(session, store, training.model_id, members, how)


def _last(session: Session, run_id: str) -> tables.Checkpoint:
    """The last checkpoint of a complete run, whatever became of it."""
    made = tables.Checkpoint
    ended = select(made).where(made.run_id == run_id)
    return session.scalars(ended.order_by(made.step.desc(), made.edition.desc()).limit(1)).one()


def _extended(session: Session, training: tables.Training) -> dict[int, tables.Checkpoint]:
    """The members of what a training extends, as it is now: a plan may have replaced it since."""
    if training.extends_id is None:
        return {}
    base = session.get_one(tables.ModelVersion, training.extends_id)
    current = session.scalars(
        select(tables.ModelVersion)
        .where(
            tables.ModelVersion.model_id == base.model_id,
            tables.ModelVersion.place == base.place,
            tables.ModelVersion.interim.is_(False),
            tables.ModelVersion.purged_at.is_(None),
        )
        .order_by(tables.ModelVersion.sequence.desc())
    ).first()
    if current is None:
        raise RunError(
            f"nothing is left of {base.id}, which training {training.id} extends",
            hint="train the model without --extend",
        )
    members = members_of(session, current.id)
    return {shard: session.get_one(tables.Checkpoint, each) for shard, each in members.items()}

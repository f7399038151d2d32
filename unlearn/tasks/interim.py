"""Interim: publish a model without its affected shards."""

from typing import Any

from sqlalchemy import select

from lineage.training.aggregation import Aggregation
from lineage.training.versions import publish_version
from storage.catalogue import tables
from unlearn.dispatch.worker import Context
from unlearn.plan.model import Interim


def execute(context: Context) -> dict[str, Any]:
    """Make the clean members the newest version of the model, once."""
    work = context.task.work
    assert isinstance(work, Interim)
    with context.writing() as session:
        version = session.scalar(
            select(tables.ModelVersion).where(
                tables.ModelVersion.plan_id == context.plan_id,
                tables.ModelVersion.replaces_id == work.version_id,
                tables.ModelVersion.interim,
            )
        )
        if version is None:
            replaced = session.get_one(tables.ModelVersion, work.version_id)
            version = publish_version(
                session,
                context.store,
                replaced.model_id,
                {
                    shard: session.get_one(tables.Checkpoint, member)
                    for shard, member in work.members.items()
                },
                Aggregation(replaced.aggregation),
                interim=True,
                plan_id=context.plan_id,
                replaces_id=work.version_id,
            )
        return {"version": version.id, "digest": version.digest, "shards": sorted(work.members)}

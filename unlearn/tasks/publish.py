"""Publish: make the replacement versions the newest of their models, and move aliases to them."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from lineage.training.aggregation import Aggregation
from lineage.training.ensemble import publish_version
from storage.catalogue import tables
from unlearn.dispatch.worker import Context
from unlearn.errors import VerificationFailedError


def execute(context: Context) -> dict[str, Any]:
    """Publish every aggregate, once.

    Raises:
        VerificationFailedError: the check did not pass; nothing is published and nothing purged.
    """
    check = context.results["check"]
    if check["verdict"] == "failed":
        raise VerificationFailedError(
            f"plan {context.plan_id} failed its check: {check['claim']['reason']}",
            hint=f"see `expunge show {context.plan_id}`; nothing was published or purged",
        )
    made = [result for task, result in context.results.items() if task.startswith("aggregate-")]
    with context.store.catalogue.write() as session:
        return {"versions": {each["replaces"]: _publish(session, context, each) for each in made}}


def _publish(session: Session, context: Context, made: dict[str, Any]) -> str:
    version = session.scalar(
        select(tables.ModelVersion).where(
            tables.ModelVersion.plan_id == context.plan_id,
            tables.ModelVersion.replaces_id == made["replaces"],
            tables.ModelVersion.interim.is_(False),
        )
    )
    if version is None:
        replaced = session.get_one(tables.ModelVersion, made["replaces"])
        version = publish_version(
            session,
            context.store,
            replaced.model_id,
            {
                int(shard): session.get_one(tables.Checkpoint, member)
                for shard, member in made["members"].items()
            },
            Aggregation(replaced.aggregation),
            plan_id=context.plan_id,
            replaces_id=made["replaces"],
        )
    session.execute(
        update(tables.Alias)
        .where(tables.Alias.version_id == made["replaces"])
        .values(version_id=version.id)
    )
    return version.id

"""Publish: make the replacement versions the newest of their models, and move aliases to them."""

from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from lineage.training.aggregation import Aggregation
from lineage.training.registry import end_use
from lineage.training.versions import publish_version
from storage.catalogue import tables
from unlearn.dispatch.worker import Context
from unlearn.errors import VerificationFailedError
from unlearn.plan.model import Publish
from unlearn.withheld import end_aliases, withhold


def execute(context: Context) -> dict[str, Any]:
    """Publish every aggregate, once; take models out of use of which nothing is left.

    An alias of what its gate found too much worse is withheld: it names nothing until somebody
    promotes the replacement.

    Raises:
        VerificationFailedError: the check did not pass; nothing is published and nothing purged.
    """
    check = context.results["check"]
    if check["verdict"] == "failed":
        raise VerificationFailedError(
            f"plan {context.plan_id} failed its check: {check['claim']['reason']}",
            hint=f"see `expunge show {context.plan_id}`; nothing was published or purged",
        )
    work = context.task.work
    assert isinstance(work, Publish)
    made = _of_kind(context, "aggregate")
    held = {each["version"]: each["why"] for each in _of_kind(context, "canary") if each["held"]}
    with context.writing() as session:
        withheld = withhold(session, context.row(session), held)
        versions = {each["replaces"]: _publish(session, context, each) for each in made}
        ended = end_aliases(session, context.row(session), work.ended)
        retired = {each: _end(session, context, each) for each in work.ended}
    return {
        "versions": versions,
        "retired": [name for name in retired.values() if name],
        "held": {versions[each]: why for each, why in held.items()},
        "withheld": withheld,
        "ended": ended,
    }


def _of_kind(context: Context, kind: str) -> list[dict[str, Any]]:
    return [found for task, found in context.results.items() if task.startswith(f"{kind}-")]


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


def _end(session: Session, context: Context, version_id: str) -> str | None:
    """Retire the model whose newest version nothing replaces, and return its name.

    An older version would be mistaken for what the model is now.
    """
    version = session.get_one(tables.ModelVersion, version_id)
    newest = select(tables.ModelVersion.id).where(
        tables.ModelVersion.model_id == version.model_id, tables.ModelVersion.interim.is_(False)
    )
    order = tables.ModelVersion.place.desc(), tables.ModelVersion.sequence.desc()
    if session.scalars(newest.order_by(*order)).first() != version_id:
        return None
    model = session.get_one(tables.Model, version.model_id)
    end_use(session, context.store, model)
    return model.name

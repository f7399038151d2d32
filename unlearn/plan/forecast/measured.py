"""How good trained models were: what their runs measured themselves by."""

from sqlalchemy import select

from lineage.store import Store
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.errors import NotFoundError


def accuracies(store: Store, metric: str) -> dict[tuple[int, int], float]:
    """A metric by shards and slices: of the newest complete training, the mean over its shards.

    Each shard counts with its last evaluation; an ensemble is as good as that at least, as a rule.

    Raises:
        NotFoundError: no complete training was evaluated by such a metric.
    """
    run, training, evaluation = tables.Run, tables.Training, tables.Evaluation
    last: dict[str, dict[int, float]] = {}
    shape: dict[str, tuple[int, int]] = {}
    with store.catalogue.read() as session:
        rows = session.execute(
            select(training.id, run.specification, evaluation.metrics)
            .join(run, run.training_id == training.id)
            .join(evaluation, evaluation.run_id == run.id)
            .where(training.state == "complete")
            .order_by(training.created_at, evaluation.step, evaluation.created_at)
        )
        for identifier, specification, metrics in rows:
            schedule = RunSpec.model_validate(specification).schedule
            if metrics.get(metric) is not None and schedule.kind == "stable/1":
                shape[identifier] = (schedule.shards, schedule.slices)
                last.setdefault(identifier, {})[schedule.shard] = float(metrics[metric])
    found = {
        shape[identifier]: sum(shards.values()) / len(shards)
        for identifier, shards in last.items()
        if len(shards) == shape[identifier][0]
    }
    if not found:
        raise NotFoundError(
            f"no complete training was evaluated by {metric!r}",
            hint="let the program measure it: run.evaluate(function, handle)",
        )
    return found

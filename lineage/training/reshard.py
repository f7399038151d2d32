"""Drawing the placement of a model anew, where requests may have come to depend on the old one.

That an ensemble forgets as if it had been trained without somebody rests on requests that do not
depend on who is in which shard. Whoever sees the models may learn of that, and choose what to have
deleted by it (Gupta et al. 2021, arXiv 2106.04378, adaptive requests). So the deletions that one
placement bears are capped. A new one follows from the secret salt and the number of the
``generation``, in a domain of its own: what was learned of the old one says nothing of the new.
"""

from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.errors import RunError
from lineage.store import Store
from lineage.training.aggregation import Aggregation
from lineage.training.ensemble import Recipe, prepare
from lineage.training.execute import pinned_program
from lineage.training.given import given_to
from lineage.training.model import find_version
from lineage.training.placements import origins_of, wear
from lineage.training.specification import RunSpec
from storage.catalogue import tables


def reshard(store: Store, model: str) -> str:
    """Write down a training of a model as its newest version was, under a placement drawn anew.

    It is over the present records, with as many shards; what a shard lost is made up. Returns the
    training's id, which `resume` executes.

    Raises:
        NotFoundError: there is no such model; near names are offered.
        RunError: the version has no placement, reads other models, or stands in for another.
        ProgramError: the program has changed.
        PlacementError: the records spread too unevenly.
    """
    version = find_version(store, model)
    if version.interim and version.purged_at is None:
        raise RunError(
            f"{version.id} stands in while shards of model {model!r} are made again",
            hint="apply the plan that makes them first",
        )
    with store.catalogue.read() as session:
        found = wear(session, version.id)
        origins = origins_of(session, version.id)
        first = origins[min(origins)]
        inputs = _datasets(session, first.id)
        reads = given_to(session, first.id)
        name = session.get_one(tables.Model, version.model_id).name
    spec = RunSpec.model_validate(first.specification)
    if found is None or reads or spec.schedule.kind != "stable/1":
        raise RunError(
            f"the placement of {version.id} cannot be drawn anew: it has no shards and no slices, "
            "follows an order of its own, or reads other models",
            hint="train the model again with its program",
        )
    recipe = replace(
        _recipe(spec, max(origins) + 1),
        start=first.start_id,
        aggregation=Aggregation(version.aggregation),
        redraw=True,
    )
    return prepare(store, pinned_program(store, first.program_id), inputs, name, recipe)


def _datasets(session: Session, run_id: str) -> dict[str, str]:
    """What a run was given: alias → name of the dataset, the one it trained on first."""
    given = (
        select(tables.RunInput.alias, tables.Dataset.name)
        .join(tables.DatasetVersion, tables.DatasetVersion.id == tables.RunInput.version_id)
        .join(tables.Dataset, tables.Dataset.id == tables.DatasetVersion.dataset_id)
        .where(tables.RunInput.run_id == run_id)
        .order_by(tables.RunInput.trains.desc(), tables.RunInput.alias)
    )
    return {row.alias: row.name for row in session.execute(given)}


def _recipe(spec: RunSpec, shards: int) -> Recipe:
    """The recipe that a run of so many was trained by."""
    schedule = spec.schedule
    assert schedule.kind == "stable/1"
    risk = schedule.risk
    return Recipe(
        shards=shards,
        slices=schedule.slices,
        shard_sizes=schedule.shares if schedule.shards == shards else None,
        risk=None if risk is None else risk.column,
        risk_bands=None if risk is None else risk.thresholds,
        epochs=schedule.epochs,
        batch_size=schedule.batch_size,
        seed=schedule.seed,
        min_batch=spec.min_batch // spec.world_size,
        checkpoint_every=spec.checkpoint_every,
        threads=spec.threads,
        config=spec.config,
        restore=spec.restore or ("model",),
        world_size=spec.world_size,
    )

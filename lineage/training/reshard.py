"""Drawing the placement of a model anew, where requests may have come to depend on the old one.

That an ensemble forgets as if it had been trained without somebody rests on requests that do not
depend on who is in which shard. Whoever sees the models may learn of that, and choose what to have
deleted by it (Gupta et al. 2021, arXiv 2106.04378, adaptive requests). So the deletions that one
placement bears are capped. A new one follows from the secret salt and the number of the
``generation``, in a domain of its own: what was learned of the old one says nothing of the new.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pyroaring import BitMap
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.fences import forgotten
from lineage.data.retained import live
from lineage.errors import RunError
from lineage.store import Store
from lineage.training.aggregation import Aggregation
from lineage.training.ensemble import Recipe, prepare
from lineage.training.execute import pinned_program
from lineage.training.given import given_to
from lineage.training.model import find_version
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.errors import InvalidInputError

VARIABLE = "EXPUNGE_RESHARD_CAP"
CAP = 0.05
"""The share of records whose deletion a placement bears, unless the variable says another."""


@dataclass(frozen=True, slots=True)
class Wear:
    """How many of the ``records`` that a placement was drawn for have been ``deleted`` since."""

    generation: int
    records: int
    deleted: int


def due(deleted: int, records: int, cap: float = CAP) -> bool:
    """Whether so many deletions pass the cap of a placement.

    >>> due(5, 100), due(6, 100), due(6, 100, cap=0.1), due(0, 0)
    (False, True, False, False)
    """
    return deleted > cap * records


def cap_of_placements() -> float:
    """The cap in force: ``EXPUNGE_RESHARD_CAP``, a share of the records from 0 to 1.

    Raises:
        InvalidInputError: it is no such number.
    """
    text = os.environ.get(VARIABLE, str(CAP))
    try:
        cap = float(text)
    except ValueError:
        cap = -1.0
    if not 0 <= cap <= 1:
        raise InvalidInputError(
            f"{VARIABLE} is {text!r}, and a cap is a share of the records, from 0 to 1",
            hint=f"leave it out for {CAP}",
        )
    return cap


def wear(
    session: Session, version_id: str, gone: Mapping[str, BitMap] | None = None
) -> Wear | None:
    """What the placement of a version has borne; None where it has none to draw anew.

    ``gone`` are all forgotten positions (dataset id → positions), where they are known.
    """
    origins = _origins(session, version_id).values()
    schedules = [run.specification["schedule"] for run in origins]
    if not any(map(_places, schedules)):
        return None
    there: dict[str, BitMap] = {}
    for version in session.scalars(
        select(tables.DatasetVersion)
        .join(tables.RunInput, tables.RunInput.version_id == tables.DatasetVersion.id)
        .where(tables.RunInput.run_id.in_([run.id for run in origins]), tables.RunInput.trains)
        .distinct()
    ):
        there[version.dataset_id] = there.get(version.dataset_id, BitMap()) | live(version)
    if gone is None:
        gone = {each: forgotten(session, each) for each in there}
    return Wear(
        generation=max(schedule.get("generation", 0) for schedule in schedules),
        records=sum(map(len, there.values())),
        deleted=sum(len(rows & gone.get(each, BitMap())) for each, rows in there.items()),
    )


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
        origins = _origins(session, version.id)
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
        generation=found.generation + 1,
    )
    return prepare(store, pinned_program(store, first.program_id), inputs, name, recipe)


def _origins(session: Session, version_id: str) -> dict[int, tables.Run]:
    """Shard → the run that was trained first, for each member of a version."""
    origins = {}
    for shard, run in session.execute(
        select(tables.ModelMember.shard, tables.Run)
        .join(tables.Checkpoint, tables.Checkpoint.id == tables.ModelMember.checkpoint_id)
        .join(tables.Run, tables.Run.id == tables.Checkpoint.run_id)
        .where(tables.ModelMember.version_id == version_id)
    ):
        origin = run
        while origin.replay_of is not None:
            origin = session.get_one(tables.Run, origin.replay_of)
        origins[shard] = origin
    return origins


def _places(schedule: Mapping[str, Any]) -> bool:
    """Whether where a run's records are trained on depends on a placement, by its specification."""
    cells = schedule.get("shards", 1), len(schedule["nominal"])
    return schedule["kind"] == "stable/1" and cells != (1, 1)


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

"""An ensemble: shards as isolated runs, published together as a version of a model.

Bourtoule et al. 2021 (arXiv 1912.03817), section IV: each shard's run never sees the others' data,
so a deletion touches one. A plain model is an ensemble of one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import select

from lineage.data.dataset import head
from lineage.data.fences import check_versions
from lineage.data.given import Members
from lineage.data.version import Version
from lineage.errors import RunError, ScheduleError
from lineage.schedule import NoStepsSpec, RecordedSpec, ScheduleSpec
from lineage.store import Store
from lineage.training.aggregation import Aggregation
from lineage.training.checkpoint import load
from lineage.training.entries import add_run, named_model, record_program
from lineage.training.execute import execute
from lineage.training.extension import Extension, extension
from lineage.training.given import members_of
from lineage.training.model import find_version
from lineage.training.nominal import Frozen, Wanted, frozen_cells
from lineage.training.placements import newest_generation
from lineage.training.program import Program
from lineage.training.specification import RunSpec
from lineage.training.versions import publish_training
from lineage.training.vocabulary import first_of, handle_spec
from storage.catalogue import tables
from storage.catalogue.tables import new_id
from storage.errors import NotFoundError


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train a model: the topology, the schedule's sizes, and the program's settings.

    ``schedule`` is ``stable``, or ``recorded`` where the program draws an order of its own: then
    it has no shards and no slices, and ``batch_size`` is its sampler's to say. Shards are of equal
    size, or have shares like ``shard_sizes``; ``epochs`` are spread over the slices, or given for
    each. By ``risk``, a column of probabilities, likely-deleted records go to the last shards and
    slices; ``risk_bands`` are thresholds, in place of quantiles. ``start`` is a
    checkpoint whose ``restore`` objects every shard begins with (a fine-tune). ``given`` are other
    models that the program reads, by alias: versions by id, or names, which mean the newest; with
    no ``epochs`` it takes no step, and makes what it tracks of them alone. ``refreeze`` takes
    the present sizes for nominal, instead of those of the first train. ``world_size`` processes
    train together; a step is passed over where one would have fewer than ``min_batch`` records.
    The version puts the answers of its shards together by ``aggregation``. With ``extend``, rows
    that came since the newest version was trained become new shards beside its own. Records are
    placed as the dataset's last trainings placed them; ``redraw`` draws a new placement.
    """

    shards: int = 1
    slices: int = 1
    shard_sizes: tuple[int, ...] | None = None
    risk: str | None = None
    risk_bands: tuple[float, ...] | None = None
    epochs: int | tuple[int, ...] = 10
    batch_size: int = 64
    seed: int = 0
    min_batch: int = 2
    checkpoint_every: int | None = None
    threads: int = 1
    config: Mapping[str, Any] | None = None
    start: str | None = None
    restore: tuple[str, ...] = ("model",)
    given: Mapping[str, str] | None = None
    refreeze: bool = False
    schedule: Literal["stable", "recorded"] = "stable"
    world_size: int = 1
    aggregation: Aggregation = Aggregation.MEAN
    extend: bool = False
    redraw: bool = False


def train(
    store: Store,
    program: Program,
    datasets: Mapping[str, str],
    model: str,
    recipe: Recipe = Recipe(),
) -> tables.ModelVersion:
    """Train a version of ``model``, a shard after the other, and publish it.

    ``datasets`` maps the aliases the program uses to names; the first is the one trained on. With
    none, the program makes its version of the models it is given: a soup, a merge, an export.

    Raises:
        PlacementError: the records spread too unevenly over the shards and slices.
        ScheduleError: shards or slices were asked for of a recorded order.
        FencedError: a dataset descends from rows that are being forgotten.
    """
    return resume(store, prepare(store, program, datasets, model, recipe))


def prepare(
    store: Store, program: Program, datasets: Mapping[str, str], model: str, recipe: Recipe
) -> str:
    """Write down a training and its runs, without executing anything; returns its id.

    Raises:
        NotFoundError: there is no such dataset, or no such checkpoint or model to begin with.
        CheckpointError: the checkpoint to start from, or that of a model it is given, was purged.
        RunError: the checkpoint to start from does not hold what is to be restored.
        PlacementError, ScheduleError, FencedError: as `train`.
    """
    _check_start(store, recipe)
    given = {alias: _members(store, name) for alias, name in (recipe.given or {}).items()}
    inputs = {alias: head(store, name) for alias, name in datasets.items()}
    alias = next(iter(inputs), None) if recipe.epochs else None
    grown = None
    if recipe.extend:
        if alias is None:
            raise RunError(
                "a run that takes no step learns from no rows, and extends no model",
                hint="train it for an epoch or more: --dataset NAME --epochs N",
            )
        grown = extension(store, model, inputs[alias])
        inputs[alias] = grown.rows
    check_versions(store, inputs.values())
    how = _aggregation(recipe, grown)
    schedules = _schedules(store, recipe, None if alias is None else inputs[alias], grown)
    others = {
        other: _frozen(store, recipe, version, Wanted()).nominal[0][0]
        for other, version in inputs.items()
        if other != alias
    }
    specs = [_specification(recipe, each, alias, inputs, others) for each in schedules]
    with store.catalogue.write() as session:
        training = tables.Training(
            id=new_id("train"),
            model_id=named_model(session, store, model).id,
            aggregation=how,
            extends_id=None if grown is None else grown.version.id,
            state="running",
            created_at=store.clock(),
        )
        session.add(training)
        session.flush()
        program_id = record_program(session, store, program.source)
        versions = {name: version.id for name, version in inputs.items()}
        for spec in specs:
            add_run(
                session,
                store,
                spec,
                program_id,
                versions,
                training_id=training.id,
                start_id=recipe.start,
                given=given,
            )
        return training.id


def resume(store: Store, training_id: str) -> tables.ModelVersion:
    """Execute what is left of a training, and publish its version.

    Raises:
        NotFoundError: there is no such training.
    """
    with store.catalogue.read() as session:
        if session.get(tables.Training, training_id) is None:
            raise NotFoundError(
                f"there is no training {training_id}", hint="see `expunge run list`"
            )
        left = session.scalars(
            select(tables.Run.id)
            .where(tables.Run.training_id == training_id, tables.Run.state != "complete")
            .order_by(tables.Run.created_at)
        ).all()
    for run_id in left:
        execute(store, run_id)
    return publish_training(store, training_id)


def _check_start(store: Store, recipe: Recipe) -> None:
    """Make sure that a fine-tune begins with what it is said to begin with."""
    if recipe.start is None:
        if recipe.restore not in ((), Recipe().restore):
            raise RunError(
                f"there is no checkpoint to restore {recipe.restore[0]!r} from",
                hint="name one with --from CHECKPOINT, or leave --restore out",
            )
        return
    held = load(store, recipe.start)
    if missing := [name for name in recipe.restore if name not in held]:
        raise RunError(
            f"checkpoint {recipe.start} holds no {missing[0]!r}",
            hint=f"it holds {', '.join(sorted(held))}: name what to begin with by --restore",
        )


def _members(store: Store, name: str) -> Members:
    """The checkpoints of a model that a run is given; each can be opened."""
    version = find_version(store, name)
    with store.catalogue.read() as session:
        members = members_of(session, version.id)
    for checkpoint in members.values():
        load(store, checkpoint)
    return members


def _aggregation(recipe: Recipe, grown: Extension | None) -> Aggregation:
    """How a version answers: as it is asked for, or as the one that it extends."""
    how = Aggregation(recipe.aggregation)
    if grown is None:
        return how
    before = Aggregation(grown.version.aggregation)
    if how not in (Aggregation.MEAN, before):
        raise RunError(
            f"{grown.version.id} answers by {before}, and what extends it does too",
            hint="leave --aggregation and --weighted out, or train without --extend",
        )
    return before


def _schedules(
    store: Store, recipe: Recipe, version: Version | None, grown: Extension | None
) -> Sequence[ScheduleSpec | RecordedSpec | NoStepsSpec]:
    """The schedule of each shard; without a version to train on, no step is taken."""
    wanted = _wanted(recipe)
    if version is None:
        if wanted != Wanted():
            raise ScheduleError(
                "a run that takes no step has no records to spread over shards and slices",
                hint="leave out what divides records, or train on a dataset",
            )
        return [NoStepsSpec(seed=recipe.seed)]
    if recipe.schedule == "recorded":
        if wanted != Wanted() or not isinstance(recipe.epochs, int):
            raise ScheduleError(
                "an order that is drawn over all records isolates no shards and no slices",
                hint="leave --schedule recorded out, or what divides the records",
            )
        present = len(version.present.records)
        return [RecordedSpec(epochs=recipe.epochs, seed=recipe.seed, nominal=(present,))]
    wanted = replace(
        wanted,
        generation=_generation(store, recipe, version, wanted),
        since=0 if grown is None else grown.since,
    )
    frozen = _frozen(store, recipe, version, wanted)
    return [
        ScheduleSpec(
            epochs=recipe.epochs,
            batch_size=recipe.batch_size,
            seed=recipe.seed,
            shards=frozen.division.shards,
            shard=shard,
            nominal=nominal,
            shares=frozen.division.shares,
            risk=frozen.division.risk,
            generation=frozen.division.generation,
        )
        for shard, nominal in enumerate(frozen.nominal)
    ]


def _wanted(recipe: Recipe) -> Wanted:
    """The division that a recipe asks for.

    Raises:
        ScheduleError: its parts contradict each other.
    """
    shards = recipe.shards
    if recipe.shard_sizes is not None:
        if shards not in (1, len(recipe.shard_sizes)):
            raise ScheduleError(
                f"{len(recipe.shard_sizes)} sizes were given for {shards} shards",
                hint="leave --shards out, or give one size for each",
            )
        shards = len(recipe.shard_sizes)
    if recipe.risk_bands is not None and recipe.risk is None:
        raise ScheduleError(
            "bands of risk were given, and no risk", hint="name its column with --risk"
        )
    return Wanted(
        shards,
        recipe.slices,
        recipe.shard_sizes,
        recipe.risk,
        recipe.risk_bands,
    )


def _generation(store: Store, recipe: Recipe, version: Version, wanted: Wanted) -> int:
    """The placement to train by: the last that was drawn for the dataset, or a new one."""
    if (wanted.shards, wanted.slices) == (1, 1):
        return 0
    with store.catalogue.read() as session:
        newest = newest_generation(session, version.dataset.id)
    return newest + 1 if recipe.redraw else newest


def _frozen(store: Store, recipe: Recipe, version: Version, wanted: Wanted) -> Frozen:
    return frozen_cells(store, version, wanted, recipe.batch_size, refreeze=recipe.refreeze)


def _specification(
    recipe: Recipe,
    schedule: ScheduleSpec | RecordedSpec | NoStepsSpec,
    alias: str | None,
    inputs: Mapping[str, Version],
    others: Mapping[str, int],
) -> RunSpec:
    lengths = {**others} if alias is None else {alias: sum(schedule.nominal), **others}
    vocabulary = first_of(inputs.values())
    return RunSpec(
        schedule=schedule,
        train=alias,
        handles={
            name: handle_spec(version, lengths[name], vocabulary)
            for name, version in inputs.items()
        },
        config=dict(recipe.config or {}),
        restore=recipe.restore if recipe.start else (),
        min_batch=recipe.min_batch * recipe.world_size,
        checkpoint_every=recipe.checkpoint_every,
        threads=recipe.threads,
        world_size=recipe.world_size,
    )

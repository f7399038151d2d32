"""A trained version of a model, opened to predict.

The program itself rebuilds each member: it runs up to its first batch, with every tracked object
restored, and stops there. No second description of the architecture can disagree with the first.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from numpy.typing import ArrayLike
from sqlalchemy import select

from lineage.data.version import Version
from lineage.errors import CheckpointError, ProgramError
from lineage.names import near
from lineage.store import Store
from lineage.training import checkpoint as checkpoints
from lineage.training.aggregation import Aggregation, Answers, aggregated, weights_of
from lineage.training.batch import Batch, Handle, Measure
from lineage.training.contract import Stateful
from lineage.training.environment import deterministic
from lineage.training.execute import Start, open_inputs, pinned_program, prepared
from lineage.training.fits import fit_of, value_of
from lineage.training.given import members_of
from lineage.training.learned import learned_columns, rows_as_learned
from lineage.training.models_read import note_read
from lineage.training.program import Program
from lineage.training.recorder import StoreRecorder
from lineage.training.run import Predictor, Run
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.errors import NotFoundError
from storage.intake import Column


@dataclass(frozen=True)
class Member:
    """One shard's model: what its program tracked, restored, and how it predicts.

    ``weight`` counts where its ensemble weighs members: the nominal records of the shard.
    """

    shard: int
    weight: int
    tracked: Mapping[str, Stateful]
    predict: Predictor
    threads: int
    uses_torch: bool


@dataclass(frozen=True)
class Ensemble:
    """A model version: members that each learned from their own shard.

    ``columns`` are those that they learned from, with the labels that they know.
    """

    version_id: str
    aggregation: Aggregation
    members: tuple[Member, ...]
    columns: tuple[Column, ...] = ()

    def batch(self, version: Version) -> Batch:
        """The present rows of a dataset version, with category codes as the model learned them.

        Reading a column raises `VocabularyError` where a row has a label that the model does not
        know, or the column is a category for one of them only.
        """
        return rows_as_learned(version, self.columns)

    def predict(self, batch: Batch) -> Answers:
        """What the members say together: (n, classes), or (n,) for one value a record.

        The mean of their probabilities, or the shares of their votes: see `aggregated`.
        """
        answers = [member.predict(batch) for member in self.members]
        return aggregated(self.aggregation, answers, [member.weight for member in self.members])


def find_version(store: Store, name: str) -> tables.ModelVersion:
    """A model version by its id, or the newest version of a model by its name.

    Raises:
        NotFoundError: neither exists, and near names of models are offered; or the model was
            never trained to its end.
    """
    with store.catalogue.read() as session:
        version = session.get(tables.ModelVersion, name)
        if version is None:
            version = session.scalar(
                select(tables.ModelVersion)
                .join(tables.Model, tables.Model.id == tables.ModelVersion.model_id)
                .where(tables.Model.name == name)
                .order_by(tables.ModelVersion.place.desc(), tables.ModelVersion.sequence.desc())
                .limit(1)
            )
        if version is None:
            names = session.scalars(select(tables.Model.name)).all()
            if name in names:
                raise NotFoundError(
                    f"model {name!r} has no version: no training of it has ended",
                    hint="see how far it came: expunge run list",
                )
            raise NotFoundError(f"there is no model {name!r}", hint=near(name, names, "model list"))
        return version


def load_model(store: Store, name: str) -> Ensemble:
    """Open a model version, by id or by model name, to predict with.

    What this process watches, and has not ended by then, descends from it, as after `restore`.

    Raises:
        NotFoundError: there is none.
        CheckpointError: it or a member was purged.
        ProgramError: the program changed, or declares no ``run.predictor``; or a program calls this
            while it is executed: its models are given to it.
    """
    version = find_version(store, name)
    _require_kept(store, version)
    with store.catalogue.read() as session:
        members = members_of(session, version.id)
    note_read(store, version.id, members)
    return open_ensemble(store, version.id, members, Aggregation(version.aggregation))


def open_ensemble(
    store: Store, version_id: str, members: Mapping[int, str], aggregation: Aggregation
) -> Ensemble:
    """Open checkpoints, one a shard, to predict with together as a version of a model.

    Raises:
        CheckpointError, ProgramError: as `open_member`.
    """
    with store.catalogue.read() as session:
        rows = [session.get_one(tables.Checkpoint, each) for each in members.values()]
        weights = weights_of(session, rows)
    opened = (
        open_member(store, shard, checkpoint, weight)
        for (shard, checkpoint), weight in zip(members.items(), weights, strict=True)
    )
    columns = learned_columns(store, next(iter(members.values())))
    return Ensemble(version_id, aggregation, tuple(opened), columns)


def _require_kept(store: Store, version: tables.ModelVersion) -> None:
    with store.catalogue.read() as session:
        model = session.get_one(tables.Model, version.model_id)
    if version.purged_at is not None:
        hint = f"see what replaced it: expunge model show {model.name}"
        if model.retired_at is not None:
            hint = "its model is retired: train it again on the records that are left"
        raise CheckpointError(
            f"model version {version.id} was purged on {version.purged_at:%Y-%m-%d}: it learned "
            "from forgotten records",
            hint=hint,
        )


class _ReadyError(Exception):
    """The program reached its first batch: it is built and restored."""


class _Opened(Run):
    """A run that stops before training; what was fitted comes back from the store."""

    fits: Iterator[Any]

    def fit(self, function: Callable[[Batch], Any], handle: Handle) -> Any:
        return next(self.fits)

    def evaluate(self, function: Measure, handle: Handle, *, steers: bool = True) -> Any:
        raise ProgramError(
            "the program evaluates before its first batch", hint="evaluate inside or after the loop"
        )

    def batches(self, handle: Handle) -> Iterator[Batch]:
        raise _ReadyError


def open_member(store: Store, shard: int, checkpoint_id: str, weight: int = 1) -> Member:
    """Open a checkpoint to predict with.

    Raises:
        CheckpointError: it was purged.
        ProgramError: the program changed, or declares no ``run.predictor``; or it was observed.
    """
    with store.catalogue.read() as session:
        row = session.get_one(tables.Checkpoint, checkpoint_id)
        run_row = session.get_one(tables.Run, row.run_id)
        observed = session.get(tables.ObservedRun, row.run_id) is not None
    if observed:
        raise ProgramError(
            f"run {row.run_id} was observed, so nothing here can build its model",
            hint="build it yourself, and fill it: lineage.integrations.torch.restore",
        )
    program = pinned_program(store, run_row.program_id)
    spec = RunSpec.model_validate(run_row.specification)
    inputs = open_inputs(store, row.run_id)
    start = Start(checkpoints.load(store, row.id), row.step, row.consumed)
    recorder = StoreRecorder(store, row.run_id, "", inputs)
    run = prepared(spec, inputs, recorder, start, _Opened, program)
    run.fits = _fits(store, row.run_id)
    uses_torch = program.uses_torch
    settings = deterministic(threads=spec.threads, uses_torch=uses_torch)
    with settings, suppress(_ReadyError), program.calling():
        program(run)
    if run.predict is None:
        raise ProgramError(
            f"program {program.source.ref} does not say how it predicts",
            hint="call run.predictor(function) before run.batches",
        )
    predict = partial(_predicted, program, run.predict)
    return Member(shard, weight, run.tracked, predict, spec.threads, uses_torch)


def _predicted(program: Program, predict: Predictor, batch: Batch) -> ArrayLike:
    with program.calling():
        return predict(batch)


def _fits(store: Store, run_id: str) -> Iterator[Any]:
    ordinal = 0
    while True:
        with store.catalogue.read() as session:
            row = session.scalar(fit_of(run_id, ordinal))
        if row is None:
            raise ProgramError(f"run {run_id} fitted only {ordinal} artefacts")
        yield value_of(store, row)
        ordinal += 1

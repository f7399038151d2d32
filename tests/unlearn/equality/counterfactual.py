"""The model that would exist if some records had never been: trained anew, beside the library's own
twin, in a fresh store from a fresh file; and models as plain bytes, to compare."""

import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from sqlalchemy import select

from lineage.data.dataset import add
from lineage.data.transform import derive
from lineage.data.version import Version, open_version
from lineage.source import load
from lineage.store import Store
from lineage.training import checkpoint as checkpoints
from lineage.training.entries import add_run, record_program
from lineage.training.execute import execute
from lineage.training.lesson import Teacher
from lineage.training.program import load_program
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from tests.unlearn.equality.material import SALT, Material


@dataclass(frozen=True)
class Bits:
    """A model version to the bit: per shard, each value of weights and optimizer by its path.

    Tensors are there by type, shape and SHA-256, so that what differs can be shown.
    """

    shards: tuple[dict[str, object], ...]
    digests: tuple[str, ...]


def register(store: Store, material: Material, file: Path | None = None) -> Version:
    """Add a material to a store, or the part of it that is in another file."""
    return add(
        store,
        material.name,
        file or material.file,
        id_columns=(material.record,),
        subject_columns=(material.subject,),
        namespace="people",
        salt=SALT,
    )


def bits(store: Store, version_id: str) -> Bits:
    """Everything a model version consists of, read from its checkpoints."""
    with store.catalogue.read() as session:
        rows = session.scalars(
            select(tables.Checkpoint)
            .join(tables.ModelMember, tables.ModelMember.checkpoint_id == tables.Checkpoint.id)
            .where(tables.ModelMember.version_id == version_id)
            .order_by(tables.ModelMember.shard)
        ).all()
    return _bits(store, rows)


def from_scratch(
    original: Store,
    version_id: str,
    materials: Iterable[Material],
    forgotten: set[str],
    folder: Path,
    seed: int = 0,
) -> Bits:
    """Train a version's runs in a new store that is given the retained rows and nothing else."""
    folder.mkdir()
    with Store.create(folder / "store") as store:
        versions = {}
        for material in materials:
            file = material.without(forgotten, folder / f"{material.name}.parquet", seed)
            versions[material.name] = register(store, material, file).id
        again = _Again(original, store, versions, {}, {})
        with original.catalogue.read() as session:
            members = session.scalars(
                select(tables.ModelMember.checkpoint_id)
                .where(tables.ModelMember.version_id == version_id)
                .order_by(tables.ModelMember.shard)
            ).all()
        made = _bits(store, [again.made(member) for member in members])
    shutil.rmtree(folder)
    return made


@dataclass(frozen=True)
class _Again:
    """Runs of one store executed in another, and transforms: original → what came of it."""

    original: Store
    store: Store
    versions: Mapping[str, str]
    runs: dict[str, str]
    derived: dict[str, str]

    def made(self, checkpoint_id: str) -> tables.Checkpoint:
        """The counterfactual of a checkpoint of the original store."""
        with self.original.catalogue.read() as session:
            checkpoint = session.get_one(tables.Checkpoint, checkpoint_id)
            run = session.get_one(tables.Run, checkpoint.run_id)
            while run.replay_of is not None:
                run = session.get_one(tables.Run, run.replay_of)
            program = session.get_one(tables.Program, run.program_id)
            models = select(tables.RunModel).where(tables.RunModel.run_id == run.id)
            given = list(session.scalars(models))
            inputs = select(tables.RunInput).where(tables.RunInput.run_id == run.id)
            versions = {each.alias: each.version_id for each in session.scalars(inputs)}
        if run.id not in self.runs:
            self.runs[run.id] = self._execute(run, program, given, versions)
        made = select(tables.Checkpoint).where(
            tables.Checkpoint.run_id == self.runs[run.id], tables.Checkpoint.step == checkpoint.step
        )
        with self.store.catalogue.read() as session:
            return session.scalars(made).one()

    def _execute(
        self,
        run: tables.Run,
        program: tables.Program,
        models: Iterable[tables.RunModel],
        inputs: Mapping[str, str],
    ) -> str:
        given = self._models(models)
        versions = {alias: self.version(version) for alias, version in inputs.items()}
        start = None if run.start_id is None else self.made(run.start_id).id
        spec = RunSpec.model_validate(run.specification)
        loaded = load_program(program.ref, Path(program.root))
        with self.store.catalogue.write() as session:
            again = add_run(
                session,
                self.store,
                spec,
                record_program(session, self.store, loaded.source),
                versions,
                start_id=start,
                given=given,
            )
        execute(self.store, again.id)
        return again.id

    def version(self, version_id: str) -> str:
        """The counterfactual of a dataset version, which a transform made or a file."""
        with self.original.catalogue.read() as session:
            version = session.get_one(tables.DatasetVersion, version_id)
            name = session.get_one(tables.Dataset, version.dataset_id).name
            made = select(tables.Transform).where(tables.Transform.output_id == version_id)
            transform = session.scalar(made)
        if transform is None:
            return self.versions[name]
        if version_id not in self.derived:
            inputs = [open_version(self.store, self.version(v)) for v in transform.input_ids]
            models = self._models(transform.models)
            self.derived[version_id] = derive(
                self.store,
                load(transform.ref, Path(transform.root)),
                [each.dataset.name for each in inputs],
                version_id,
                {alias: Teacher(self.store, members) for alias, members in models.items()},
            ).id
        return self.derived[version_id]

    def _models(
        self, models: Iterable[tables.RunModel | tables.TransformModel]
    ) -> dict[str, dict[int, str]]:
        given: dict[str, dict[int, str]] = {}
        for model in models:
            made = self.made(model.checkpoint_id).id
            given.setdefault(model.alias, {})[model.shard] = made
        return given


def state_bits(store: Store, checkpoint_id: str) -> dict[str, object]:
    """Each value that a checkpoint holds, by its path."""
    return values_in(checkpoints.load(store, checkpoint_id))


def values_in(state: Mapping[str, Any]) -> dict[str, object]:
    """Each value of a state, by its path."""
    return dict(_flat("", state))


def _bits(store: Store, rows: Iterable[tables.Checkpoint]) -> Bits:
    rows = list(rows)
    shards = (state_bits(store, row.id) for row in rows)
    return Bits(tuple(shards), tuple(row.digest for row in rows))


def _flat(path: str, value: Any) -> Iterator[tuple[str, object]]:
    if isinstance(value, torch.Tensor):
        content = sha256(value.numpy().tobytes()).hexdigest()
        yield path, (str(value.dtype), tuple(value.shape), content)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _flat(f"{path}.{name}", inner)
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from _flat(f"{path}[{index}]", inner)
    else:
        yield path, repr(value)

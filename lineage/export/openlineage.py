"""OpenLineage 2-0-2 run events: a training is the parent of its runs, a shard each.

Events are plain dictionaries, made one at a time. Every time in them is one of the catalogue: a
step has none of its own, and is told at the time of the checkpoint that its segment ends in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from uuid import NAMESPACE_URL, uuid5

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.export.facets import SPEC, Facets, Json
from lineage.export.runs import (
    Exported,
    ExportedRun,
    Family,
    Given,
    Step,
    described,
    exported,
    steps,
)
from lineage.store import Store
from storage.catalogue import tables

ENDS = {"complete": "COMPLETE", "failed": "FAIL", "stopped": "ABORT"}
"""The event that ends a run of each state; one that has not ended has none."""


def run_uuid(identifier: str) -> str:
    """The UUID of a run or training, always the same.

    >>> run_uuid("run-0123456789")
    'b1cc70a2-790b-5d02-b594-953015094517'
    """
    return str(uuid5(NAMESPACE_URL, f"urn:expunge:{identifier}"))


def events(
    store: Store, identifier: str, *, namespace: str = "expunge", with_steps: bool = False
) -> Iterator[Json]:
    """The events of a run, or of all runs of a training, between those of the training.

    A run that has not begun or not ended lacks that event. ``with_steps`` adds a RUNNING event for
    each executed optimizer step.

    Raises:
        NotFoundError: there is no such run or training.
    """
    with store.catalogue.read() as session:
        found = exported(session, identifier)
        starts = {run.id: tuple(_starts(session, run)) for run in found.runs}
    facets = Facets(f"pkg:pypi/expunge@{version('expunge')}")
    return _Teller(store, namespace, facets, starts).told(found, with_steps=with_steps)


_Start = tuple[ExportedRun, tables.Checkpoint]
"""A checkpoint that a run begins with or reads, and the run that left it."""


def _starts(session: Session, run: ExportedRun) -> Iterator[_Start]:
    given = select(tables.RunModel.checkpoint_id).where(tables.RunModel.run_id == run.id)
    read = session.scalars(given.order_by(tables.RunModel.alias, tables.RunModel.shard))
    for each in dict.fromkeys((run.row.start_id, *read)):
        if each is not None:
            begun = session.get_one(tables.Checkpoint, each)
            yield described(session, session.get_one(tables.Run, begun.run_id)), begun


@dataclass(frozen=True, slots=True)
class _Teller:
    """Tells events in one namespace; ``starts`` has the checkpoints each run begins with."""

    store: Store
    namespace: str
    facets: Facets
    starts: Mapping[str, tuple[_Start, ...]]

    def told(self, found: Exported, *, with_steps: bool) -> Iterator[Json]:
        training, model = found.training, found.runs[0].model
        if training is not None:
            yield self.training("START", training.row.created_at, training, model)
        for run in found.runs:
            if run.row.state != "pending":
                yield from self.run(run, training, with_steps=with_steps)
        if training is not None and training.ended is not None:
            state, when = training.ended
            yield self.training(ENDS[state], when, training, model)

    def training(self, kind: str, when: datetime, training: Family, model: str) -> Json:
        made = None if kind == "START" else training.made
        inputs = [self.input(given) for given in training.inputs]
        outputs = [] if made is None else [self.artefact(model, made)]
        return self.event(kind, when, training.row.id, model, {}, inputs, outputs)

    def run(self, run: ExportedRun, training: Family | None, *, with_steps: bool) -> Iterator[Json]:
        row, job = run.row, _job(run)
        parent: Json = {}
        if training is not None:
            of = {"runId": run_uuid(training.row.id)}
            parent = {"parent": self.facets.parent(of, self.named(run.model))}
        begun = [self.artefact(_job(by), left) for by, left in self.starts[run.id]]
        facets = {**parent, "expunge_training": self.facets.identity(run)}
        inputs = [*map(self.input, run.inputs), *begun]
        yield self.event("START", row.created_at, row.id, job, facets, inputs)
        for step in steps(self.store, run) if with_steps else ():
            facets = {**parent, "expunge_training": self.facets.step(run, step)}
            when, read = step.lap.checkpoint.created_at, [self.batch(run.trained, step)]
            yield self.event("RUNNING", when, row.id, job, facets, read)
        if row.state in ENDS and row.ended_at is not None:
            facets = {**parent, "expunge_training": self.facets.outcome(run)}
            inputs = [*(self.input(each, run.visits) for each in run.inputs), *begun]
            left = [self.artefact(job, lap.checkpoint) for lap in run.laps[-1:]]
            yield self.event(ENDS[row.state], row.ended_at, row.id, job, facets, inputs, left)

    def event(
        self,
        kind: str,
        when: datetime,
        identifier: str,
        job: str,
        facets: Json,
        inputs: Sequence[Json],
        outputs: Sequence[Json] = (),
    ) -> Json:
        return {
            "eventType": kind,
            "eventTime": when.isoformat(),
            "run": {"runId": run_uuid(identifier), "facets": facets},
            "job": self.named(job),
            "inputs": list(inputs),
            "outputs": list(outputs),
            "producer": self.facets.producer,
            "schemaURL": f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent",
        }

    def input(self, given: Given, visits: int | None = None) -> Json:
        """A dataset version that a run was given, and how many rows it was handed to train on."""
        used = {"expunge_use": self.facets.use(given)}
        if given.trains and visits is not None:
            used["inputStatistics"] = self.facets.read(visits)
        about = {
            "version": self.facets.version(given.version.id),
            "expunge_rows": self.facets.rows(given.version),
        }
        return {**self.named(given.dataset), "facets": about, "inputFacets": used}

    def batch(self, given: Given, step: Step) -> Json:
        """What a step read; the version is described where its run starts."""
        about = {"version": self.facets.version(given.version.id)}
        used = {"inputStatistics": self.facets.read(step.records)}
        return {**self.named(given.dataset), "facets": about, "inputFacets": used}

    def artefact(self, name: str, row: tables.Checkpoint | tables.ModelVersion) -> Json:
        """A checkpoint or model version, as a version of the dataset that its job writes."""
        about = {
            "version": self.facets.version(row.id),
            "expunge_artefact": self.facets.artefact(row),
        }
        return {**self.named(name), "facets": about}

    def named(self, name: str) -> Json:
        """A job or a dataset, in this namespace."""
        return {"namespace": self.namespace, "name": name}


def _job(run: ExportedRun) -> str:
    return f"{run.model}.shard-{run.spec.schedule.shard}"

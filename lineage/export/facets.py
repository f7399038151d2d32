"""The facets of OpenLineage events: the official ones that fit, and our own for what none says."""

from dataclasses import dataclass
from typing import Any

from pydantic.alias_generators import to_camel

from lineage.export.runs import ExportedRun, Given, Step
from storage.catalogue import tables

SPEC = "https://openlineage.io/spec"
OURS = "urn:expunge:openlineage-facets:1-0-0"
"""The ``$id`` of the schema that is shipped as ``schemas/openlineage-facets-1-0-0.json``."""

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Facets:
    """Makes facets in the name of a producer."""

    producer: str

    def parent(self, run: Json, job: Json) -> Json:
        """The training that a run belongs to."""
        return self._official("1-2-0/ParentRunFacet", {"run": run, "job": job})

    def identity(self, run: ExportedRun) -> Json:
        """What is known of a run when it starts."""
        return self._ours("ExpungeTrainingRunFacet", _identity(run))

    def outcome(self, run: ExportedRun) -> Json:
        """What is known of a run when it ends."""
        return self._ours("ExpungeTrainingRunFacet", _identity(run) | _outcome(run))

    def step(self, run: ExportedRun, step: Step) -> Json:
        """An optimizer step of a run."""
        fact = {
            "run": run.id,
            "step": step.number,
            "segment": step.lap.segment.id,
            "records": step.records,
        }
        return self._ours("ExpungeTrainingRunFacet", fact)

    def version(self, identifier: str) -> Json:
        """The version of a dataset, by typed id."""
        fact = {"datasetVersion": identifier}
        return self._official("1-0-0/DatasetVersionDatasetFacet", fact)

    def rows(self, row: tables.DatasetVersion) -> Json:
        """The identity of a dataset version, down to its rows."""
        fact = {
            "sequence": row.sequence,
            "rows": row.rows,
            "live": row.live,
            "root": row.root,
            "digest": row.digest,
        }
        return self._ours("ExpungeRowsDatasetFacet", fact)

    def use(self, given: Given) -> Json:
        """How an input was used: only training and fitting are influence."""
        fact = {"trains": given.trains, "fits": given.fits, "evaluations": given.evaluations}
        return self._ours("ExpungeUseInputDatasetFacet", fact)

    def read(self, rows: int) -> Json:
        """How many rows were handed out of an input, each as often as it was."""
        return self._official("1-0-0/InputStatisticsInputDatasetFacet", {"rowCount": rows})

    def artefact(self, row: tables.Checkpoint | tables.ModelVersion) -> Json:
        """A checkpoint or a model version."""
        fact: Json = {"digest": row.digest}
        if isinstance(row, tables.Checkpoint):
            fact["size"] = row.size
        if row.purged_at is not None:
            fact["purgedAt"] = row.purged_at.isoformat()
        return self._ours("ExpungeArtefactDatasetFacet", fact)

    def _official(self, name: str, fields: Json) -> Json:
        kind = name.partition("/")[2]
        url = f"{SPEC}/facets/{name}.json#/$defs/{kind}"
        return {"_producer": self.producer, "_schemaURL": url, **fields}

    def _ours(self, kind: str, fields: Json) -> Json:
        return {"_producer": self.producer, "_schemaURL": f"{OURS}#/$defs/{kind}", **fields}


def _identity(run: ExportedRun) -> Json:
    fact = {
        "run": run.id,
        "program": run.program.ref,
        "source": run.program.source,
        "observed": run.observed,
        "schedule": {to_camel(name): value for name, value in run.schedule.items()},
    }
    return fact if run.row.replay_of is None else {**fact, "replayOf": run.row.replay_of}


def _outcome(run: ExportedRun) -> Json:
    return {
        "firstStep": run.row.first_step,
        "endStep": run.end,
        "visits": run.visits,
        "skippedSteps": sum(lap.segment.skipped for lap in run.laps),
        "consumed": run.laps[-1].checkpoint.consumed if run.laps else "",
        "complete": not run.unknown,
        "unknownVisits": run.unknown,
    }

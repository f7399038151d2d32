"""The shapes of answers about forgetting: impact, plans, what came of them, verifications."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from lineage.data.identity import Identified
from lineage.provenance.selection import Chosen, Measured, Selection
from storage.catalogue import tables
from unlearn.audit import Verified
from unlearn.claim import Claim, Verdict
from unlearn.impact import Impact
from unlearn.plan.model import Accuracy, Affected, Plan, Rejected, Task
from unlearn.plan.passes.timetable import timetable
from unlearn.request.listing import RequestSummary
from unlearn.withheld import WithheldAlias


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Entered(_Answer):
    """A run that some records entered, and how often."""

    run: str
    shard: int
    visits: int


class ImpactAnswer(_Answer):
    """Everything that descends from some records, whether it still exists or not.

    ``asked``, ``erased``, ``measured``, ``chosen``, ``incomplete``, ``gone`` and ``complete`` are
    those of ``WhoSaw``.
    """

    state: Literal["trained", "not-trained"]
    kind: str
    asked: int
    erased: Mapping[str, int]
    records: int
    runs: tuple[Entered, ...]
    segments: tuple[str, ...]
    fits: tuple[str, ...]
    checkpoints: tuple[str, ...]
    versions: tuple[str, ...]
    publications: tuple[str, ...]
    measured: tuple[Measured, ...]
    chosen: tuple[Chosen, ...]
    incomplete: tuple[str, ...]
    gone: tuple[str, ...]
    complete: bool

    @property
    def nodes(self) -> tuple[str, ...]:
        """The ids of the affected nodes of the graph."""
        return (
            *self.segments,
            *self.fits,
            *self.checkpoints,
            *self.versions,
            *self.publications,
        )

    @classmethod
    def of(
        cls,
        kind: str,
        asked: int,
        whose: Identified,
        found: Impact,
        selection: Selection,
        incomplete: tuple[str, ...],
        gone: tuple[str, ...],
    ) -> Self:
        """An impact, in the order of ids."""
        return cls(
            state="trained" if found.exposures or found.segments or gone else "not-trained",
            kind=kind,
            asked=asked,
            erased=Counter(each.request_id for each in whose.erasures),
            records=sum(map(len, whose.positions.values())),
            runs=tuple(
                Entered(run=each.run_id, shard=each.shard, visits=each.visits)
                for each in found.exposures
            ),
            segments=tuple(sorted(found.segments)),
            fits=tuple(sorted(found.fits)),
            checkpoints=tuple(sorted(found.checkpoints)),
            versions=tuple(sorted(found.versions)),
            publications=tuple(sorted(found.publications)),
            measured=selection.measured,
            chosen=selection.chosen,
            incomplete=incomplete,
            gone=gone,
            complete=not incomplete and not gone,
        )


class ReceiptAnswer(_Answer):
    """The requests that cover the ``asked`` ids: one for each person, new or from before."""

    asked: int
    requests: tuple[RequestSummary, ...]


class PlannedTask(_Answer):
    """A task of a plan, which ``begins`` so many seconds after it.

    ``fallback_from`` is the damaged checkpoint that would have served.
    """

    id: str
    kind: str
    depends_on: tuple[str, ...]
    visits: int
    seconds: float
    begins: float
    reason: str
    fallback_from: str | None

    @classmethod
    def of(cls, task: Task, begins: float) -> Self:
        """A task as it is reviewed."""
        return cls(
            id=task.id,
            kind=task.work.kind,
            depends_on=task.depends_on,
            visits=task.visits,
            seconds=task.seconds,
            begins=round(begins, 3),
            reason=task.reason,
            fallback_from=task.work.fallback_from if task.work.kind == "replay" else None,
        )


class PlanAnswer(_Answer):
    """A plan as it is reviewed: what will be done, its cost beside a full retrain, what lost.

    ``state`` and ``applied_at`` are those of now; everything else is as it was planned.
    """

    id: str
    state: str
    applied_at: datetime | None
    requests: tuple[str, ...]
    records: int
    visits: int
    full_retrain_visits: int
    seconds: float
    full_retrain_seconds: float
    workers: int
    duration: float
    deadline: datetime | None
    latest_start: datetime | None
    claim_possible: Claim
    graph_revision: int
    total_checkpoints: int
    notes: tuple[str, ...]
    adaptive: tuple[str, ...]
    critical: tuple[str, ...]
    accuracy: Mapping[str, Accuracy]
    affected: Affected
    tasks: tuple[PlannedTask, ...]
    rejected: tuple[Rejected, ...]

    @classmethod
    def of(cls, row: tables.Plan, plan: Plan) -> Self:
        """A recorded plan; the forgotten positions in it are left out."""
        shared = {
            name: getattr(plan, name) for name in cls.model_fields if name in Plan.model_fields
        }
        begins = timetable(plan.tasks, plan.workers).begins
        tasks = tuple(PlannedTask.of(task, begins[task.id]) for task in plan.tasks)
        now = {"id": row.id, "state": row.state, "applied_at": row.applied_at}
        return cls(**{**shared, **now, "tasks": tasks})


class Replaced(_Answer):
    """A model version and what replaced it."""

    replaces: str
    id: str | None
    digest: str
    twin_digest: str | None


class Applied(_Answer):
    """What came of a plan; digests are of the last replacement, None if nothing was replaced.

    ``retired`` are the models of which no member is left. ``held`` versions may take over no alias:
    what their gates found, by version. ``withheld`` are the aliases that name nothing therefore.
    """

    plan: str
    model_digest: str | None
    twin_digest: str | None
    claim: Claim
    verdict: Verdict
    reason: str
    caveats: tuple[str, ...]
    limit: str
    visits: int
    purged_checkpoints: int
    erased_records: int
    interim: tuple[str, ...]
    versions: tuple[Replaced, ...]
    retired: tuple[str, ...]
    held: Mapping[str, str]
    withheld: tuple[WithheldAlias, ...]
    residuals: tuple[Mapping[str, str], ...]

    @classmethod
    def of(cls, plan_id: str, results: Mapping[str, Mapping[str, Any]]) -> Self:
        """The results of a plan's tasks, put together."""
        check, publish, purge = results["check"], results["publish"], results["purge"]
        versions = _replaced(results)
        return cls(
            plan=plan_id,
            model_digest=versions[-1].digest if versions else None,
            twin_digest=versions[-1].twin_digest if versions else None,
            **check["claim"],
            verdict=check["verdict"],
            visits=sum(
                each["visits"]
                for kind in ("replay", "external")
                for each in _of_kind(results, kind)
            ),
            purged_checkpoints=purge["purged_checkpoints"],
            erased_records=purge["erased_records"],
            interim=tuple(each["version"] for each in _of_kind(results, "interim")),
            versions=versions,
            retired=tuple(publish.get("retired", ())),
            held=publish.get("held", {}),
            withheld=tuple(
                WithheldAlias.of(each, publish["versions"]) for each in publish.get("withheld", ())
            ),
            residuals=tuple(purge["residuals"]),
        )


class Ticked(_Answer):
    """What was pending, which of it was started and why, and what came of the ``plan`` for it.

    Where no request comes before ``again_at``, nothing will be due before it.
    """

    pending: int
    started: tuple[str, ...]
    plan: str | None
    again_at: datetime | None
    why: str
    applied: Applied | None


class Checked(_Answer):
    """What a verification found: a claim, and how its checks came out."""

    id: str
    plan: str
    claim: Claim
    verdict: Verdict
    reason: str
    caveats: tuple[str, ...]
    limit: str
    model_digest: str | None
    twin_digest: str | None

    @classmethod
    def of(cls, found: Verified) -> Self:
        """The claim and its verdict, without the evidence that ``show`` has."""
        return cls(
            id=found.id,
            plan=found.plan,
            verdict=found.verdict,
            model_digest=found.model_digest,
            twin_digest=found.twin_digest,
            **found.statement.model_dump(),
        )


class Cancelled(_Answer):
    """A request or plan that was cancelled.

    The rows of a withdrawn request come back by themselves, but for the datasets to ``derive``
    again, in this order. ``restored`` versions were published again in place of interim ones; the
    ``interim`` ones stay in use.
    """

    id: str
    state: Literal["cancelled"] = "cancelled"
    derive: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    interim: tuple[str, ...] = ()


def _replaced(results: Mapping[str, Mapping[str, Any]]) -> tuple[Replaced, ...]:
    published = results["publish"]["versions"]
    twins = {twin["version"]: twin["twin_digest"] for twin in results["check"]["twins"]}
    return tuple(
        Replaced(
            replaces=each["replaces"],
            id=published.get(each["replaces"]),
            digest=each["digest"],
            twin_digest=twins.get(each["replaces"]),
        )
        for each in _of_kind(results, "aggregate")
    )


def _of_kind(results: Mapping[str, Mapping[str, Any]], kind: str) -> Sequence[Mapping[str, Any]]:
    return [result for task, result in results.items() if task.startswith(f"{kind}-")]

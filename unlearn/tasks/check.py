"""Check: gather the evidence while what it needs still exists, and decide the claim."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.data.identity import union
from lineage.provenance.exposure import incomplete_runs
from lineage.provenance.query import live_versions
from lineage.provenance.selection import chosen, steered
from lineage.source import changed_files
from lineage.store import Store
from lineage.training.environment import Environment
from lineage.training.recording import recording_of
from lineage.training.registry import active_holds
from lineage.training.specification import RunSpec
from lineage.training.untracked import untracked_of
from storage.catalogue import tables
from unlearn.claim import Evidence, decide
from unlearn.dispatch.worker import Context
from unlearn.impact import Impact, impact
from unlearn.plan.model import Plan
from unlearn.plan.stored import decoded
from unlearn.request.reading import forget_sets
from unlearn.twin.compare import compare

Results = dict[str, dict[str, Any]]


def execute(context: Context) -> dict[str, Any]:
    """Evidence for the plan's outcome; with ``twin``, a from-scratch counterfactual beside it."""
    evidence = gather(context.store, context.plan, context.results)
    twins = None
    if context.options.twin:
        twins = compare(context.store, context.plan, made_versions(context.results))
    statement, verdict = decide(evidence, twins)
    return {
        "verdict": verdict.value,
        "claim": statement.model_dump(mode="json"),
        "evidence": evidence.model_dump(mode="json"),
        "twins": [twin.model_dump(mode="json") for twin in twins or ()],
    }


def made_versions(results: Results) -> list[dict[str, Any]]:
    """What the aggregate tasks put together: members, digests and what they replace."""
    return [result for task, result in results.items() if task.startswith("aggregate-")]


def gather(store: Store, plan: Plan, results: Results) -> Evidence:
    """What the store says about the outcome of a plan, seen afresh.

    Once rows are erased no schedule can be asked about them: then the plan's own impact stands.
    """
    with store.catalogue.read() as session:
        forget = forget_sets(session, plan.requests)
    found = impact(store, forget, also=plan.affected.segments)
    affected = found.checkpoints | set(plan.affected.checkpoints)
    versions = found.versions | set(plan.affected.versions)
    purge = plan.task("purge").work
    fits = found.fits | set(purge.fits if purge.kind == "purge" else ())
    members = [m for made in made_versions(results) for m in made["members"].values()]
    replays = [task.work for task in plan.tasks if task.work.kind == "replay"]
    done = {task: result for task, result in results.items() if task.startswith("replay-")}
    external = [result["run"] for task, result in results.items() if task.startswith("external-")]
    known = {
        run: results[task.id]["passed"]
        for task in plan.tasks
        if task.work.kind == "probe"
        for run in task.work.runs
    }
    with store.catalogue.read() as session:
        restarts = {
            result["run"]: session.get_one(tables.Run, result["run"]).start_id
            for result in done.values()
        }
        used = [*members, *(start for start in restarts.values() if start is not None)]
        return Evidence(
            tainted=tuple(sorted(set(used) & affected)),
            restarts=restarts,
            programs={run: session.get_one(tables.Run, run).program_id for run in restarts},
            probes={
                result["run"]: known[work.run_id]
                for work, result in zip(replays, done.values(), strict=True)
                if work.run_id in known
            },
            environments=tuple(
                difference
                for work, result in zip(replays, done.values(), strict=True)
                for difference in _differences(session, work.run_id, result["run"])
            ),
            changed=tuple(_changed(session, restarts)),
            held=tuple(sorted(active_holds(session) & {*affected, *versions, *fits})),
            nominal={run: _nominal(session, run) for run in restarts},
            adaptive=plan.adaptive,
            external=tuple(external),
            incomplete=incomplete_runs(session, decoded(plan.forget)),
            untracked=untracked_of(session, restarts),
            steered=_steered(store, session, plan, results, found),
            chosen=tuple(
                each.choice for each in chosen(session, found.closure.everything, versions)
            ),
            drawn=tuple(run for run in restarts if recording_of(session, run) is not None),
            idle=tuple(
                result["run"]
                for work, result in zip(replays, done.values(), strict=True)
                if work.first_step < work.until and not result["visits"]
            ),
        )


def _steered(
    store: Store, session: Session, plan: Plan, results: Results, found: Impact
) -> tuple[str, ...]:
    """The versions that measures on the forgotten may have steered, of those that stay in use.

    A replacement is named after what it replaces, as twins are.
    """
    done = session.scalars(select(tables.Request.id).where(tables.Request.state == "done"))
    rows = union(found.closure.everything, forget_sets(session, done.all()))
    segments = steered(session, rows)
    if not segments:
        return ()
    spread = impact(store, {}, also=segments)
    stay = (live_versions(session) & spread.versions) - found.versions - set(plan.affected.versions)
    made = {
        version["replaces"]
        for version in made_versions(results)
        if spread.checkpoints & {*version["members"].values()}
    }
    return tuple(sorted(stay | made))


def _differences(session: Session, original: str, replay: str) -> list[str]:
    """How the environment of a replay differs from that of what it replays."""
    before, after = _environments(session, original), _environments(session, replay)
    return [
        f"{field} was {theirs!r}, is {ours!r}"
        for old in before
        for new in after
        for field, ours, theirs in new.difference(old)
    ]


def _environments(session: Session, run_id: str) -> list[Environment]:
    digests = select(tables.Segment.environment).where(tables.Segment.run_id == run_id).distinct()
    return [
        Environment.model_validate(session.get_one(tables.Environment, digest).fingerprint)
        for digest in session.scalars(digests)
    ]


def _changed(session: Session, runs: dict[str, str | None]) -> Iterator[str]:
    programs = {session.get_one(tables.Run, run).program_id for run in runs}
    for program_id in sorted(programs):
        program = session.get_one(tables.Program, program_id)
        yield from changed_files(Path(program.root), program.files)


def _nominal(session: Session, run_id: str) -> tuple[int, ...]:
    spec = RunSpec.model_validate(session.get_one(tables.Run, run_id).specification)
    return spec.schedule.nominal

"""Thinning a run: evict the checkpoints that save the least, and keep what forgetting needs."""

from collections.abc import Collection
from itertools import pairwise

import numpy as np
from pydantic import BaseModel, ConfigDict
from sqlalchemy import select
from sqlalchemy.orm import Session

from lineage.counted import counted
from lineage.store import Store
from lineage.training.registry import kept_under_hold
from storage import ledger
from storage.catalogue import tables
from unlearn.erase import destroy
from unlearn.errors import PlanError
from unlearn.plan.forecast.exposed import Exposed, exposed
from unlearn.plan.forecast.placement import choose, choose_within, expected_visits
from unlearn.plan.model import Plan

RESTART = "where some records' forgetting would begin"


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True)


class Keeping(_Answer):
    """A checkpoint of a run and why it is kept; None where it is evicted."""

    id: str
    step: int
    size: int
    kept: str | None


class Thinned(_Answer):
    """What became of a run's checkpoints, or would with ``dry_run``.

    Visits are those of forgetting one record it trained on, on average, before and after.
    """

    id: str
    dry_run: bool
    evicted: int
    kept: int
    bytes_freed: int
    record_visits_before: float
    record_visits_after: float
    checkpoints: tuple[Keeping, ...]


def thin(
    store: Store,
    run_id: str,
    *,
    keep: int | None = None,
    budget: int | None = None,
    dry_run: bool = False,
) -> Thinned:
    """Keep at most ``keep`` checkpoints of a run, or as many as ``budget`` bytes hold.

    Evicted ones can be computed again, and plans do so where they need one. What is in use stays.

    Raises:
        NotFoundError: there is no such run.
        PlanError: more must stay than that; an unfinished plan is about the run; it takes no step.
    """
    run = exposed(store, run_id)
    with store.catalogue.write() as session:
        _require_no_plan(session, run_id)
        rows = _present(session, run_id)
        reasons = _reasons(session, run, rows)
        kept = _chosen(run, rows, reasons, keep, budget)
        gone = [row for row, stays in zip(rows, kept, strict=True) if not stays]
        if not dry_run:
            for row in gone:
                row.purged_at = store.clock()
                content = {"run": run_id, "step": row.step}
                ledger.commit(session, "eviction", row.id, content, store.clock())
    if not dry_run:
        destroy(store, {row.id for row in gone})
    evicted = {row.id for row in gone}
    after = [c.step for c in run.checkpoints if c.purged_at is None and c.id not in evicted]
    return Thinned(
        id=run_id,
        dry_run=dry_run,
        evicted=len(gone),
        kept=len(rows) - len(gone),
        bytes_freed=sum(row.size for row in gone),
        record_visits_before=expected_visits(run.records, run.kept),
        record_visits_after=expected_visits(run.records, np.array(after, np.int64)),
        checkpoints=tuple(
            Keeping(
                id=row.id,
                step=row.step,
                size=row.size,
                kept=reasons.get(row.id, RESTART) if stays else None,
            )
            for row, stays in zip(rows, kept, strict=True)
        ),
    )


def _present(session: Session, run_id: str) -> list[tables.Checkpoint]:
    rows = select(tables.Checkpoint).where(
        tables.Checkpoint.run_id == run_id, tables.Checkpoint.purged_at.is_(None)
    )
    return list(session.scalars(rows.order_by(tables.Checkpoint.step, tables.Checkpoint.edition)))


def _require_no_plan(session: Session, run_id: str) -> None:
    """Refuse to take from a run what an unfinished plan may have reckoned with."""
    unfinished = select(tables.Plan).where(tables.Plan.state.in_(["ready", "applying", "failed"]))
    for row in session.scalars(unfinished):
        if run_id in Plan.model_validate(row.body).affected.runs:
            raise PlanError(
                f"{row.id} is about run {run_id}, and may need any of its checkpoints",
                hint=f"expunge apply {row.id}, or expunge cancel {row.id}",
            )


def _reasons(session: Session, run: Exposed, rows: list[tables.Checkpoint]) -> dict[str, str]:
    """Why checkpoints must stay, whatever they save."""
    reasons = {rows[-1].id: "the newest"} if rows else {}
    own = {row.id for row in rows}
    member, version = tables.ModelMember, tables.ModelVersion
    uses = {
        "a member of": select(member.checkpoint_id, member.version_id)
        .join(version, version.id == member.version_id)
        .where(version.purged_at.is_(None)),
        "the start of": select(tables.Run.start_id, tables.Run.id),
        "given to": select(tables.RunModel.checkpoint_id, tables.RunModel.run_id),
        "leased by": select(tables.Lease.checkpoint_id, tables.Lease.plan_id),
    }
    for use, query in uses.items():
        for checkpoint, user in session.execute(query):
            if checkpoint in own:
                reasons.setdefault(checkpoint, f"{use} {user}")
    for checkpoint in kept_under_hold(session) & own:
        reasons.setdefault(checkpoint, "held")
    for checkpoint, reason in _of_probe(run, own).items():
        reasons.setdefault(checkpoint, reason)
    return reasons


def _of_probe(run: Exposed, present: Collection[str]) -> dict[str, str]:
    """The two ends of the earliest segment that a probe may execute again, if any is left.

    It goes on from a checkpoint of the run, has visits, and is clean of a record that comes later.
    """
    last, done = run.records.firsts.max(initial=0), run.records.done
    for begin, end in pairwise(run.checkpoints[run.own :]):
        there = begin.id in present and end.id in present
        if there and end.step <= last and done[begin.step] < done[end.step]:
            return {begin.id: "a probe may begin with it", end.id: "a probe may end with it"}
    return {}


def _chosen(
    run: Exposed,
    rows: list[tables.Checkpoint],
    reasons: dict[str, str],
    keep: int | None,
    budget: int | None,
) -> list[bool]:
    """Which of these to keep, beside those of the runs that this one goes on from."""
    before = [c.step for c in run.checkpoints[: run.own] if c.purged_at is None]
    steps = np.array([*before, *(row.step for row in rows)], np.int64)
    must = np.array([True] * len(before) + [row.id in reasons for row in rows], np.bool_)
    sizes = np.array([0] * len(before) + [row.size for row in rows], np.int64)
    _require_room(run, rows, reasons, keep, budget)
    if keep is not None:
        kept = choose(run.records, steps, must, len(before) + keep)
    else:
        assert budget is not None
        kept = choose_within(run.records, steps, must, sizes, budget)
    return [bool(stays) for stays in kept[len(before) :]]


def _require_room(
    run: Exposed,
    rows: list[tables.Checkpoint],
    reasons: dict[str, str],
    keep: int | None,
    budget: int | None,
) -> None:
    needed = [row for row in rows if row.id in reasons]
    size = sum(row.size for row in needed)
    too_many = keep is not None and len(needed) > keep
    too_large = budget is not None and size > budget
    if too_many or too_large:
        raise PlanError(
            f"{counted(len(needed), 'checkpoint')} of run {run.run.id}, {size:,} bytes, must stay: "
            + ", ".join(f"{row.id} is {reasons[row.id]}" for row in needed),
            hint=f"--keep {len(needed)}" if too_many else f"--budget {size}",
        )

"""Runs as chains: segment, checkpoint, segment, … each of which influences all that follow.

A hundred thousand edges say the same, and take several times as long to read and to walk.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter

from sqlalchemy import Select, select, true
from sqlalchemy.orm import Session

from storage.catalogue import tables


@dataclass(frozen=True, slots=True)
class Chain:
    """What a run left, in order: lap ``i`` is segment ``i``, which made checkpoint ``i``.

    The lap has the steps from ``first_steps[i]`` to ``ends[i]``, of which ``skipped[i]`` had too
    few records, and ``visits[i]`` in all; it has none where the state changed without a step.
    ``start`` is the checkpoint that the run went on from; ``given`` are those of models that it
    read, and ``fits`` the artefacts that were fitted for it: all of it has them.
    """

    run_id: str
    start: str | None
    given: tuple[str, ...]
    fits: tuple[str, ...]
    segments: tuple[str, ...]
    first_steps: tuple[int, ...]
    skipped: tuple[int, ...]
    visits: tuple[int, ...]
    checkpoints: tuple[str, ...]
    ends: tuple[int, ...]

    def reached(self, tainted: Collection[str]) -> Iterable[str]:
        """All of it from the first node on that is tainted, or that something tainted leads to."""
        if self.start in tainted or any(fed in tainted for fed in (*self.given, *self.fits)):
            return (*self.segments, *self.checkpoints)
        for lap, (segment, checkpoint) in enumerate(
            zip(self.segments, self.checkpoints, strict=True)
        ):
            if segment in tainted:
                return (*self.segments[lap:], *self.checkpoints[lap:])
            if checkpoint in tainted:
                return (*self.segments[lap + 1 :], *self.checkpoints[lap:])
        return ()


TOGETHER = 1_000
"""Rows that are in memory together: many small objects at once keep the garbage collector busy."""

_NOTHING: tuple[tuple[()], ...] = ((), (), (), (), (), ())


def chains(session: Session, runs: Select[str] | None = None) -> list[Chain]:
    """Every run, or those whose ids a query selects, in the order in which they began.

    One that left nothing is empty.
    """
    run, segment, checkpoint = tables.Run, tables.Segment, tables.Checkpoint
    connection = session.connection()  # which makes plain rows: a session takes half as long again
    fits: dict[str, list[str]] = defaultdict(list)
    for run_id, fit in connection.execute(select(tables.Fit.run_id, tables.Fit.id)):
        fits[run_id].append(fit)
    given: dict[str, list[str]] = defaultdict(list)
    model = tables.RunModel
    read = select(model.run_id, model.checkpoint_id).distinct().order_by(model.checkpoint_id)
    for run_id, member in connection.execute(read):
        given[run_id].append(member)
    laps = connection.execute(
        select(
            segment.run_id,
            segment.id,
            segment.first_step,
            segment.skipped,
            segment.visits,
            checkpoint.id,
            checkpoint.step,
        )
        .join(checkpoint, checkpoint.id == segment.checkpoint_id)
        .where(true() if runs is None else segment.run_id.in_(runs))
        .order_by(segment.run_id, checkpoint.step, checkpoint.edition)
        .execution_options(yield_per=TOGETHER)
    )
    columns = {
        run_id: tuple(zip(*rows, strict=True))[1:] for run_id, rows in groupby(laps, itemgetter(0))
    }
    wanted = true() if runs is None else run.id.in_(runs)
    began = select(run.id, run.start_id).where(wanted).order_by(run.created_at, run.id)
    return [
        Chain(
            run_id,
            start,
            tuple(given[run_id]),
            tuple(fits[run_id]),
            *columns.get(run_id, _NOTHING),
        )
        for run_id, start in connection.execute(began)
    ]

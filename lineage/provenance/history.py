"""Runs as they happened: from which step to which, in which segments, over which data."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from lineage.provenance.chains import Chain, chains
from lineage.training.specification import RunSpec
from storage.catalogue import tables
from storage.errors import NotFoundError


class Lap(NamedTuple):
    """A segment: its steps from ``first_step`` to ``end``, of which some were ``skipped``."""

    id: str
    first_step: int
    skipped: int
    visits: int
    checkpoint: str
    end: int


@dataclass(frozen=True)
class History:
    """A run, as far as exposure depends on it; ``ends`` are those of its segments, in order."""

    id: str
    spec: RunSpec
    first_step: int
    inputs: Mapping[str, str]
    fits: tuple[tables.Fit, ...]
    segments: tuple[Lap, ...]
    ends: NDArray[np.int64]

    @property
    def done(self) -> int:
        """How many steps are kept in a checkpoint; whatever was done after the last is lost."""
        return int(self.ends[-1]) if len(self.ends) else self.first_step

    def lap(self, step: int) -> Lap | None:
        """The segment that a step is in; None where no checkpoint followed it."""
        index = int(np.searchsorted(self.ends, step, side="right"))
        return self.segments[index] if index < len(self.segments) else None


def history(session: Session, run_id: str) -> History:
    """One run.

    Raises:
        NotFoundError: there is none.
    """
    found = list(histories(session, select(tables.Run.id).where(tables.Run.id == run_id)))
    if not found:
        raise NotFoundError(f"there is no run {run_id}", hint="see `expunge run list`")
    return found[0]


def histories(
    session: Session, runs: Select[str], known: Iterable[Chain] | None = None
) -> Iterator[History]:
    """The runs whose ids a query selects, in the order in which they began.

    ``known`` are chains that were read before; a run that began since is left out.
    """
    left = {chain.run_id: chain for chain in (chains(session, runs) if known is None else known)}
    given: dict[str, dict[str, str]] = defaultdict(dict)
    fits: dict[str, list[tables.Fit]] = defaultdict(list)
    for each in session.scalars(select(tables.RunInput).where(tables.RunInput.run_id.in_(runs))):
        given[each.run_id][each.alias] = each.version_id
    for fit in session.scalars(select(tables.Fit).where(tables.Fit.run_id.in_(runs))):
        fits[fit.run_id].append(fit)
    for run in session.scalars(
        select(tables.Run).where(tables.Run.id.in_(runs)).order_by(tables.Run.created_at)
    ):
        if run.id in left:
            yield History(
                run.id,
                RunSpec.model_validate(run.specification),
                run.first_step,
                given[run.id],
                tuple(fits[run.id]),
                tuple(_laps(left[run.id])),
                np.array(left[run.id].ends, np.int64),
            )


def _laps(chain: Chain) -> Iterator[Lap]:
    return map(
        Lap,
        chain.segments,
        chain.first_steps,
        chain.skipped,
        chain.visits,
        chain.checkpoints,
        chain.ends,
    )

"""How far records came: the runs they entered, and everything that influence makes of these."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pyroaring import BitMap
from sqlalchemy import case, select
from sqlalchemy.orm import Session

from lineage.provenance.chains import chains
from lineage.provenance.exposure import Exposure, exposures
from lineage.provenance.graph import edges, edges_between, reached
from lineage.provenance.history import history
from lineage.provenance.model import SEMANTICS, NodeKind, Semantics, kind_of
from lineage.store import Store
from storage.catalogue import tables
from storage.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Moment:
    """When ``at`` steps of every run were done, or of one ``run`` alone.

    A run has then been given its steps before ``at``, and kept its checkpoints up to it, which
    also descend from whatever it started from. Without ``at`` the moment is now.
    """

    at: int | None = None
    run: str | None = None

    def covers(self, run: str, step: int) -> bool:
        """Whether a run had done so many steps by then."""
        return self.run in (None, run) and (self.at is None or step <= self.at)


NOW = Moment()


@dataclass(frozen=True)
class Reach:
    """The runs that were ``entered``, and the ``nodes`` of the graph they led to, first ones too.

    ``origins`` are the segments and fits from which a path to each of them begins.
    """

    entered: tuple[Exposure, ...]
    nodes: frozenset[str]
    origins: frozenset[str]


def reach(
    store: Store,
    records: Mapping[str, BitMap],
    moment: Moment = NOW,
    also: Iterable[str] = (),
) -> Reach:
    """Walk influence from records (dataset id → positions) to its end; complete or an error.

    ``also`` are nodes from which it is walked too.

    Raises:
        NotFoundError: there is no such run.
        InvalidInputError: the run has not done so many steps, or began later.
    """
    with store.catalogue.read() as session:
        runs = chains(session)
    everything = tuple(exposures(store, records, known=runs))
    origins = _entries(everything).union(also)
    with store.catalogue.read() as session:
        if moment == NOW:
            tainted = reached(edges_between(session), origins, runs)
            return Reach(everything, frozenset(tainted), frozenset(origins))
        if moment.run is not None:
            _require_done(session, moment.run, moment.at)
        links, hidden = list(edges(session)), _later(session, moment)
    tainted = reached(links, origins)
    entered = tuple(
        each
        for each in exposures(store, records, moment.at, runs)
        if moment.run is None or each.run_id == moment.run
    )
    own = _entries(entered)
    inherited = {
        end
        for start, end, kind in links
        if start in tainted
        and SEMANTICS[kind] is Semantics.INFLUENCE
        and kind_of(end) is NodeKind.SEGMENT
    }
    shown = [link for link in links if hidden.isdisjoint(link[:2])]
    nodes = reached(shown, (own | inherited) - hidden)
    return Reach(entered, frozenset(nodes), frozenset(own | (origins - nodes)))


def _entries(entered: Iterable[Exposure]) -> set[str]:
    return {node for each in entered for node in (*each.segments, *each.fits)}


def _require_done(session: Session, run_id: str, at: int | None) -> None:
    """Refuse a moment that a run has not come to, or that was over when it began."""
    run = history(session, run_id)
    if at is not None and not run.first_step <= at <= run.done:
        raise InvalidInputError(
            f"run {run_id} did steps {run.first_step} to {run.done}, so it was never at {at}",
            hint="see `expunge run list` for how far runs came, and for those they are replays of",
        )


def _later(session: Session, moment: Moment) -> set[str]:
    """The segments, checkpoints and fits that were not there yet, or are of other runs."""
    lap, made, fit, run = tables.Segment, tables.Checkpoint, tables.Fit, tables.Run
    begun = select(fit.id, fit.run_id, run.first_step).join(run, run.id == fit.run_id)
    laps = select(
        *(lap.id, lap.run_id),
        case((made.step > lap.first_step, lap.first_step + 1), else_=lap.first_step),
    )
    begins = [
        *session.execute(laps.join(made, made.id == lap.checkpoint_id)),
        *session.execute(select(made.id, made.run_id, made.step)),
        *session.execute(begun),
    ]
    return {
        node
        for node, owner, step in begins
        if (moment.at is not None and step > moment.at) or moment.run not in (None, owner)
    }

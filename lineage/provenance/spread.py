"""How records spread: through transforms into rows, through runs into models, and on.

A model that learned from somebody may have been given to a transform: then all rows of this descend
from them, and the runs over these. So rows and influence are followed in turn, until neither leads
anywhere new. What is given to a transform was there before it, so that comes to an end.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from lineage.data.closure import Closure, closure
from lineage.data.identity import Positions
from lineage.provenance.reach import NOW, Moment, Reach, reach
from lineage.provenance.renewal import renewed
from lineage.store import Store
from storage.catalogue import tables


@dataclass(frozen=True)
class Spread:
    """The rows that some records became or tainted, and how far influence went from all of them."""

    closure: Closure
    reach: Reach


def spread(
    store: Store,
    records: Positions,
    moment: Moment = NOW,
    also: Iterable[str] = (),
    *,
    renewing: bool = False,
) -> Spread:
    """Follow records (dataset id → positions) to the end; complete or an error.

    ``also`` are nodes of the graph from which influence is walked too. With ``renewing``, runs are
    followed as well from where rows may enter them that are there only without the records.

    Raises:
        NotFoundError: there is no such run.
        InvalidInputError: the run has not done so many steps, or began later.
    """
    also, given = frozenset(also), _given_models(store)
    taught: frozenset[str] = frozenset()
    while True:
        rows = closure(store, records, taught)
        begun = also.union(renewed(store, rows)) if renewing else also
        if not given:
            return Spread(rows, reach(store, rows.everything, moment, begun))
        came = reach(store, rows.everything, NOW, begun)
        if given & came.nodes <= taught:
            break
        taught = given & came.nodes
    return Spread(rows, came if moment == NOW else reach(store, rows.everything, moment, begun))


def _given_models(store: Store) -> frozenset[str]:
    """The transforms that influence can come to."""
    with store.catalogue.read() as session:
        return frozenset(session.scalars(select(tables.TransformModel.transform_id).distinct()))

"""Nominal sizes: frozen at the first train with a division, and given to every twin after."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
import rfc8785
from numpy.typing import NDArray

from lineage.data.version import Version
from lineage.errors import PlacementError
from lineage.schedule import Division, Risk, Selection, cells, check, nominal_cells
from lineage.schedule.placement import round2
from lineage.schedule.risk import check_thresholds, thresholds_of
from lineage.store import Store
from storage.catalogue import tables

Cells = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A division as it is asked for: what of it depends on the data is not frozen yet.

    ``risk`` is a column, and ``thresholds`` cut it into bands; without, its quantiles do. Sizes of
    the rows ``since`` a position are apart from those of all.
    """

    shards: int = 1
    slices: int = 1
    shares: tuple[int, ...] | None = None
    risk: str | None = None
    thresholds: tuple[float, ...] | None = None
    generation: int = 0
    since: int = 0

    @property
    def form(self) -> str:
        """What tells it from others of as many shards and slices: empty for a plain one."""
        plain = asdict(Wanted(self.shards, self.slices))
        own = {name: value for name, value in asdict(self).items() if value != plain[name]}
        return rfc8785.dumps(own).decode() if own else ""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A division, and the nominal records of each of its shards and slices."""

    division: Division
    nominal: Cells


def frozen_cells(
    store: Store, version: Version, wanted: Wanted, batch_size: int, *, refreeze: bool = False
) -> Frozen:
    """The division of a dataset and its nominal sizes; frozen now if they never were.

    Raises:
        PlacementError: the division is too uneven, or no longer fits the frozen sizes; or the
            column of risks is no probability of everybody's, the same in all records of a subject.
        ScheduleError: the thresholds of risk do not ascend.
    """
    check_thresholds(wanted.thresholds or ())
    key = (version.dataset.id, wanted.shards, wanted.slices, wanted.form)
    with store.catalogue.read() as session:
        known = session.get(tables.Placement, key)
    records = version.present.records
    risks = None if wanted.risk is None else risks_of(version, wanted.risk)
    if known is None or refreeze:
        known = None
        found = _fresh(records, version.salt, wanted, risks)
    else:
        found = _known(wanted, known)
    try:
        check(records, version.salt, found.division, found.nominal, batch_size)
    except PlacementError as error:
        if known is None:
            raise
        raise PlacementError(
            f"{error.message}, by the sizes frozen on {known.created_at:%Y-%m-%d}",
            hint="pass --refreeze to train by the present sizes",
        ) from error
    if known is None and not _freeze(store, key, found, refreeze=refreeze):
        return frozen_cells(store, version, wanted, batch_size)
    return found


def risks_of(version: Version, name: str) -> NDArray[np.float64]:
    """The probability of deletion of each present record, from a column.

    Raises:
        NotFoundError: there is no such column.
        PlacementError: it holds no numbers, something else than probabilities, or different ones
            for records of one subject. Rows are counted from 1, over all files.
    """
    records = version.present.records
    cells = records.column(name)
    if not version.numbers(name):
        raise PlacementError(
            f"column {name!r} holds no numbers, and a risk is one from 0 to 1",
            hint="name the column that has each record's probability of deletion",
        )
    risks = cells.astype(np.float64)
    rows = records.positions + 1
    strange = rows[~((risks >= 0) & (risks <= 1))]
    if len(strange):
        raise PlacementError(
            f"column {name!r} holds no probability in {_some(strange)}",
            hint="give everybody a number from 0 to 1; rows are counted over all files",
        )
    _, first, subject = np.unique(records.placement, return_index=True, return_inverse=True)
    differing = rows[risks != risks[first][subject]]
    if len(differing):
        raise PlacementError(
            f"column {name!r} differs between records of one subject: see {_some(differing)}",
            hint="they are placed together, so give them one; rows are counted over all files",
        )
    return risks


def _some(rows: NDArray[np.int64]) -> str:
    few = ", ".join(map(str, rows[:3].tolist()))
    more = f" and {len(rows) - 3} more" if len(rows) > 3 else ""
    return f"row{'s' if len(rows) > 1 else ''} {few}{more}"


def _fresh(
    records: Selection, salt: bytes, wanted: Wanted, risks: NDArray[np.float64] | None
) -> Frozen:
    division = Division(wanted.shards, wanted.slices, wanted.shares, generation=wanted.generation)
    if risks is not None and wanted.risk is not None:
        thresholds = wanted.thresholds
        if thresholds is None:
            thresholds = thresholds_of(risks)
        division = replace(division, risk=_bands(wanted.risk, thresholds, risks))
    return Frozen(division, nominal_cells(cells(records, salt, division)))


def _bands(column: str, thresholds: Sequence[float], risks: NDArray[np.float64]) -> Risk:
    band = np.searchsorted(thresholds, risks, side="right")
    counts = np.bincount(band, minlength=len(thresholds) + 1).tolist()
    return Risk(column=column, thresholds=tuple(thresholds), records=tuple(map(round2, counts)))


def _known(wanted: Wanted, row: tables.Placement) -> Frozen:
    risk = row.cells.get("risk")
    division = Division(
        wanted.shards,
        wanted.slices,
        wanted.shares,
        None if risk is None else Risk.model_validate(risk),
        wanted.generation,
    )
    return Frozen(division, tuple(tuple(shard) for shard in row.cells["nominal"]))


def _freeze(store: Store, key: tuple[str, int, int, str], found: Frozen, *, refreeze: bool) -> bool:
    """Keep nominal sizes; False where another process has frozen some meanwhile."""
    dataset, shards, slices, form = key
    content: dict[str, object] = {"nominal": found.nominal}
    if found.division.risk is not None:
        content["risk"] = found.division.risk.model_dump(mode="json")
    with store.catalogue.write() as session:
        if not refreeze and session.get(tables.Placement, key) is not None:
            return False
        session.merge(
            tables.Placement(
                dataset_id=dataset,
                shards=shards,
                slices=slices,
                form=form,
                cells=content,
                created_at=store.clock(),
            )
        )
    return True

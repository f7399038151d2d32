"""What some records became: the rows derived from them, however many transforms away."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from pyroaring import BitMap

from lineage.data.identity import Positions
from lineage.data.mapping import (
    Seen,
    datasets_of_versions,
    maker_among,
    read_mapping,
    recorded,
    seen,
    written,
)
from lineage.data.retained import live
from lineage.store import Store
from storage.catalogue.tables import DatasetVersion, Transform


@dataclass(frozen=True, slots=True)
class Closure:
    """Everything in the datasets that some records influenced.

    ``forgotten`` holds the records and every row that was made from one of them. ``tainted`` holds
    rows that were made with forgotten or tainted rows in sight, of their group or, by an aggregate,
    of all; all that a ``taught`` transform made; and what was made of those. Forgotten rows may be
    among them. ``stale`` names the transforms to execute again, in order: those of groups and
    aggregates whose input has forgotten rows, the taught ones, and whatever was given the output of
    one to execute again. ``taught`` names those that were given a model which learned from the
    records: `lineage.provenance.spread` finds them.
    """

    forgotten: Positions
    tainted: Positions
    stale: tuple[str, ...]
    taught: frozenset[str] = frozenset()

    @property
    def everything(self) -> Positions:
        """The forgotten and the tainted rows."""
        both = dict(self.forgotten)
        for dataset, positions in self.tainted.items():
            both[dataset] = both.get(dataset, BitMap()) | positions
        return both


def closure(store: Store, positions: Positions, taught: Collection[str] = ()) -> Closure:
    """Follow records (dataset id → positions) through every transform that was given them.

    Rows that later versions no longer hold are followed as well: they may have been trained on.
    ``taught`` are transforms that were given a model which learned from the records.
    """
    forgotten = {dataset: BitMap(rows) for dataset, rows in positions.items() if rows}
    tainted: Positions = {}
    stale: list[str] = []
    with store.catalogue.read() as session:
        dataset_of = datasets_of_versions(session)
        transforms = recorded(session)
        for transform in transforms:
            given = [session.get_one(DatasetVersion, each.version_id) for each in transform.inputs]
            datasets = [version.dataset_id for version in given]
            makers = {_id(maker_among(session, version, transforms)) for version in given}
            all_of_it = transform.id in taught
            if all_of_it or makers & set(stale) or _unlike(transform, given, forgotten):
                stale.append(transform.id)
            lost, marred = (
                _among(rows, datasets, seen(transform)) for rows in (forgotten, tainted)
            )
            if not all_of_it and not any(lost) and not any(marred):
                continue
            made = dataset_of[transform.output_id]
            mapping = read_mapping(store.objects, transform)
            _add(forgotten, made, mapping.follow(lost))
            affected = tuple(one | other for one, other in zip(lost, marred, strict=True))
            if all_of_it or transform.scope == "aggregate":
                _add(tainted, made, written(transform))
            elif transform.scope == "group":
                _add(tainted, made, mapping.together(affected))
            else:
                _add(tainted, made, mapping.follow(marred))
    return Closure(forgotten, tainted, tuple(stale), frozenset(taught))


def _unlike(transform: Transform, given: Sequence[DatasetVersion], forgotten: Positions) -> bool:
    """Whether what is made of other rows may be otherwise without the forgotten in the input."""
    return transform.scope != "record" and any(
        live(version) & forgotten.get(version.dataset_id, BitMap()) for version in given
    )


def _id(transform: Transform | None) -> str | None:
    return None if transform is None else transform.id


def _among(positions: Positions, datasets: Sequence[str], those: Seen) -> Seen:
    return tuple(
        positions.get(dataset, BitMap()) & rows
        for dataset, rows in zip(datasets, those, strict=True)
    )


def _add(positions: Positions, dataset: str, rows: BitMap) -> None:
    if rows:
        positions[dataset] = positions.get(dataset, BitMap()) | rows

"""What some records became: the rows derived from them, however many transforms away."""

from dataclasses import dataclass

from pyroaring import BitMap

from lineage.data.identity import Positions
from lineage.data.mapping import datasets_of_versions, read_mapping, recorded, written
from lineage.store import Store
from storage.manifests import load_bitmap


@dataclass(frozen=True, slots=True)
class Closure:
    """Everything in the datasets that some records influenced.

    ``forgotten`` holds the records and what was made of them row by row. ``tainted`` holds rows
    that an aggregate transform made with forgotten or tainted rows in sight (its whole output),
    and what was made of those; forgotten rows may be among them. ``stale`` names the transforms
    to execute again, in order: those aggregates, and whatever was given tainted rows.
    """

    forgotten: Positions
    tainted: Positions
    stale: tuple[str, ...]

    @property
    def everything(self) -> Positions:
        """The forgotten and the tainted rows."""
        both = dict(self.forgotten)
        for dataset, positions in self.tainted.items():
            both[dataset] = both.get(dataset, BitMap()) | positions
        return both


def closure(store: Store, positions: Positions) -> Closure:
    """Follow records (dataset id → positions) through every transform that was given them.

    Rows that later versions no longer hold are followed as well: they may have been trained on.
    """
    with store.catalogue.read() as session:
        transforms = recorded(session)
        dataset_of = datasets_of_versions(session)
    forgotten = {dataset: BitMap(rows) for dataset, rows in positions.items() if rows}
    tainted: Positions = {}
    stale: list[str] = []
    for transform in transforms:
        given, made = dataset_of[transform.input_id], dataset_of[transform.output_id]
        seen = load_bitmap(transform.seen)
        lost, marred = _among(forgotten, given, seen), _among(tainted, given, seen)
        if not lost and not marred:
            continue
        aggregate = transform.scope == "aggregate"
        mapping = read_mapping(store.objects, transform)
        _add(forgotten, made, mapping.follow(lost))
        _add(tainted, made, written(transform) if aggregate else mapping.follow(marred))
        if aggregate or marred:
            stale.append(transform.id)
    return Closure(forgotten, tainted, tuple(stale))


def _among(positions: Positions, dataset: str, seen: BitMap) -> BitMap:
    return positions.get(dataset, BitMap()) & seen


def _add(positions: Positions, dataset: str, rows: BitMap) -> None:
    if rows:
        positions[dataset] = positions.get(dataset, BitMap()) | rows

"""Placement by risk: likely-deleted records are packed into few shards, and into their late slices.

The distribution-aware sharding of Bourtoule et al. 2021 (arXiv 1912.03817), without its sort, which
would move everybody when somebody leaves. Records lie on a line from 0 to 2**32. Bands of risk
follow one another on it, each as wide as its frozen share of the records; inside its band a keyed
hash decides. Shards are stretches of the line, and slices stretches of a shard. So a place depends
on the record's own risk, its own placement and what was frozen, and on no other record.
"""

from collections.abc import Sequence
from decimal import ROUND_FLOOR, Decimal
from itertools import accumulate, pairwise
from typing import Annotated, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from lineage.errors import ScheduleError

BANDS = 100
"""The most bands that are taken from the data, whatever the division: a hundredth each."""

END = 2**32
"""Where the line ends."""


class Risk(BaseModel):
    """Which column has each record's probability of deletion, and the bands that it falls into.

    Band ``i`` has the records whose risk is at least ``i`` of the ``thresholds``, nominally
    ``records[i]`` of them. A risk that is not known is in the last band.

    Raises:
        ScheduleError: thresholds do not ascend from 0 to 1, or the bands are too many or too few.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    column: str
    thresholds: tuple[float, ...]
    records: tuple[Annotated[int, Field(ge=1, lt=END)], ...]

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        check_thresholds(self.thresholds)
        if len(self.records) != len(self.thresholds) + 1:
            raise ScheduleError(
                f"{len(self.thresholds)} thresholds make one band more, not {len(self.records)}"
            )
        return self

    def places(self, risks: ArrayLike, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Where on the line records of these risks are; ``hashes`` (n,) are below 2**32."""
        band = self.bands(risks)
        total = sum(self.records)
        below = accumulate(self.records, initial=0)
        edges: NDArray[np.uint64] = np.array([END * each // total for each in below], np.uint64)
        width = edges[1:] - edges[:-1]
        return edges[band] + ((hashes * width[band]) >> np.uint64(32))

    def bands(self, risks: ArrayLike) -> NDArray[np.intp]:
        """The band of each risk (n,)."""
        return np.searchsorted(self.thresholds, np.asarray(risks, np.float64), side="right")


def check_thresholds(thresholds: Sequence[float]) -> None:
    """Refuse thresholds that do not cut the risks from 0 to 1 into bands.

    Raises:
        ScheduleError: they do not ascend, or are not above 0 and at most 1.
    """
    if not all(low < high for low, high in pairwise((0.0, *thresholds))) or (
        thresholds and thresholds[-1] > 1
    ):
        raise ScheduleError(
            "thresholds of risk ascend, above 0 and at most 1",
            hint="for example --risk-bands 0.01,0.1",
        )


def thresholds_of(risks: NDArray[np.float64], bands: int = BANDS) -> tuple[float, ...]:
    """Thresholds that cut the risks of some records into at most so many bands of like size.

    Equal risks are never cut apart: a band begins at the first risk that has a further ``1/bands``
    of the records below it. It is rounded down to two digits, which tells of nobody in particular.

    >>> thresholds_of(np.array([0.01] * 95 + [0.5] * 5))
    (0.5,)
    >>> thresholds_of(np.array([0.111, 0.222, 0.333, 0.444]), 2)
    (0.33,)
    """
    values, counts = np.unique(risks, return_counts=True)
    below = np.cumsum(counts) - counts
    part = below * bands // max(len(risks), 1)
    begins = values[1:][np.diff(part) > 0].tolist()
    rounded = dict.fromkeys(map(_rounded_down, begins))
    return tuple(each for each in rounded if each > values[0])


def _rounded_down(value: float) -> float:
    exact = Decimal(repr(value))
    return float(exact.quantize(Decimal(1).scaleb(exact.adjusted() - 1), ROUND_FLOOR))

"""What forgetting is expected to cost under SISA, in closed form.

Bourtoule et al. 2021 (arXiv 1912.03817), sections IV and V. Requests name records drawn uniformly.
*Points* are the records that one epoch trains on again, without the forgotten; *visits* are points
over all epochs. Restarts are at slice ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan

import numpy as np
from numpy.typing import NDArray

from lineage.schedule.sliced import stage_epochs
from storage.errors import InvalidInputError


def sequential_points(records: int, shards: int, requests: int) -> float:
    """``K(N/S + 1/(2S) - 1) - K²/(2S)``: equal shards, K requests one after the other.

    Each request finds the shards without the records of those before it.

    >>> sequential_points(60_000, 20, 1)
    2999.0
    """
    n, s, k = records, shards, requests
    return k * (n / s + 1 / (2 * s) - 1) - k * k / (2 * s)


def batch_points(records: int, shards: int, requests: int) -> float:
    """``N(1 - (1 - 1/S)^K) - K``: equal shards, K requests served together.

    >>> round(batch_points(60_000, 20, 8)), round(batch_points(60_000, 20, 100))
    (20187, 59545)
    """
    return records * (1 - (1 - 1 / shards) ** requests) - requests


def slicing_share(slices: int) -> float:
    """``2/3 + 1/(3R)``: what one request repeats of a shard of R equal slices.

    With an equal number of epochs, ``2e/(R + 1)``, a stage.

    >>> slicing_share(1), round(slicing_share(4), 3)
    (1.0, 0.75)
    """
    return 2 / 3 + 1 / (3 * slices)


@dataclass(frozen=True)
class Topology:
    """Shards of any sizes: ``sizes`` (S, R) counts records a cell, ``epochs`` (R,) those a stage.

    Stage ``j`` trains slices ``0..j`` of its shard.
    """

    sizes: NDArray[np.int64]
    epochs: tuple[int, ...]

    @property
    def records(self) -> int:
        """N."""
        return int(self.sizes.sum())

    @property
    def stages(self) -> NDArray[np.int64]:
        """How many records each stage of each shard trains on: (S, R)."""
        return np.cumsum(self.sizes, axis=1)

    @property
    def work(self) -> NDArray[np.int64]:
        """The visits of each stage of each shard: (S, R)."""
        return np.multiply(self.stages, np.array(self.epochs, np.int64))

    @property
    def slices(self) -> int:
        """R."""
        return len(self.epochs)

    @property
    def left(self) -> NDArray[np.int64]:
        """The visits of each shard from the beginning of each stage on, and of none: (S, R + 1)."""
        return np.pad(self.work[:, ::-1].cumsum(axis=1)[:, ::-1], ((0, 0), (0, 1)))

    @property
    def visits(self) -> int:
        """The visits of a full training."""
        return int(self.work.sum())

    def cells(self, records: NDArray[np.int64]) -> NDArray[np.int64]:
        """The cell of each record, where records are numbered cell by cell, and so are cells."""
        return np.searchsorted(self.sizes.cumsum(), records, side="right")


def equal(records: int, shards: int, slices: int, epochs: int) -> Topology:
    """Cells as equal as whole records allow, and the stages that a stable schedule gives them.

    Raises:
        InvalidInputError: there are more cells than records.
        ScheduleError: there are too few epochs for so many slices.
    """
    cells = shards * slices
    if cells > records:
        raise InvalidInputError(
            f"{records:,} records do not fill {shards:,} shards of {slices:,} slices",
            hint="ask for fewer shards or slices",
        )
    sizes = np.full(cells, records // cells)
    sizes[: records % cells] += 1
    return Topology(sizes.reshape(shards, slices), stage_epochs(epochs, slices))


def batch_visits(topology: Topology, requests: int) -> float:
    """K requests served together, over shards and slices of any sizes.

    A stage is repeated unless all K miss the ``c`` records it trains on: ``(1 - c/N)^K``. One slice
    and equal shards give `batch_points` times epochs; K = 1 gives `slicing_share`.
    """
    missed: NDArray[np.float64] = (1 - topology.stages / topology.records) ** requests
    return float((topology.work * (1 - missed)).sum()) - requests * _own(topology)


def sequential_visits(topology: Topology, requests: int) -> float:
    """K different requests, each served before the next, over shards and slices of any sizes.

    After ``i`` of them, a stage of ``c`` records has ``x`` left, and the next one repeats ``x - 1``
    of them with probability ``x/(N - i)``; x is hypergeometric, so the expectation is
    ``c(c - 1)(N - i - 1)/(N(N - 1))``. Equal shards give `sequential_points` times epochs, up to
    its independent draws.
    """
    n, c = topology.records, topology.stages.astype(np.float64)
    pairs = float((np.array(topology.epochs) * c * (c - 1)).sum()) / (n * max(n - 1, 1))
    return pairs * (requests * (n - 1) - requests * (requests - 1) / 2)


def pareto(costs: Sequence[Sequence[float]]) -> list[bool]:
    """Which of these are on the front: none other is as low everywhere, and lower somewhere.

    What is NaN is not known, and not compared.

    >>> pareto([(1, 3), (2, 2), (2, 3)])
    [True, True, False]
    """
    return [not any(_beats(other, each) for other in costs) for each in costs]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    known = [(a, b) for a, b in zip(one, other, strict=True) if not (isnan(a) or isnan(b))]
    return all(a <= b for a, b in known) and any(a < b for a, b in known)


def _own(topology: Topology) -> float:
    """The visits of a record itself, on average."""
    return topology.visits / topology.records

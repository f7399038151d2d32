"""What forgetting costs by drawing requests, where no closed form is known or to check one."""

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from unlearn.plan.cost import Topology

CELLS = 4_000_000
"""How many numbers a simulation draws, about: what a second or two allows."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean over independent draws, and its standard error."""

    mean: float
    error: float

    @classmethod
    def of(cls, values: NDArray[np.generic]) -> "Estimate":
        """The mean of these draws."""
        return cls(float(values.mean()), float(values.std(ddof=1)) / sqrt(len(values)))


def simulated_visits(topology: Topology, requests: int, seed: int = 0) -> Estimate:
    """The visits of ``requests`` uniformly drawn records that are forgotten together.

    Each shard restarts at the end of the stage before the earliest of its slices that was hit.
    """
    shards, slices = topology.sizes.shape
    draws = int(np.clip(CELLS // max(requests, shards), 8, 20_000))
    generator = np.random.default_rng(seed)
    hit = topology.cells(generator.integers(0, topology.records, (draws, requests)))
    earliest = np.full((draws, shards), slices)
    np.minimum.at(earliest, (np.arange(draws)[:, None], hit // slices), hit % slices)
    repeated = topology.left[np.arange(shards), earliest].sum(axis=1)
    own = np.cumsum(topology.epochs[::-1])[::-1][hit % slices].sum(axis=1)
    return Estimate.of(repeated - own)

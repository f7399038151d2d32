"""What happens between two checkpoints: the facts of a segment."""

import time
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Lap:
    """What happened since the last checkpoint: the facts of a segment.

    ``visits`` counts (record, step) pairs; ``skipped`` steps with too few records; ``consumed`` is
    a keyed chain hash of the record keys that were handed out, in order.
    """

    first_step: int
    visits: int
    skipped: int
    seconds: float
    consumed: str


class LapClock:
    """Counts what a segment consumed.

    It is told of runs of steps at once: the chain hash is the same, and each step costs less.
    """

    def __init__(self, first_step: int, salt: bytes, consumed: str) -> None:
        self.first_step = first_step
        self.visits = 0
        self.skipped = 0
        self._chain = blake2b(bytes.fromhex(consumed), digest_size=32, key=salt)
        self._began = time.perf_counter()

    def consume(self, keys: NDArray[np.uint64]) -> None:
        """Some records were handed out, in this order."""
        self.visits += len(keys)
        self._chain.update(keys.data)

    def digest(self) -> str:
        """The chain hash so far (hex)."""
        return self._chain.hexdigest()

    def lap(self) -> Lap:
        """The facts so far."""
        seconds = time.perf_counter() - self._began
        return Lap(self.first_step, self.visits, self.skipped, seconds, self.digest())


def cadence(boundaries: tuple[int, ...], every: int | None) -> frozenset[int]:
    """Return after how many steps checkpoints are due."""
    regular = () if every is None else range(every, boundaries[-1] + 1, every)
    return frozenset((*boundaries, *regular))

"""Which checkpoints of a run are worth keeping: those that make forgetting cheap.

Pure functions of a run's exposure. Whoever is forgotten is first visited at some step; the run is
recomputed from the last checkpoint at or before that step, or from its beginning.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Steps = NDArray[np.int64]


@dataclass(frozen=True)
class Profile:
    """The exposure of a run of T steps.

    ``firsts`` (n,) has, ascending, the first step of each record or subject that may be forgotten;
    ``done`` (T + 1,) the visits of all before each step, and in all.
    """

    firsts: Steps
    done: Steps

    @property
    def steps(self) -> int:
        """T."""
        return len(self.done) - 1

    @property
    def visits(self) -> int:
        """All visits."""
        return int(self.done[-1])

    def served(self, steps: Steps) -> Steps:
        """How many are first visited from each of these ascending steps on, before the next."""
        before = np.searchsorted(self.firsts, steps)
        return np.diff(before, append=len(self.firsts))


def expected_visits(profile: Profile, kept: Steps) -> float:
    """The visits to forget one of them, uniformly drawn, with checkpoints at these steps.

    The forgotten's own visits are not recomputed; they are the same wherever it begins.
    """
    if not len(profile.firsts):
        return 0.0
    points = np.unique(np.concatenate(([0], kept)))
    restart = points[np.searchsorted(points, profile.firsts, side="right") - 1]
    own = profile.visits / len(profile.firsts)
    return profile.visits - float(profile.done[restart].mean()) - own


def choose(
    profile: Profile, steps: Steps, must: NDArray[np.bool_], count: int
) -> NDArray[np.bool_]:
    """Which of the checkpoints at these ascending steps to keep, ``count`` at most: a mask.

    Those that ``must`` stay do, and are no more than ``count``. Of the others none is kept without
    which everybody would begin at the same step, and no choice makes `expected_visits` less.
    """
    places = np.flatnonzero(must | (profile.served(steps) > 0))
    if len(places) > count:
        places = places[_best(profile, steps[places], must[places], count)]
    kept = np.zeros(len(steps), np.bool_)
    kept[places] = True
    return kept


def choose_within(
    profile: Profile, steps: Steps, must: NDArray[np.bool_], sizes: NDArray[np.int64], budget: int
) -> NDArray[np.bool_]:
    """As many as fit into ``budget`` bytes, chosen as `choose` does.

    Checkpoints of a run are as good as equally large. Those that ``must`` stay do, and fit.
    """
    count = int((np.sort(sizes).cumsum() <= budget).sum())
    while True:
        kept = choose(profile, steps, must, max(count, int(must.sum())))
        if sizes[kept].sum() <= budget or count <= must.sum():
            return kept
        count -= 1


def _best(profile: Profile, steps: Steps, must: NDArray[np.bool_], count: int) -> list[int]:
    """The best ``count`` of these, by dynamic programming, O(count · n²).

    One at ``s`` saves ``done[s]`` visits for all that are first visited between it and the next one
    kept. So the best way to keep k before a given next one extends a best way to keep k - 1.
    """
    n, worth = len(steps), profile.done[steps]
    before = np.append(np.searchsorted(profile.firsts, steps), len(profile.firsts))
    passed = np.maximum.accumulate(np.where(must, np.arange(n), -1))
    last = np.concatenate(([-1], passed))  # the last before each that must not be passed over
    saved = np.where(last < 0, 0.0, -np.inf)  # before each, with none kept; the n-th is the end
    origins = []
    for _ in range(count):
        longer, origin = np.full(n + 1, -np.inf), np.zeros(n + 1, np.int64)
        for j in range(1, n + 1):
            low = max(int(last[j]), 0)
            gains = saved[low:j] + worth[low:j] * (before[j] - before[low:j])
            origin[j] = low + int(gains.argmax())
            longer[j] = gains.max()
        saved = longer
        origins.append(origin)
    kept = [n]
    for origin in reversed(origins):
        kept.append(int(origin[kept[-1]]))
    return kept[:0:-1]

"""An oracle for schedules: the reference page in plain integers, without NumPy or our code."""

from functools import cached_property
from hashlib import blake2b
from itertools import combinations

import pytest

MASK = 2**64 - 1


class Oracle:
    """One shard's schedule, computed record by record and step by step."""

    def __init__(self, spec, salt):
        self.spec, self.salt = spec, salt

    @staticmethod
    def hash(salt, domain, key, seed=0, epoch=0):
        message = seed.to_bytes(8, "little") + epoch.to_bytes(8, "little")
        person = b"stable/1." + domain.encode()
        tweak = blake2b(message, digest_size=8, key=salt, person=person).digest()
        z = key ^ int.from_bytes(tweak, "little")
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        return z ^ z >> 31

    def high(self, domain, key, epoch=0):
        seed = self.spec.generation if domain in ("shard", "slice") else self.spec.seed
        return self.hash(self.salt, domain, key, seed, epoch) >> 32

    @cached_property
    def stage_epochs(self):
        if not isinstance(self.spec.epochs, int):
            return self.spec.epochs
        count, work = len(self.spec.nominal), self.spec.epochs * len(self.spec.nominal)
        each = self.spec.epochs * 2 // (count + 1)
        rest = work - each * sum(range(1, count + 1))
        subsets = [s for n in range(count + 1) for s in combinations(range(count, 0, -1), n)]
        extra = max(subset for subset in subsets if sum(subset) == rest)
        return [each + (stage in extra) for stage in range(1, count + 1)]

    @cached_property
    def epochs(self):
        """Of each epoch: its stage, its first step and its number of steps."""
        table, first, nominal = [], 0, 0
        for stage, epochs in enumerate(self.stage_epochs):
            nominal += self.spec.nominal[stage]
            steps = nominal // self.spec.batch_size + bool(nominal % self.spec.batch_size)
            for _ in range(epochs):
                table.append((stage, first, steps))
                first += steps
        return table

    @property
    def steps(self):
        _, first, steps = self.epochs[-1]
        return first + steps

    def cell(self, placement, risk=0.0):
        line, place, slices = 2**32, self.high("shard", placement), len(self.spec.nominal)
        if self.spec.risk is not None:
            band = sum(not risk < threshold for threshold in self.spec.risk.thresholds)
            sizes = self.spec.risk.records
            low, high = (line * sum(sizes[:end]) // sum(sizes) for end in (band, band + 1))
            place = low + (place * (high - low) >> 32)
        shares = self.spec.shares or (1,) * self.spec.shards
        ends = [-(-line * sum(shares[:n]) // sum(shares)) for n in range(len(shares) + 1)]
        shard = max(n for n in range(len(shares)) if ends[n] <= place)
        if self.spec.risk is None:
            return shard, self.high("slice", placement) * slices >> 32
        return shard, (place - ends[shard]) * slices // (ends[shard + 1] - ends[shard])

    def visits(self, key, placement, risk=0.0):
        """(epoch, step) pairs of one record."""
        shard, piece = self.cell(placement, risk)
        return [
            (epoch, first + (self.high("step", key, epoch) * steps >> 32))
            for epoch, (stage, first, steps) in enumerate(self.epochs)
            if shard == self.spec.shard and piece <= stage
        ]

    def batches(self, records):
        """The rows of every step, in order, of (key, placement, digest, risk) records."""
        batches = [[] for _ in range(self.steps)]
        for row, (key, placement, digest, *risk) in enumerate(records):
            for epoch, step in self.visits(key, placement, *risk):
                batches[step].append((self.high("order", key, epoch), digest, row))
        return [[row for _, _, row in sorted(batch)] for batch in batches]


@pytest.fixture(scope="session")
def oracle():
    return Oracle

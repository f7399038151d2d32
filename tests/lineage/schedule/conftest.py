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
        seed = 0 if domain in ("shard", "slice") else self.spec.seed
        return self.hash(self.salt, domain, key, seed, epoch) >> 32

    @cached_property
    def stage_epochs(self):
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

    def cell(self, placement):
        shard = self.high("shard", placement) * self.spec.shards >> 32
        return shard, self.high("slice", placement) * len(self.spec.nominal) >> 32

    def visits(self, key, placement):
        """(epoch, step) pairs of one record."""
        shard, piece = self.cell(placement)
        return [
            (epoch, first + (self.high("step", key, epoch) * steps >> 32))
            for epoch, (stage, first, steps) in enumerate(self.epochs)
            if shard == self.spec.shard and piece <= stage
        ]

    def batches(self, records):
        """The rows of every step, in order, of (key, placement, digest) records."""
        batches = [[] for _ in range(self.steps)]
        for row, (key, placement, digest) in enumerate(records):
            for epoch, step in self.visits(key, placement):
                batches[step].append((self.high("order", key, epoch), digest, row))
        return [[row for _, _, row in sorted(batch)] for batch in batches]


@pytest.fixture(scope="session")
def oracle():
    return Oracle

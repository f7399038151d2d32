"""The mixer ``stable/1``: keyed, domain-separated 64-bit hashes of record keys.

``tweak = BLAKE2b-64(key=salt, person="stable/1." + domain, seed ‖ epoch)`` and
``hash = finalise(key ^ tweak)``, the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014,
with Stafford's Mix13 constants). ``docs/reference/schedule.md`` defines every byte and has test
vectors. A change here is a new mixer with a new name: every stored run depends on this one.
"""

from enum import StrEnum
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from lineage.errors import ScheduleError
from lineage.schedule.contract import Keys

LIMIT = 2**32 - 1
"""The most shards, slices, or steps in an epoch that 32 bits of a hash are spread over."""

BLOCK = 2**14
"""Hashes finished at a time, so that they stay in the cache: 2 to 3 times faster."""


class Domain(StrEnum):
    """What a hash decides; hashes of different domains are independent."""

    SHARD = "shard"
    SLICE = "slice"
    STEP = "step"
    ORDER = "order"


def tweak(salt: bytes, domain: Domain, seed: int = 0, epoch: int = 0) -> int:
    """The 64-bit number that separates one use of the mixer from every other.

    Raises:
        ScheduleError: the salt is not 16 to 64 bytes long.
    """
    if not 16 <= len(salt) <= 64:
        raise ScheduleError(
            f"a schedule salt has 16 to 64 bytes, not {len(salt)}",
            hint="pass the salt that was made with the dataset",
        )
    message = seed.to_bytes(8, "little") + epoch.to_bytes(8, "little")
    person = f"stable/1.{domain}".encode()
    return int.from_bytes(
        blake2b(message, digest_size=8, key=salt, person=person).digest(), "little"
    )


def mixed(keys: Keys, tweaks: int | np.uint64 | NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Hash the keys under a tweak; the shapes broadcast.

    >>> [hex(h) for h in mixed(np.array([0, 1], np.uint64), 0x9E3779B97F4A7C15)]
    ['0xe220a8397b1dcdaf', '0xe4d971771b652c20']
    """
    hashes = np.bitwise_xor(keys, tweaks, order="C")
    flat = hashes.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        z = flat[start : start + BLOCK]
        z ^= z >> 30
        z *= 0xBF58476D1CE4E5B9
        z ^= z >> 27
        z *= 0x94D049BB133111EB
        z ^= z >> 31
    return hashes


def high(hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The high 32 bits, which is all that a schedule uses of a hash."""
    return np.right_shift(hashes, np.uint64(32))


def scaled(
    hashes: NDArray[np.uint64], count: int | np.uint64 | NDArray[np.uint64]
) -> NDArray[np.int64]:
    """``floor(high(hash) / 2**32 * count)``, in integers: one of ``0..count - 1``.

    ``count`` is at most ``LIMIT``, so the product fits 64 bits.

    >>> scaled(np.array([0, 2**63, 2**64 - 1], np.uint64), 10)
    array([0, 5, 9])
    """
    return high(high(hashes) * np.asarray(count, np.uint64)).view(np.int64)

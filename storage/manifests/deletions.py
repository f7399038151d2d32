"""Deletion vectors, and the digest that is the identity of a dataset version."""

from hashlib import sha256

import rfc8785
from pyroaring import BitMap

from storage.errors import CorruptObjectError


def dump_bitmap(positions: BitMap) -> bytes:
    """The portable Roaring format; equal sets give equal bytes, however they were built."""
    canonical = BitMap(positions.to_array())
    canonical.run_optimize()
    return canonical.serialize()


def load_bitmap(data: bytes) -> BitMap:
    """The set that `dump_bitmap` wrote.

    Raises:
        CorruptObjectError: the bytes are not what `dump_bitmap` writes for any set.
    """
    try:
        positions = BitMap.deserialize(data)
    except ValueError:
        positions = None
    if positions is None or dump_bitmap(positions) != data:
        raise CorruptObjectError(
            f"a deletion vector of {len(data)} bytes is damaged",
            hint="restore the catalogue from a backup",
        )
    return positions


def version_digest(root: bytes, rows: int, deleted: BitMap) -> str:
    """The identity of a dataset version: SHA-256, in hex, of this RFC 8785 JSON.

    ``{"deleted": SHA-256 of `dump_bitmap`, "root": Merkle root of the commitments, "rows": n}``,
    both digests in hex.
    """
    content: dict[str, str | int] = {
        "deleted": sha256(dump_bitmap(deleted)).hexdigest(),
        "root": root.hex(),
        "rows": rows,
    }
    return sha256(rfc8785.dumps(content)).hexdigest()

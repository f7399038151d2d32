"""Merkle trees with the hashing of RFC 9162, section 2.1, verbatim (SHA-256).

A *leaf value* is an entry ``d[i]`` of the RFC: its hash is taken here, so a caller never hashes
leaves itself. Leaves are a sequence of byte strings or a ``uint8`` array of shape (n, width).
"""

from collections.abc import Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from storage.errors import InvalidInputError

Leaves = Sequence[bytes] | NDArray[np.uint8]


def leaf_hash(leaf: bytes) -> bytes:
    """``SHA-256(0x00 ‖ leaf)``.

    >>> leaf_hash(b"").hex()[:16]
    '6e340b9cffb37a98'
    """
    return sha256(b"\x00" + leaf).digest()


def root(leaves: Leaves) -> bytes:
    """The Merkle tree hash (32 bytes); of no leaves, the hash of the empty string.

    Level by level with an odd last node promoted, which equals the RFC's recursion.
    """
    if len(leaves) == 0:
        return sha256().digest()
    level = _leaf_level(leaves)
    while len(level) > 1:
        level = _next_level(level)
    return level.tobytes()


def inclusion_proof(leaves: Leaves, index: int) -> list[bytes]:
    """The audit path of leaf ``index`` (RFC 9162, 2.1.3.1): sibling hashes, lowest first.

    Raises:
        InvalidInputError: there is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise InvalidInputError(f"leaf {index} is not in a tree of {len(leaves)} leaves")
    level, proof = _leaf_level(leaves), []
    while len(level) > 1:
        if index ^ 1 < len(level):
            proof.append(level[index ^ 1].tobytes())
        level, index = _next_level(level), index >> 1
    return proof


def verify_inclusion(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> bool:
    """Whether ``proof`` shows leaf value ``leaf`` at ``index`` of a tree of ``size`` with ``root``.

    RFC 9162, 2.1.3.2; a proof that is too long or too short is false, never an error.
    """
    if not 0 <= index < size:
        return False
    node, last, current = index, size - 1, leaf_hash(leaf)
    for sibling in proof:
        if last == 0:
            return False
        if node & 1 or node == last:
            current = _node_hash(sibling, current)
            while not node & 1 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            current = _node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == root


def _node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _leaf_level(leaves: Leaves) -> NDArray[np.uint8]:
    if isinstance(leaves, np.ndarray):
        return _hash_rows(0, np.ascontiguousarray(leaves, dtype=np.uint8))
    return _as_level([leaf_hash(leaf) for leaf in leaves])


def _next_level(level: NDArray[np.uint8]) -> NDArray[np.uint8]:
    pairs = len(level) // 2
    parents = _hash_rows(1, level[: 2 * pairs].reshape(pairs, 64))
    return parents if len(level) % 2 == 0 else np.concatenate([parents, level[-1:]])


def _hash_rows(prefix: int, rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    width = rows.shape[1] + 1
    message = np.empty((len(rows), width), dtype=np.uint8)
    message[:, 0] = prefix
    message[:, 1:] = rows
    data = message.reshape(-1).data
    return _as_level([sha256(data[at : at + width]).digest() for at in range(0, len(data), width)])


def _as_level(hashes: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(hashes), dtype=np.uint8).reshape(-1, 32)

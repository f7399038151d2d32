"""Against the recursive definitions of RFC 9162, section 2.1, and published roots."""

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.errors import InvalidInputError
from storage.merkle import inclusion_proof, leaf_hash, root, verify_inclusion

# certificate-transparency: the reference tree's leaves and the root after each of them.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def split(n: int) -> int:
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def mth(d: list[bytes]) -> bytes:
    if len(d) == 0:
        return sha256(b"").digest()
    if len(d) == 1:
        return sha256(b"\x00" + d[0]).digest()
    k = split(len(d))
    return sha256(b"\x01" + mth(d[:k]) + mth(d[k:])).digest()


def path(m: int, d: list[bytes]) -> list[bytes]:
    if len(d) == 1:
        return []
    k = split(len(d))
    if m < k:
        return [*path(m, d[:k]), mth(d[k:])]
    return [*path(m - k, d[k:]), mth(d[:k])]


@pytest.mark.parametrize("size", range(9))
def test_the_published_roots_come_out(size: int) -> None:
    assert root(LEAVES[:size]).hex() == ROOTS[size]


def test_a_published_proof_comes_out() -> None:
    proof = [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]
    assert [node.hex() for node in inclusion_proof(LEAVES, 5)] == proof


@given(st.lists(st.binary(max_size=40), max_size=40))
def test_the_root_is_the_recursive_one(leaves: list[bytes]) -> None:
    assert root(leaves) == mth(leaves)


@given(st.integers(1, 70), st.integers(0, 2**32 - 1))
def test_an_array_of_leaves_has_the_root_of_their_bytes(size: int, seed: int) -> None:
    leaves = np.random.default_rng(seed).integers(0, 256, (size, 32), dtype=np.uint8)
    assert root(leaves) == mth([leaf.tobytes() for leaf in leaves])
    assert root(leaves[::2]) == mth([leaf.tobytes() for leaf in leaves[::2]])


@given(st.lists(st.binary(max_size=4), min_size=1, max_size=40), st.data())
def test_every_leaf_has_the_recursive_proof_and_it_verifies(
    leaves: list[bytes], data: st.DataObject
) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    proof = inclusion_proof(leaves, index)
    assert proof == path(index, leaves)
    assert verify_inclusion(leaves[index], index, len(leaves), proof, mth(leaves))


@given(st.integers(1, 40), st.data())
def test_a_proof_of_something_else_does_not_verify(size: int, data: st.DataObject) -> None:
    leaves = [bytes([number]) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    proof, top = inclusion_proof(leaves, index), mth(leaves)
    other = data.draw(st.integers(0, size))
    assert verify_inclusion(leaves[index], other, size, proof, top) == (other == index)
    assert not verify_inclusion(b"forged", index, size, proof, top)
    assert not verify_inclusion(leaves[index], index, size, proof, leaf_hash(b"forged"))
    assert not verify_inclusion(leaves[index], index, size, [*proof, top], top)
    for at in range(len(proof)):
        changed = [*proof]
        changed[at] = bytes([proof[at][0] ^ 1]) + proof[at][1:]
        assert not verify_inclusion(leaves[index], index, size, changed, top)
        assert not verify_inclusion(leaves[index], index, size, proof[:at], top)


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_proof_of_a_leaf_outside_the_tree(index: int) -> None:
    with pytest.raises(InvalidInputError, match="not in a tree of 3 leaves"):
        inclusion_proof(LEAVES[:3], index)
    assert not verify_inclusion(b"", index, 3, [], root([]))

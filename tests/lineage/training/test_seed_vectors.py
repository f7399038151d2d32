"""The reference page defines ``seed/1``: the code must agree with its numbers, and so must we."""

import re
from pathlib import Path

import pytest

from lineage.training.seeds import DRAWING, LOADING, seeds_for

PAGE = (Path(__file__).parents[3] / "docs" / "reference" / "schedule.md").read_text("utf-8")
ROW = re.compile(r"^\| (\d+) \| (\d+) \|((?: `[0-9a-f]+` \|){6})$", re.MULTILINE)
ROWS = [
    (int(seed), int(shard), [int(each, 16) for each in re.findall(r"`(\w+)`", rest)])
    for seed, shard, rest in ROW.findall(PAGE)
]

GAMMA = 0x9E3779B97F4A7C15


def numbers(run_seed: int, count: int) -> list[int]:
    """SplitMix64 as its authors publish it, shifted by one bit."""
    found, state = [], run_seed
    for _ in range(count):
        state = (state + GAMMA) % 2**64
        mixed = state
        mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB % 2**64
        found.append((mixed ^ (mixed >> 31)) >> 1)
    return found


def test_the_page_has_vectors() -> None:
    assert len(ROWS) >= 3


@pytest.mark.parametrize(("seed", "shard", "said"), ROWS)
def test_seeds_are_those_of_the_page(seed: int, shard: int, said: list[int]) -> None:
    run_seed, *first, loading, drawing = said
    assert run_seed == (seed * GAMMA + shard) % 2**63
    assert first == numbers(run_seed, 3) == seeds_for(run_seed, 0, 3)
    assert [loading] == numbers(run_seed ^ LOADING, 1) == seeds_for(run_seed ^ LOADING, 0, 1)
    assert [drawing] == numbers(run_seed ^ DRAWING, 1) == seeds_for(run_seed ^ DRAWING, 0, 1)
    assert f"{LOADING:x}" in PAGE
    assert f"{DRAWING:x}" in PAGE

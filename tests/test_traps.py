"""The page of traps is whole and true: every trap has a row, and every test it names exists."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reference" / "traps.md").read_text()
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")

TRAPS = [
    "loader workers prefetch",
    "gradient accumulation",
    "skipped step: GradScaler overflow",
    "skipped step: NaN guard",
    "resume in mid-epoch",
    "`even_batches` across ranks",
    "drop_last",
    "padding repeats samples",
    "packing: one sample, several documents",
    "mixup",
    "in-batch negatives",
    "masked instances",
    "Hugging Face drops id columns (`remove_unused_columns`)",
    "Hugging Face callbacks never see inputs",
    "Lightning callbacks never see indices",
    "Keras callbacks never see indices",
    "DDP: each rank has its own part",
    "EMA",
    "model soups and merges",
    "LoRA",
    "quantised exports",
    "validation records",
    "early stopping by data that is not evaluated in the run",
]


def _rows(title: str) -> list[list[str]]:
    """The cells of each row of the table under a heading of the page."""
    section = PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def _tests(name: str) -> set[str]:
    """The test functions of the one file of this name."""
    (file,) = (ROOT / "tests").rglob(name)
    tree = ast.parse(file.read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("trap", TRAPS)
def test_every_trap_has_one_row(trap: str) -> None:
    rows = [*_rows("Shown by a test"), *_rows("Not yet")]
    assert [row[0] for row in rows].count(trap) == 1


@pytest.mark.parametrize("row", _rows("Shown by a test"), ids=lambda row: row[0])
def test_a_trap_that_is_shown_names_tests_that_there_are(row: list[str]) -> None:
    named = NAMED.findall(row[2])
    assert named
    for file, test in named:
        assert test in _tests(file)


@pytest.mark.parametrize("row", _rows("Not yet"), ids=lambda row: row[0])
def test_a_trap_that_is_open_says_what_to_do_meanwhile(row: list[str]) -> None:
    assert len(row) == 3
    assert all(row)
    assert not NAMED.search(row[2])

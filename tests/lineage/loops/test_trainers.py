"""Trainers of whole frameworks: what lineage says of them is true, or marked, or refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lineage.loops.all_shapes import TRAINERS
from tests.lineage.loops.cases import cases, check
from tests.lineage.loops.counts import Counts
from tests.lineage.loops.harness import By
from tests.lineage.loops.watchers import LineageWatcher

# What the frameworks warn of in themselves, in the versions that are installed here.
pytestmark = [
    pytest.mark.no_cover,
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore::UserWarning:lightning"),
    pytest.mark.filterwarnings("ignore:.*pin_memory.*:UserWarning"),
]


@pytest.mark.parametrize(("name", "by", "workers"), cases(TRAINERS))
def test_a_trainer_is_told_as_it_was(
    name: str,
    by: By,
    workers: int,
    watchers: Callable[[], LineageWatcher],
    counts: Counts,
    tmp_path: Path,
) -> None:
    check(TRAINERS[name], by, workers, watchers(), counts, tmp_path)

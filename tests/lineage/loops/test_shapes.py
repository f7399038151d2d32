"""Every shape of loop: what lineage says of it is true, or marked, or the loop is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lineage.loops.all_shapes import SHAPES
from tests.lineage.loops.cases import cases, check
from tests.lineage.loops.counts import Counts
from tests.lineage.loops.harness import By
from tests.lineage.loops.watchers import LineageWatcher

pytestmark = [
    # What Lightning and torchdata warn of in themselves, in the versions that are installed here.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
]


@pytest.mark.parametrize(("name", "by", "workers"), cases(SHAPES))
def test_a_loop_is_told_as_it_was(
    name: str,
    by: By,
    workers: int,
    watchers: Callable[[], LineageWatcher],
    counts: Counts,
    tmp_path: Path,
) -> None:
    check(SHAPES[name], by, workers, watchers(), counts, tmp_path)

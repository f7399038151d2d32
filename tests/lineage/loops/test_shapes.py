"""Every shape of loop: what lineage says of it is true, or marked, or the loop is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lineage.loops.all_shapes import SHAPES
from tests.lineage.loops.harness import By, try_loop
from tests.lineage.loops.watchers import LineageWatcher

# What Lightning warns of in itself, in the version that is installed here.
pytestmark = pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*")


def _cases() -> Iterator[Any]:
    for name, shape in SHAPES.items():
        for by in shape.by:
            for workers in shape.workers:
                marks = () if workers in shape.quick else (pytest.mark.soak,)
                yield pytest.param(name, by, workers, id=f"{name}-{by}-{workers}", marks=marks)


@pytest.mark.parametrize(("name", "by", "workers"), [*_cases()])
def test_a_loop_is_told_as_it_was(
    name: str, by: By, workers: int, watchers: Callable[[], LineageWatcher], tmp_path: Path
) -> None:
    shape = SHAPES[name]
    if shape.needs:
        pytest.importorskip(shape.needs)
    judgement = try_loop(shape.loop, watchers(), by, workers, tmp_path)
    assert judgement.complaints == ()
    assert judgement.verdicts <= shape.allowed_by(by)

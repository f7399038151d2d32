"""Every shape of loop: what lineage says of it is true, or marked, or the loop is refused."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lineage.loops.all_shapes import SHAPES
from tests.lineage.loops.counts import Counts
from tests.lineage.loops.harness import By, try_loop
from tests.lineage.loops.shape import Shape
from tests.lineage.loops.watchers import LineageWatcher

pytestmark = [
    # What Lightning and torchdata warn of in themselves, in the versions that are installed here.
    pytest.mark.filterwarnings("ignore:.*isinstance.treespec, LeafSpec.*"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
]

NAMING = {"loaders", "containers", "streams", "subclasses", "libraries", "datasets"}
"""Themes where it matters how records are named: in the others, shapes take turns."""


def _cases() -> Iterator[Any]:
    for number, (name, shape) in enumerate(SHAPES.items()):
        for place, by in enumerate(shape.by):
            for workers in shape.workers:
                marks = (
                    () if _is_quick(number, name, shape, place, workers) else (pytest.mark.soak,)
                )
                yield pytest.param(name, by, workers, id=f"{name}-{by}-{workers}", marks=marks)


def _is_quick(number: int, name: str, shape: Shape, place: int, workers: int) -> bool:
    turn = name.partition(".")[0] in NAMING or place == number % len(shape.by)
    return turn and workers in shape.quick


@pytest.mark.parametrize(("name", "by", "workers"), [*_cases()])
def test_a_loop_is_told_as_it_was(
    name: str,
    by: By,
    workers: int,
    watchers: Callable[[], LineageWatcher],
    counts: Counts,
    tmp_path: Path,
) -> None:
    shape = SHAPES[name]
    if shape.needs:
        pytest.importorskip(shape.needs)
    judgement = try_loop(shape.loop, watchers(), by, workers, tmp_path)
    counts.add(judgement)
    assert judgement.complaints == ()
    assert judgement.verdicts <= shape.allowed_by(by)

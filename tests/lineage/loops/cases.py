"""The cases of shapes: by row and by key, with and without workers; some only by `make soak`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lineage.loops.counts import Counts
from tests.lineage.loops.harness import By, try_loop
from tests.lineage.loops.shape import Shape
from tests.lineage.loops.watchers import LineageWatcher

NAMING = {"loaders", "containers", "streams", "subclasses", "libraries", "datasets"}
"""Themes where it matters how records are named: in the others, shapes take turns."""


def cases(shapes: Mapping[str, Shape]) -> list[Any]:
    """Return the parameters of a test of shapes: name, by, workers."""
    return [*_cases(shapes)]


def check(
    shape: Shape, by: By, workers: int, watcher: LineageWatcher, counts: Counts, folder: Path
) -> None:
    """Assert that a shape of loop is told as it was, or as it may be told."""
    if shape.needs:
        pytest.importorskip(shape.needs)
    judgement = try_loop(shape.loop, watcher, by, workers, folder)
    counts.add(judgement)
    assert judgement.complaints == ()
    assert judgement.verdicts <= shape.allowed_by(by)


def _cases(shapes: Mapping[str, Shape]) -> Iterator[Any]:
    for number, (name, shape) in enumerate(shapes.items()):
        for place, by in enumerate(shape.by):
            turn = name.partition(".")[0] in NAMING or place == number % len(shape.by)
            for workers in shape.workers:
                marks = () if turn and workers in shape.quick else (pytest.mark.soak,)
                yield pytest.param(name, by, workers, id=f"{name}-{by}-{workers}", marks=marks)

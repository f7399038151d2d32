"""The cases of shapes: by row and by key, with and without workers; some only by `make soak`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.lineage.loops.counts import Counts
from tests.lineage.loops.harness import By, try_loop
from tests.lineage.loops.shape import Shape
from tests.lineage.loops.watchers import LineageWatcher

NAMING = {"loaders", "containers", "streams", "subclasses", "libraries", "datasets", "remembering"}
"""Themes where it matters how records are named. In the others, and with workers, which are slow,
shapes take turns: every other one by row."""


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
    assert not judgement.complaints, "\n".join(judgement.complaints)
    extra = sorted(judgement.verdicts - shape.allowed_by(by))
    assert not extra, f"told as {', '.join(extra)}, which is not allowed of this loop"


def _cases(shapes: Mapping[str, Shape]) -> Iterator[Any]:
    for number, (name, shape) in enumerate(shapes.items()):
        for place, by in enumerate(shape.by):
            for workers in shape.workers:
                turn = place == number % len(shape.by)
                named = name.partition(".")[0] in NAMING and not workers
                quick = workers in shape.quick and (turn or named)
                marks = () if quick else (pytest.mark.soak,)
                yield pytest.param(name, by, workers, id=f"{name}-{by}-{workers}", marks=marks)

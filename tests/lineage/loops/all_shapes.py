"""All shapes of loops, by the theme of the module that they are in."""

from itertools import chain
from types import ModuleType

from tests.lineage.loops.shape import Shape
from tests.lineage.loops.shapes import (
    accumulation,
    by_hand,
    checkpoints,
    containers,
    datasets,
    delegation,
    earlier_runs,
    identity,
    inputs,
    libraries,
    lightning_trainers,
    loaders,
    mixed_gradients,
    models,
    parts,
    remembering,
    replay,
    several_loaders,
    strangers,
    streams,
    subclasses,
    transformers_trainers,
    updates,
    wrappers,
)

MODULES = (
    loaders,
    containers,
    streams,
    subclasses,
    libraries,
    wrappers,
    several_loaders,
    replay,
    datasets,
    remembering,
    accumulation,
    by_hand,
    updates,
    checkpoints,
    models,
    inputs,
    identity,
    mixed_gradients,
    parts,
    delegation,
    earlier_runs,
    strangers,
)


def theme(module: ModuleType) -> str:
    """Return the name of a module of shapes."""
    return module.__name__.rpartition(".")[2]


def shapes_of(module: ModuleType) -> dict[str, Shape]:
    """Return the shapes of a module by their full names, in its order."""
    found = (value for value in vars(module).values() if isinstance(value, Shape))
    return {f"{theme(module)}.{shape.name}": shape for shape in found}


def _all(modules: tuple[ModuleType, ...]) -> dict[str, Shape]:
    return dict(chain.from_iterable(shapes_of(module).items() for module in modules))


SHAPES = _all(MODULES)
TRAINERS = _all((lightning_trainers, transformers_trainers))
"""Trainers of whole frameworks, which are slower."""

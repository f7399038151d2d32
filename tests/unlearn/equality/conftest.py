"""Real data, models trained on it once a session, and a store of its own with one for each test."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from lineage.store import Store
from lineage.training.ensemble import Recipe
from storage.catalogue import tables
from tests.unlearn.equality import material as real
from tests.unlearn.equality.material import Material
from tests.unlearn.equality.trained import RECIPES, Trained, Trains, train_on
from tests.workshop import rows_of

FEW = 1_500

MATERIALS = {"voices": "voices", "drawn": "few"}
"""What a program file trains on; any other reads all images."""

collect_ignore = ["programs"]
"""Plain script files: the store loads them, as a user's."""


@pytest.fixture(autouse=True)
def _not_measured(no_cover: None) -> None:
    """Tests of the parts show what is executed: measured, real data would take twice the time."""


@pytest.fixture(scope="session")
def materials(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Material]:
    """``mnist``, ``few`` of its images, and ``voices``."""
    folder = tmp_path_factory.mktemp("materials")
    few = real.mnist(data, folder, slice(FEW), "few")
    every = (real.mnist(data, folder), few, real.voices(data, folder))
    return {each.name: each for each in every}


JOURNALS = {"drawn": {"drawn.GIVEN (list)"}, "interrupted": {"interrupted.EXECUTED (list)"}}


@pytest.fixture(scope="session")
def originals() -> dict[str, tuple[Path, str]]:
    """Where each model was trained, and its version; `trained` fills it and hands out copies."""
    return {}


@pytest.fixture
def trained(
    materials: dict[str, Material],
    originals: dict[str, tuple[Path, str]],
    tmp_path_factory: pytest.TempPathFactory,
    tmp_path: Path,
) -> Iterator[Trains]:
    """``trained(ref, topology, **config)`` gives a copy, until it is asked for the next."""
    copy = tmp_path / "store"
    with ExitStack() as opened:

        def copied(ref: str, topology: str, **config: Any) -> Trained:
            opened.close()
            material = materials[MATERIALS.get(ref.partition(".")[0], "mnist")]
            key = f"{ref} {topology} {sorted(config.items())}"
            if key not in originals:
                place = tmp_path_factory.mktemp("original") / "store"
                with Store.create(place) as store:
                    recipe = Recipe(**RECIPES[topology], config=config)
                    originals[key] = place, train_on(store, material, ref, recipe)
                    # Only those that write down their steps, for their tests, keep anything.
                    kept = {
                        name for row in rows_of(store, tables.Run) for name in row.untracked or ()
                    }
                    assert kept == JOURNALS.get(ref.partition(".")[0], set())
            place, version = originals[key]
            opened.callback(shutil.rmtree, shutil.copytree(place, copy))
            return Trained(opened.enter_context(Store.open(copy)), material, version)

        yield copied
